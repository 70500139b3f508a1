# SPDX-License-Identifier: Apache-2.0
"""PAINT: exact answers on fields without mixing, and inversions against a known flow map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from analytic import Analytic, ConstantPolicy, Gaussian, Linear, RowWise
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.policies.base import CountingPolicy, FlowPolicy
from async_chunking.samplers import inversion
from async_chunking.samplers.base import Guide, Sampler, field, integrate, sample_chunk
from async_chunking.samplers.paint import Paint, PaintDpm2, PaintOptim, PaintRfm, PaintSlide
from async_chunking.samplers.plain import Plain

VARIANTS = [Paint(), Paint(grid='departure'), PaintDpm2(), PaintRfm(), PaintSlide()]
STATE = torch.tensor([[0.2, -0.4]], dtype=torch.float64)


def draw(policy: FlowPolicy, sampler: Sampler, delay: int, rows: int = 6) -> Tensor:
    """Draw one chunk after a plan of `rows` rows; the noise is always the same."""
    previous = torch.randn(8, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    boundary = Boundary(previous[None, :rows], delay, execution_horizon=8 - rows)
    generator = torch.Generator().manual_seed(4)
    return sample_chunk(policy, sampler, {'observation.state': STATE}, boundary, generator).actions


def previous_rows(rows: int) -> Tensor:
    previous = torch.randn(8, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return previous[None, :rows]


@pytest.mark.parametrize('sampler', VARIANTS, ids=repr)
def test_constant_field_gives_the_exact_prefix_and_leaves_the_rest(sampler: Sampler) -> None:
    chunk = draw(ConstantPolicy(), sampler, delay=3)
    naive = draw(ConstantPolicy(), Plain(), delay=3)
    torch.testing.assert_close(chunk[:, :3], previous_rows(3))
    torch.testing.assert_close(chunk[:, 3:], naive[:, 3:])


@pytest.mark.parametrize('sampler', VARIANTS, ids=repr)
def test_rows_that_do_not_mix_keep_their_suffix(sampler: Sampler) -> None:
    chunk = draw(RowWise(), sampler, delay=3)
    naive = draw(RowWise(), Plain(), delay=3)
    torch.testing.assert_close(chunk[:, 3:], naive[:, 3:])
    assert not torch.allclose(chunk[:, :3], naive[:, :3])


@pytest.mark.parametrize('delay', [2, 3, 9])
def test_delay_beyond_the_plan_is_cut_to_it(delay: int) -> None:
    chunk = draw(ConstantPolicy(), Paint(), delay, rows=2)
    torch.testing.assert_close(chunk[:, :2], previous_rows(2))
    plain = draw(ConstantPolicy(), Plain(), delay, rows=2)
    torch.testing.assert_close(chunk[:, 2:], plain[:, 2:])


@pytest.mark.parametrize('sampler', VARIANTS, ids=repr)
@pytest.mark.parametrize(('delay', 'rows'), [(0, 6), (3, 0)])
def test_nothing_committed_is_plain(sampler: Sampler, delay: int, rows: int) -> None:
    torch.testing.assert_close(
        draw(Gaussian(), sampler, delay, rows), draw(Gaussian(), Plain(), delay, rows)
    )


def test_noise_may_be_sought_in_fewer_steps() -> None:
    """v = 1.5x: a naive pass of one step, an inversion of two, a chunk of five."""
    rough = Paint(num_steps=5, naive_steps=1, inversion_steps=2)
    chunk = draw(Linear(1.5), rough, delay=3)
    factor = (1 - 1.5 / 2) ** 2 * (1 + 1.5 / 5) ** 5
    torch.testing.assert_close(chunk[:, :3], factor * previous_rows(3))
    torch.testing.assert_close(chunk[:, 3:], draw(Linear(1.5), Plain(), delay=3)[:, 3:])
    policy = CountingPolicy(Gaussian())
    draw(policy, rough, delay=3)
    assert policy.calls == 1 + 2 + 5


def test_prefix_error_shrinks_on_a_smooth_chunk() -> None:
    naive = (draw(Gaussian(), Plain(), 2)[:, :2] - previous_rows(2)).abs().mean()
    paint = (draw(Gaussian(), Paint(), 2)[:, :2] - previous_rows(2)).abs().mean()
    assert paint < 0.5 * naive


def test_euler_inversion_of_a_linear_field() -> None:
    """v = x: each step multiplies by 1 - 1/n on either grid, as time plays no part."""
    actions = torch.ones(1, 8, 2, dtype=torch.float64)
    linear = guide(Linear(1.0))
    for grid in get_args(inversion.Grid):
        noise = inversion.euler(linear, actions, 4, grid)
        torch.testing.assert_close(noise, torch.full_like(noise, (1 - 1 / 4) ** 4))


def test_descent_takes_the_paper_codes_steps_in_a_batch_of_one_and_in_any_other() -> None:
    """v = 0: the chunk is its noise, so each step at rate 0.1 leaves 0.8 of the error."""
    for batch in (1, 7):
        target = torch.ones(batch, 8, 2, dtype=torch.float64)
        noise = inversion.optim(guide(Linear(0.0)), target, 4, iterations=3, learning_rate=0.1)
        torch.testing.assert_close(noise, torch.full_like(noise, 1 - 0.8**3))


def test_grids_evaluate_where_they_say() -> None:
    times: list[float] = []

    def velocity(x: Tensor, flow_time: float) -> Tensor:
        times.append(flow_time)
        return torch.zeros_like(x)

    for invert, grid, expected in [
        (inversion.euler, 'arrival', [0.75, 0.5, 0.25, 0.0]),
        (inversion.euler, 'departure', [1.0, 0.75, 0.5, 0.25]),
        (inversion.dpm2, 'arrival', [0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0, -0.125]),
        (inversion.dpm2, 'departure', [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
    ]:
        times.clear()
        invert(velocity, torch.zeros(1, 8, 2), 4, grid)
        assert times == expected
    times.clear()
    inversion.rfm(velocity, torch.zeros(1, 8, 2))
    assert times == [1.0]


def test_unknown_grid_is_refused_by_name() -> None:
    with pytest.raises(StrategyError, match="grid must be arrival, departure, not 'midway'"):
        Paint(grid='midway')


def guide(policy: Analytic) -> Guide:
    return field(policy, policy.encode({'observation.state': STATE}))


@pytest.mark.parametrize(
    ('invert', 'grid', 'order'),
    [
        (inversion.euler, 'arrival', 1),
        (inversion.euler, 'departure', 1),
        (inversion.dpm2, 'arrival', 1),
        (inversion.dpm2, 'departure', 3),
    ],
)
def test_inversion_error_falls_at_the_claimed_order(
    invert: Callable, grid: str, order: int
) -> None:
    """Against the flow map of a Gaussian, which is known exactly."""
    policy = Gaussian(width=1.0, scale=0.8, jitter=0.1)
    noise = torch.randn(1, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    actions = policy.flow_map(noise, STATE)
    torch.testing.assert_close(policy.noise_of(actions, STATE), noise)
    errors = [
        (invert(guide(policy), actions, n, grid) - noise).abs().mean().item() for n in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_midpoint_inversion_is_of_second_order() -> None:
    """On v = x, whose flow map is e; the Gaussian's symmetry in time gives it a third."""
    actions = torch.full((1, 8, 2), math.e, dtype=torch.float64)
    errors = [
        (inversion.dpm2(guide(Linear(1.0)), actions, n) - 1).abs().mean().item() for n in (64, 128)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)


