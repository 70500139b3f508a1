# SPDX-License-Identifier: Apache-2.0
"""Samplers for policies trained for them: TT-RTC, REMAC, VLASH, and their combinations."""

from __future__ import annotations

import pytest
import torch
from analytic import Analytic, ConstantPolicy, Gaussian, RowWise
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.samplers.base import Sampler, sample_chunk
from async_chunking.samplers.combinations import remac_bid, remac_rtc
from async_chunking.samplers.plain import Plain
from async_chunking.samplers.remac import Remac
from async_chunking.samplers.rtc import Rtc
from async_chunking.samplers.tt_rtc import TtRtc
from async_chunking.samplers.vlash import Vlash

STATE = torch.tensor([[0.2, -0.4]], dtype=torch.float64)
PREVIOUS = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


class Watching(RowWise):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: dict) -> Tensor:
        self.seen.append((actions.clone(), flow_time.clone()))
        return super().velocity(actions, flow_time, encoding)


def draw(policy: Analytic, sampler: Sampler, delay: int = 3, rows: int = 6) -> Tensor:
    boundary = Boundary(PREVIOUS[:, :rows], delay, execution_horizon=2)
    generator = torch.Generator().manual_seed(4)
    return sample_chunk(policy, sampler, {'observation.state': STATE}, boundary, generator).actions


def test_tt_rtc_shows_the_prefix_as_finished_in_every_step() -> None:
    policy = Watching()
    chunk = draw(policy, TtRtc())
    assert len(policy.seen) == 5
    for step, (actions, time) in enumerate(policy.seen):
        assert torch.equal(actions[:, :3], PREVIOUS[:, :3])
        assert time[0].tolist() == pytest.approx([1.0] * 3 + [step / 5] * 5)
    assert torch.equal(chunk[:, :3], PREVIOUS[:, :3])
    torch.testing.assert_close(chunk[:, 3:], draw(RowWise(), Plain())[:, 3:])


@pytest.mark.parametrize('start', ['plan', 'gaussian'])
def test_remac_prefix_is_the_old_plan_bit_by_bit(start: str) -> None:
    for delay, rows, prefix in [(3, 6, 3), (9, 2, 2), (6, 6, 6)]:
        chunk = draw(Gaussian(), Remac(start=start), delay, rows)
        assert torch.equal(chunk[:, :prefix], PREVIOUS[:, :prefix])
    policy = Watching()
    draw(policy, Remac(start=start))
    for step, (actions, time) in enumerate(policy.seen):
        assert torch.equal(actions[:, :3], PREVIOUS[:, :3])
        assert time.tolist() == pytest.approx([step / 5])


def test_remac_starts_at_the_plan_and_then_at_zero() -> None:
    policy = Watching()
    draw(policy, Remac(), rows=5)
    first = policy.seen[0][0]
    assert torch.equal(first[:, :5], PREVIOUS[:, :5])
    assert not first[:, 5:].any()
    policy.seen.clear()
    draw(policy, Remac(start='gaussian'), rows=5)
    assert policy.seen[0][0][:, 3:].all()


def test_remac_starts_at_the_plan_always_if_told_so_and_at_zero_without_one() -> None:
    policy, sampler = Watching(), Remac(start='plan_always')
    draw(policy, sampler, delay=0, rows=5)
    first = policy.seen[0][0]
    assert torch.equal(first[:, :5], PREVIOUS[:, :5])
    assert not first[:, 5:].any()
    policy.seen.clear()
    draw(policy, sampler, delay=0, rows=0)
    assert not policy.seen[0][0].any()
    policy.seen.clear()
    draw(policy, Remac(), delay=0, rows=5)
    assert policy.seen[0][0].all()


def test_remac_tells_the_policy_how_many_rows_are_committed() -> None:
    for sampler in (Remac(), remac_bid()):
        seen = sampler.condition(
            {'observation.state': STATE}, Boundary(PREVIOUS[:, :5], delay=7, execution_horizon=2)
        )
        assert seen['observation.committed'].tolist() == [[5.0]]


def test_remac_with_rtc_leaves_alone_what_has_nothing_to_guide() -> None:
    """The rows that are held have no error, whatever the policy predicts for them."""
    alone = draw(Gaussian(), Remac(), rows=3)  # Nothing is planned beyond the held rows.
    torch.testing.assert_close(draw(Gaussian(), remac_rtc(), rows=3), alone)


