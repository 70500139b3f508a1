# SPDX-License-Identifier: Apache-2.0
"""What every sampler in the table owes, whatever it does; a new row is tested by being there."""

from __future__ import annotations

import copy

import pytest
import torch
from analytic import Analytic, Gaussian, Modes, RowWise
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.policies.base import CountingPolicy, FlowPolicy
from async_chunking.policies.fit import Facts
from async_chunking.policies.reversed import Reversed
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import (
    Context,
    Draw,
    PolicyError,
    Sampler,
    integrate,
    sample_chunk,
)
from async_chunking.samplers.plain import Plain
from async_chunking.strategies import NAMES, NEEDS, SAMPLERS, Strategy, resolve

BATCH, HORIZON, DIM = 3, 8, 2
FIRST_CALLS = {'paint_slide': '3·n'}  # More than `calls` for the first chunk of a stream.
COUNT_THE_PLAN_AT_DELAY_0 = {
    *('rtc', 'rtc_identity', 'rtc_lean', 'bid', 'bid_full', 'bid_early', 'remac+bid')
}
POLICIES = {'gaussian': Gaussian, 'modes': Modes, 'row_wise': RowWise}


@pytest.fixture(params=list(SAMPLERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(POLICIES))
def policy(request: pytest.FixtureRequest) -> FlowPolicy:
    strong = POLICIES[request.param]()
    return WithWeak(strong, POLICIES[request.param]())


def plan(rows: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(BATCH, HORIZON, DIM, generator=generator, dtype=torch.float64)[:, :rows]


def observation() -> dict[str, Tensor]:
    return {'observation.state': torch.linspace(-1, 1, BATCH * DIM).double().reshape(BATCH, DIM)}


def draw(
    policy: FlowPolicy, sampler: Sampler, previous: Tensor, delay: int = 2, s: int = 2
) -> Draw:
    boundary = Boundary(previous, delay, execution_horizon=s)
    generator = torch.Generator().manual_seed(0)
    return sample_chunk(policy, sampler, observation(), boundary, generator)


def test_first_chunk_is_plain(name: str, policy: FlowPolicy) -> None:
    for delay in (0, 3):
        drawn = draw(policy, SAMPLERS[name].load(), plan(rows=0), delay).actions
        torch.testing.assert_close(drawn, draw(policy, Plain(), plan(rows=0), delay).actions)


def test_delay_0_is_plain_unless_the_plan_counts_still(name: str, policy: FlowPolicy) -> None:
    """RTC guides all rows of the plan and BID compares them, whatever the delay."""
    drawn = draw(policy, SAMPLERS[name].load(), plan(), delay=0).actions
    plain = draw(policy, Plain(), plan(), delay=0).actions
    assert torch.allclose(drawn, plain) == (name not in COUNT_THE_PLAN_AT_DELAY_0)


def test_shape_type_and_seed(name: str, policy: FlowPolicy) -> None:
    sampler = SAMPLERS[name].load()
    drawn, again = (draw(policy, sampler, plan()).actions for _ in range(2))
    rows = resolve(name).rows(HORIZON, committed=2) if name != 'plain' else HORIZON
    assert drawn.shape == (BATCH, rows, DIM)
    assert drawn.dtype == torch.float64
    assert drawn.isfinite().all()
    torch.testing.assert_close(drawn, again)
    assert not drawn.requires_grad


def test_arguments_are_not_modified(name: str, policy: FlowPolicy) -> None:
    sampler = SAMPLERS[name].load(num_steps=3)
    boundary = Boundary(plan(), 2, 2)
    noise = torch.randn(BATCH, HORIZON, DIM, dtype=torch.float64)
    encoding = policy.encode(observation())
    before = copy.deepcopy((boundary.previous, noise, encoding, sampler))
    with torch.no_grad():
        state = None
        for _ in range(2):
            kept = copy.deepcopy(state)
            generator = torch.Generator().manual_seed(0)
            drawn = sampler.draw(Context(policy, encoding, boundary, noise, generator, state))
            torch.testing.assert_close(state, kept)
            state = drawn.state
    torch.testing.assert_close((boundary.previous, noise, encoding), before[:3])
    assert sampler == before[3]


@pytest.mark.parametrize(
    ('rows', 'delay', 's'), [(6, 0, 2), (6, 7, 2), (2, 5, 3), (1, 1, 1), (8, 8, 1), (6, 2, 8)]
)
def test_boundaries_off_the_feasible_range(
    name: str, policy: FlowPolicy, rows: int, delay: int, s: int
) -> None:
    """delay > rows, s outside d <= s <= H - d: degraded as `Boundary` says, not refused."""
    drawn = draw(policy, SAMPLERS[name].load(num_steps=2), plan(rows), delay, s).actions
    assert drawn.isfinite().all()


def test_rows_beyond_the_overlap_are_never_read(name: str, policy: FlowPolicy) -> None:
    """Overlap is horizon - execution horizon = 5 here; whatever the rows behind it hold."""
    sampler = SAMPLERS[name].load(num_steps=2)
    absent = plan(rows=7).clone()
    absent[:, 5:] = torch.nan
    drawn = draw(policy, sampler, absent, delay=2, s=3).actions
    torch.testing.assert_close(drawn, draw(policy, sampler, plan(rows=7), delay=2, s=3).actions)


def test_elements_of_a_batch_do_not_meet(name: str, policy: FlowPolicy) -> None:
    sampler = SAMPLERS[name].load(num_steps=3)
    generators = [torch.Generator().manual_seed(i) for i in range(BATCH)]
    boundary = Boundary(plan(), 2, 2)
    whole = sample_chunk(policy, sampler, observation(), boundary, generators).actions
    for i in range(BATCH):
        one = Boundary(plan()[i : i + 1], 2, 2)
        seen = {key: value[i : i + 1] for key, value in observation().items()}
        alone = sample_chunk(policy, sampler, seen, one, torch.Generator().manual_seed(i)).actions
        torch.testing.assert_close(whole[i : i + 1], alone)


@pytest.mark.parametrize('num_steps', [0, 4])
def test_calls_are_as_listed(name: str, num_steps: int) -> None:
    strong, weak = CountingPolicy(Gaussian()), CountingPolicy(Gaussian())
    sampler = SAMPLERS[name].load(num_steps=num_steps)
    listed = SAMPLERS[name].calls
    state = None
    for calls in (FIRST_CALLS.get(name, listed), listed):
        before = strong.samples + weak.samples
        boundary = Boundary(plan(), 2, 2)
        generator = torch.Generator().manual_seed(0)
        policy = WithWeak(strong, weak)
        state = sample_chunk(policy, sampler, observation(), boundary, generator, state).state
        values = {'n': num_steps or 5, 'k': getattr(sampler, 'iterations', 0)}
        values['N'] = getattr(sampler, 'samples', 0)
        expected = eval(calls.replace('·', '*'), values)
        assert strong.samples + weak.samples - before == BATCH * expected


def test_observation_is_encoded_once(name: str) -> None:
    class Encoding(Gaussian):
        """Counts its encodings."""

        count = 0

        def encode(self, observation: dict) -> dict:
            self.count += 1
            return super().encode(observation)

    strong, weak = Encoding(), Encoding()
    draw(WithWeak(strong, weak), SAMPLERS[name].load(), plan())
    assert (strong.count, weak.count) == (1, 1)


def test_backward_passes_are_as_listed(name: str) -> None:
    class Watched(torch.autograd.Function):
        """The identity, which counts how often a gradient goes through."""

        passes = 0

        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            Watched.passes += 1
            return grad

    class Opaque(Gaussian):
        def velocity(self, actions: Tensor, flow_time: Tensor, encoding: dict) -> Tensor:
            return super().velocity(Watched.apply(actions), flow_time, encoding)

    entry, policy = SAMPLERS[name], WithWeak(Opaque(), Opaque())
    sampler = entry.load()
    draw(policy, sampler, plan())
    values = {'n': policy.num_steps, 'k': getattr(sampler, 'iterations', 0)}
    assert Watched.passes == eval(entry.backward.replace('·', '*'), values)
    assert (Watched.passes > 0) == ('gradients' in entry.needs)


def test_reversed_policy_gives_the_same_chunk(name: str) -> None:
    """A policy whose time runs from 1 to 0, written by hand, behind the adapter."""

    class Backwards(Analytic):
        def __init__(self) -> None:
            super().__init__()
            self.forwards = Gaussian()

        def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
            return -self.forwards.flow(x, 1 - time, state)

    sampler = SAMPLERS[name].load()
    forwards = WithWeak(Gaussian(), Gaussian())
    reverse = WithWeak(Reversed(Backwards()), Reversed(Backwards()))
    torch.testing.assert_close(
        draw(forwards, sampler, plan()).actions, draw(reverse, sampler, plan()).actions
    )


def test_not_finite_is_refused(name: str) -> None:
    class NotFinite(Gaussian):
        def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
            return super().flow(x, time, state) * torch.nan

    policy = WithWeak(NotFinite(), NotFinite())
    with pytest.raises(PolicyError, match='WithWeak returned actions that are not finite'):
        draw(policy, SAMPLERS[name].load(), plan())


def test_needs_are_known_and_unmet_ones_are_refused(name: str) -> None:
    assert SAMPLERS[name].needs <= set(NEEDS)
    for need in SAMPLERS[name].needs:
        policy = Facts('policy', 16, 2, frozenset(NEEDS) - {need})
        with pytest.raises(StrategyError, match='needs'):
            check_strategy(Strategy(name, sampler=SAMPLERS[name]), policy)


def test_constants_are_options(name: str) -> None:
    assert SAMPLERS[name].load(num_steps=7).num_steps == 7
    with pytest.raises(TypeError, match='no_such_option'):
        SAMPLERS[name].load(no_such_option=1)


def test_strategies_reach_every_sampler() -> None:
    assert {resolve(name).sampler for name in NAMES} == set(SAMPLERS.values())
    assert resolve('tt_rtc+paint').sampler == SAMPLERS['paint+tt_rtc']
    assert resolve('paint+a2c2').corrector == 'a2c2'


def test_boundary_without_meaning_is_refused() -> None:
    with pytest.raises(StrategyError, match='delay -1 must be 0 or more'):
        draw(Gaussian(), Plain(), plan(), delay=-1)
    with pytest.raises(StrategyError, match='execution_horizon 0 at least 1'):
        draw(Gaussian(), Plain(), plan(), s=0)
    with pytest.raises(StrategyError, match='previous has 1 columns, the policy 2'):
        draw(Gaussian(), Plain(), plan()[..., :1])


def test_integrate_takes_euler_steps() -> None:
    """v = x + t from 1, two steps: 1 + 0.5 = 1.5, then 1.5 + (1.5 + 0.5) / 2 = 2.5."""
    start = torch.ones(1, 1, 1)
    end = integrate(lambda x, t: x + t, start, num_steps=2)
    assert end.item() == pytest.approx(2.5)
    assert start.item() == 1
