# SPDX-License-Identifier: Apache-2.0
"""What a chunk costs, on a clock that only the policy's calls advance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from analytic import Gaussian
from tools_command import invoke
from torch import Tensor

from async_chunking.strategies import SAMPLERS
from tools.cost.capture import timer
from tools.cost.expert import ActionExpert, ExpertShape
from tools.cost.measure import CallKind, CostCase, measure

TINY = ExpertShape(
    horizon=6, action_dim=3, context=5, width=16, layers=2, heads=2, head_dim=8, hidden=32
)


class Clocked(Gaussian):
    """A call takes 1 s and 0.1 s for each further element of a batch; a gradient doubles it."""

    seconds = 0.0

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: dict) -> Tensor:
        Clocked.seconds += (0.9 + 0.1 * len(actions)) * (1 + actions.requires_grad)
        return super().velocity(actions, flow_time, encoding)

    def encode(self, observation: dict) -> dict:
        return {'state': observation['observation.state'].float()}


def test_costs_are_those_of_the_calls() -> None:
    case = CostCase(Clocked(), {'observation.state': torch.zeros(1, 2)}, num_steps=4)
    timed = timer(lambda: Clocked.seconds, torch.device('cpu'))
    costs = {cost.name: cost for cost in measure(case, list(SAMPLERS), 2, timed)}
    assert [cost.overhead for cost in costs.values()] == pytest.approx([0] * len(costs), abs=1e-9)
    for name, calls, ms in [
        ('plain', 4, 4000),
        ('rtc', 4, 8000),
        ('paint', 12, 12000),
        ('paint_slide', 4, 4000),  # Not its first chunk, which is PAINT's.
        ('paint_optim', 28, 48000),
        ('bid', 64, 10000),
        ('bid_full', 128, 20000),
    ]:
        assert costs[name].calls == calls
        assert costs[name].ms == pytest.approx(ms)
        assert costs[name].bare_ms == pytest.approx(ms)


def test_overhead_is_what_a_sampler_does_beside_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CostCase(Clocked(), {'observation.state': torch.zeros(1, 2)}, num_steps=4)
    plain = SAMPLERS['plain'].load()

    def slow(*args: object, **options: object) -> object:
        Clocked.seconds += 1
        return type(plain).draw(plain, *args, **options)

    class Slow:
        draw = staticmethod(slow)

    monkeypatch.setattr(type(SAMPLERS['plain']), 'load', lambda self, **options: Slow)
    (cost,) = measure(case, ['plain'], 3, timer(lambda: Clocked.seconds, torch.device('cpu')))
    assert cost.overhead == pytest.approx(1 / cost.calls)


def test_kinds_of_calls() -> None:
    case = CostCase(Clocked(), {'observation.state': torch.zeros(1, 2)}, num_steps=2)
    behind = [(1.0, 1.0, *[time] * 6) for time in (0.0, 0.5)]
    assert case.drawing('tt_rtc')[1] == [CallKind(1, time, gradient=False) for time in behind]
    assert case.drawing('rtc')[1] == [CallKind(1, (time,), gradient=True) for time in (0.0, 0.5)]
    assert case.drawing('bid')[1] == [CallKind(16, (time,), gradient=False) for time in (0.0, 0.5)]


def test_expert_attends_to_its_context_and_mixes_rows() -> None:
    expert = ActionExpert(TINY, dtype=torch.float32)
    noise = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    time = torch.full((1,), 0.5)
    first, second = (expert.encode({'seed': torch.full((1,), float(i))}) for i in (1, 2))
    base = expert.velocity(noise, time, first)
    assert base.shape == (1, 6, 3)
    assert not torch.allclose(base, expert.velocity(noise, time, second), atol=1e-3)
    moved = noise.clone()
    moved[:, 5] += 1
    assert not torch.allclose(base[:, 0], expert.velocity(moved, time, first)[:, 0], atol=1e-5)
    per_row = expert.velocity(noise, time[:, None].expand(1, 6), first)
    torch.testing.assert_close(base, per_row)
    many = expert.velocity(noise.repeat(3, 1, 1), time.repeat(3), expert.repeat(first, 3))
    torch.testing.assert_close(many, base.repeat(3, 1, 1))


def test_expert_is_of_the_size_it_stands_for() -> None:
    """Counted from the sizes alone, as building it takes seconds."""
    s = ExpertShape()
    inner = s.heads * s.head_dim
    attention = s.width * (inner + 2 * s.head_dim) + inner * s.width
    block = attention + 3 * s.width * s.hidden
    assert 290e6 < s.layers * block < 330e6
    tiny, small = TINY, ActionExpert(TINY)
    per_block = 16 * (16 + 2 * 8) + 16 * 16 + 3 * 16 * 32 + 2 * 16
    ends = (3 * 16 + 16) + (32 * 16 + 16) + (16 * 16 + 16) + 16 + (16 * 3 + 3)
    assert small.parameters == tiny.layers * per_block + ends


def test_command_prints_and_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr('tools.cost.expert.ExpertShape', lambda: TINY)
    monkeypatch.setattr(torch, 'set_num_threads', lambda count: None)
    out = tmp_path / 'cost.json'
    arguments = ['--on', 'expert', '--quick', '--device', 'cpu', '--json', str(out)]
    result = invoke('cost', *arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert 'random weights' in result.output
    for name in ('plain', 'rtc', 'paint', 'vlash', 'overhead'):
        assert name in result.output
    assert '"calls": 6' in out.read_text()
