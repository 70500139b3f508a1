# SPDX-License-Identifier: Apache-2.0
"""RTC: the soft mask, the guidance, and what they do to a chunk."""

from __future__ import annotations

import pytest
import torch
from analytic import ConstantPolicy, Gaussian, Linear

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.samplers.base import sample_chunk
from async_chunking.samplers.plain import Plain
from async_chunking.samplers.prefix import prefix_weights
from async_chunking.samplers.rtc import Rtc, guidance_scale


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def observation(batch: int = 1, action_dim: int = 2) -> dict[str, torch.Tensor]:
    return {'observation.state': torch.zeros(batch, action_dim, dtype=torch.float64)}


@pytest.mark.parametrize(
    ('start', 'end', 'schedule', 'expected'),
    [
        (2, 6, 'linear', [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0]),
        (2, 6, 'exp', [1, 1, 0.570589, 0.287072, 0.114492, 0.025770, 0, 0, 0, 0]),
        (2, 6, 'ones', [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]),
        (2, 6, 'zeros', [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        (0, 4, 'linear', [0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0, 0]),
        (4, 3, 'linear', [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),  # end wins
        (4, 3, 'zeros', [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        (0, 0, 'ones', [0] * 10),
        (10, 10, 'exp', [1] * 10),
    ],
)
def test_prefix_weights(start: int, end: int, schedule: str, expected: list[float]) -> None:
    weights = prefix_weights(10, start, end, schedule)
    torch.testing.assert_close(
        weights, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_unknown_schedule_is_refused_by_name() -> None:
    problem = "Rtc: schedule must be exp, linear, ones, zeros, not 'cosine'"
    with pytest.raises(StrategyError, match=problem):
        Rtc(schedule='cosine')


@pytest.mark.parametrize(
    ('flow_time', 'bound', 'scale'),
    [(0.0, 5, 5), (0.5, 5, 2), (0.8, 5, 4.25), (0.8, 3, 3), (0.2, 5, 4.25)],
)
def test_guidance_scale(flow_time: float, bound: float, scale: float) -> None:
    assert guidance_scale(flow_time, bound) == pytest.approx(scale)


@pytest.mark.parametrize(('jacobian', 'guided'), [(True, -1.475), (False, -1.8)])
def test_guided_velocity_on_a_linear_field(jacobian: bool, guided: float) -> None:
    """v = -x/2 at x = 1, t = 1/2: x1 = 0.75, error -0.65, scale 2, Jacobian 3/4 or left out."""
    policy = Linear(-0.5, horizon=1, action_dim=1)
    boundary = Boundary(torch.full((1, 1, 1), 0.1), delay=1, execution_horizon=1)

    def velocity(x: torch.Tensor, flow_time: float) -> torch.Tensor:
        return policy.velocity(x, torch.full((1,), flow_time), {'state': torch.zeros(1, 1)})

    guide = Rtc(jacobian=jacobian).guided(policy, velocity, boundary)
    with torch.no_grad():
        assert guide(torch.ones(1, 1, 1), 0.5).item() == pytest.approx(guided)


def test_jacobian_of_the_first_steps_only() -> None:
    """v = -x/2: the step from t = 1/5 has the Jacobian, the one from t = 2/5 has not."""
    policy = Linear(-0.5, horizon=1, action_dim=1)
    boundary = Boundary(torch.full((1, 1, 1), 0.1), delay=1, execution_horizon=1)

    def velocity(x: torch.Tensor, flow_time: float) -> torch.Tensor:
        return policy.velocity(x, torch.full((1,), flow_time), {'state': torch.zeros(1, 1)})

    guides = {
        name: Rtc(jacobian=jacobian, jacobian_until=until).guided(policy, velocity, boundary)
        for name, jacobian, until in [('lean', True, 0.4), ('all', True, 1.0), ('none', False, 1)]
    }
    with torch.no_grad():
        for step, same in enumerate(['all', 'all', 'none', 'none', 'none']):
            steered = {name: g(torch.ones(1, 1, 1), step / 5).item() for name, g in guides.items()}
            assert steered['lean'] == steered[same]
            assert steered['all'] != steered['none']


def test_jacobian_carries_guidance_to_later_rows() -> None:
    """Rows without weight move, because they are correlated with those that have weight."""
    policy = Gaussian(width=2.5)
    previous = torch.zeros(1, 2, 2, dtype=torch.float64)
    boundary = Boundary(previous, delay=2, execution_horizon=6)
    plain = sample_chunk(policy, Plain(), observation(), boundary, seeded()).actions
    full = sample_chunk(policy, Rtc(), observation(), boundary, seeded()).actions
    assert (full - plain)[:, 2:4].abs().min() > 0.01
    assert full[:, :2].abs().mean() < 0.3 * plain[:, :2].abs().mean()


def test_rows_that_are_not_planned_are_not_compared() -> None:
    """On a constant field without mixing, rows beyond `previous` stay exactly as they were."""
    policy = ConstantPolicy()
    previous = torch.full((1, 3, 2), 7.0, dtype=torch.float64)
    for schedule in ('exp', 'linear', 'ones', 'zeros'):
        for sampler in (Rtc(schedule=schedule), Rtc(schedule=schedule, jacobian=False)):
            boundary = Boundary(previous, delay=2, execution_horizon=1)
            plain = sample_chunk(policy, Plain(), observation(), boundary, seeded()).actions
            drawn = sample_chunk(policy, sampler, observation(), boundary, seeded()).actions
            torch.testing.assert_close(drawn[:, 3:], plain[:, 3:], rtol=0, atol=0)
            assert (drawn[:, :2] - 7).abs().max() < 0.2 * (plain[:, :2] - 7).abs().max()


def test_variants_agree_where_the_jacobian_is_the_identity() -> None:
    boundary = Boundary(torch.ones(1, 5, 2, dtype=torch.float64), delay=2, execution_horizon=3)
    draws = [
        sample_chunk(ConstantPolicy(), Rtc(jacobian=j), observation(), boundary, seeded()).actions
        for j in (True, False)
    ]
    torch.testing.assert_close(*draws)