def test_arrival_beats_departure_at_few_steps() -> None:
    """Undoing the steps taken beats following the flow back when the forward pass has few."""
    noise = torch.randn(64, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    velocity = guide(Gaussian())
    made = integrate(velocity, noise, 5)
    again = {
        grid: integrate(velocity, inversion.euler(velocity, made, 5, grid), 5)
        for grid in get_args(inversion.Grid)
    }
    error = {grid: (chunk - made).abs().mean() for grid, chunk in again.items()}
    assert error['arrival'] < 0.8 * error['departure']


def test_descent_reduces_the_error_it_descends() -> None:
    target = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    velocity = guide(Gaussian())
    errors = []
    for iterations in (0, 5, 50):
        noise = inversion.optim(velocity, target, 5, iterations, learning_rate=0.1)
        errors.append((integrate(velocity, noise, 5) - target).square().sum().item())
    assert errors[0] > errors[1] > errors[2]
    chunk = draw(Gaussian(), PaintOptim(iterations=100), 2)
    naive = draw(Gaussian(), Plain(), 2)
    error, naive_error = ((c[:, :2] - previous_rows(2)).abs().mean() for c in (chunk, naive))
    assert error < naive_error


@pytest.mark.parametrize('shift', [True, False])
def test_slide_takes_the_noise_of_the_rows_that_made_the_plan(shift: bool) -> None:
    """On a field without mixing, shifted noise makes the old rows again, kept noise does not."""
    policy, sampler = Linear(-0.7), PaintSlide(shift=shift)
    generator = torch.Generator().manual_seed(4)
    observation = {'observation.state': STATE}
    plan = previous_rows(6)
    state, first = None, None
    for _ in range(3):
        boundary = Boundary(plan, delay=2, execution_horizon=2)
        first = plan[:, :2]
        actions, state = sample_chunk(policy, sampler, observation, boundary, generator, state)
        plan = actions[:, 2:]
    assert torch.allclose(actions[:, :2], first) == shift