def test_remac_start_is_checked() -> None:
    with pytest.raises(StrategyError, match='start must be plan, plan_always, plan_then'):
        Remac(start='zero')


def test_remac_with_bid_chooses_among_chunks_with_the_prefix() -> None:
    sampler = remac_bid(samples=8)
    chunk = draw(Gaussian(), sampler)
    alone = draw(Gaussian(), Remac(start='gaussian'))
    assert torch.equal(chunk[:, :3], PREVIOUS[:, :3])

    def gap(actions: Tensor) -> float:
        return (actions[:, 3:6] - PREVIOUS[:, 3:6]).abs().mean().item()

    assert gap(chunk) < gap(alone)


def test_remac_with_rtc_guides_what_is_not_held() -> None:
    chunk, alone = draw(Gaussian(), remac_rtc()), draw(Gaussian(), Remac())
    assert torch.equal(chunk[:, :3], PREVIOUS[:, :3])
    gaps = [(c[:, 3] - PREVIOUS[:, 3]).abs().mean() for c in (chunk, alone)]
    assert gaps[0] < gaps[1]
    started = draw(Gaussian(), Remac(start='gaussian', guidance=Rtc(max_guidance_weight=0)))
    torch.testing.assert_close(started, draw(Gaussian(), Remac(start='gaussian')))


def test_vlash_rolls_the_state_forward_absolute() -> None:
    boundary = Boundary(PREVIOUS, delay=3, execution_horizon=2)
    seen = Vlash().condition({'observation.state': STATE, 'image': STATE}, boundary)
    assert torch.equal(seen['observation.state'], PREVIOUS[:, 2])
    assert seen['image'] is STATE
    assert seen['observation.seen_state'] is STATE


def test_vlash_says_where_the_robot_was_seen_with_no_plan_too() -> None:
    seen = Vlash().condition(
        {'observation.state': STATE}, Boundary(PREVIOUS[:, :0], delay=0, execution_horizon=2)
    )
    assert seen['observation.state'] is seen['observation.seen_state'] is STATE


def test_vlash_rolls_the_state_forward_delta() -> None:
    boundary = Boundary(PREVIOUS, delay=3, execution_horizon=2)
    seen = Vlash(mode='delta').condition({'observation.state': STATE}, boundary)
    expected = STATE + PREVIOUS[:, 0] + PREVIOUS[:, 1] + PREVIOUS[:, 2]
    torch.testing.assert_close(seen['observation.state'], expected)


def test_vlash_chunk_begins_where_the_old_plan_is_left() -> None:
    """The constant field adds the state: the chunk is the plain one, from the rolled state."""
    answer = draw(ConstantPolicy(), Vlash())
    assert answer.shape == (1, 3 + 8, 2)
    assert torch.equal(answer[:, :3], PREVIOUS[:, :3])
    moved = draw(ConstantPolicy(), Plain()) + PREVIOUS[:, 2:3] - STATE[:, None]
    torch.testing.assert_close(answer[:, 3:], moved)


def test_vlash_state_is_rolled_to_the_end_of_a_short_plan() -> None:
    answer = draw(ConstantPolicy(), Vlash(), delay=5, rows=2)
    assert answer.shape == (1, 2 + 8, 2)
    moved = draw(ConstantPolicy(), Plain()) + PREVIOUS[:, 1:2] - STATE[:, None]
    torch.testing.assert_close(answer[:, 2:], moved)


def test_vlash_quantization() -> None:
    chunk = draw(ConstantPolicy(), Vlash())[:, 3:]
    fast = draw(ConstantPolicy(), Vlash(quantization=3))
    torch.testing.assert_close(fast[:, 3:], chunk[:, [2, 5]])
    rolled = draw(ConstantPolicy(), Vlash(mode='delta'))[:, 3:]
    sums = draw(ConstantPolicy(), Vlash(mode='delta', quantization=2))[:, 3:]
    torch.testing.assert_close(sums, rolled[:, 0::2] + rolled[:, 1::2])
    torch.testing.assert_close(sums.sum(1), rolled.sum(1))


def test_vlash_mistakes_are_named() -> None:
    with pytest.raises(StrategyError, match="mode must be absolute, delta, not 'relative'"):
        Vlash(mode='relative')
    with pytest.raises(StrategyError, match='quantization must be a whole number from 1'):
        Vlash(quantization=0)
    with pytest.raises(
        StrategyError, match=r"needs 'joints' \[1, 2\] in the observation; it is m"
    ):
        draw(ConstantPolicy(), Vlash(state_key='joints'))
