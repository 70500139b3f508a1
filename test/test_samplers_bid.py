# SPDX-License-Identifier: Apache-2.0
"""BID: it picks the best sample, by criteria written out a second time here."""

from __future__ import annotations

import pytest
import torch
from analytic import Gaussian, Modes
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import CountingPolicy, FlowPolicy
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import Context, Sampler, normal, sample_chunk
from async_chunking.samplers.bid import Bid, BidFull
from async_chunking.samplers.early import BidEarly
from async_chunking.samplers.plain import Plain
from async_chunking.samplers.prefix import prefix_weights

OBSERVATION = {'observation.state': torch.zeros(1, 2, dtype=torch.float64)}


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(policy: FlowPolicy, sampler: Sampler, previous: Tensor, delay: int = 2) -> Tensor:
    boundary = Boundary(previous, delay, execution_horizon=8 - previous.shape[1])
    return sample_chunk(policy, sampler, OBSERVATION, boundary, seeded()).actions


def every_sample(policy: Modes, samples: int) -> Tensor:
    """Return the chunks [N, H, D] among which BID chooses under `seeded()`."""
    generator = seeded()
    like = torch.zeros(1, dtype=torch.float64)
    first = normal((1, 8, 2), generator, like)
    noises = torch.cat((first, normal((1, samples - 1, 8, 2), generator, like)[0]))
    boundary = Boundary(noises.new_zeros(samples, 0, 2), 0, 2)
    state = policy.encode({'observation.state': torch.zeros(samples, 2, dtype=torch.float64)})
    return Plain().draw(Context(policy, state, boundary, noises, generator)).actions


def test_the_sample_that_is_the_old_plan_is_chosen() -> None:
    chunks = every_sample(Modes(), samples=16)
    for best in (0, 5, 15):
        torch.testing.assert_close(
            draw(Modes(), Bid(), chunks[best : best + 1, :6])[0], chunks[best]
        )


def test_only_rows_with_weight_count() -> None:
    """Rows from horizon - execution horizon on may disagree by any amount."""
    chunks = every_sample(Modes(), samples=16)
    previous = chunks[5:6].clone()
    previous[:, 4:] = 1e6
    boundary = Boundary(previous, delay=2, execution_horizon=4)
    drawn = sample_chunk(Modes(), Bid(), OBSERVATION, boundary, seeded()).actions
    torch.testing.assert_close(drawn[0], chunks[5])


@pytest.mark.parametrize(('sampler', 'batches'), [(Bid(), 5), (BidFull(), 10)])
def test_samples_are_drawn_in_one_batch(sampler: Sampler, batches: int) -> None:
    strong, weak = CountingPolicy(Modes()), CountingPolicy(Modes())
    draw(WithWeak(strong, weak), sampler, torch.zeros(1, 6, 2, dtype=torch.float64))
    assert strong.calls + weak.calls == batches
    assert strong.samples == 5 * 16


def test_one_sample_is_plain() -> None:
    previous = torch.zeros(1, 6, 2, dtype=torch.float64)
    one, plain = draw(Modes(), Bid(samples=1), previous), draw(Modes(), Plain(), previous)
    torch.testing.assert_close(one, plain)


def test_backward_criterion_by_hand() -> None:
    previous = 0.3 * torch.randn(1, 6, 2, generator=seeded(8), dtype=torch.float64)
    chunks = every_sample(Gaussian(), samples=16)
    weights = prefix_weights(8, 2, 6)[:6]
    cost = [
        sum(
            w * (row - old).norm()
            for w, row, old in zip(weights, chunk, previous[0], strict=False)
        )
        for chunk in chunks
    ]
    expected = chunks[torch.stack(cost).argmin()]
    torch.testing.assert_close(draw(Gaussian(), Bid(), previous)[0], expected)


def test_full_criterion_by_hand() -> None:
    samples, keep = 6, 2
    strong, weak = Gaussian(), Gaussian(width=0.5, scale=1.0)
    previous = 0.3 * torch.randn(1, 6, 2, generator=seeded(8), dtype=torch.float64)
    sampler = BidFull(samples=samples, keep=keep)
    drawn = draw(WithWeak(strong, weak), sampler, previous)[0]

    chunks, weaker = (every_sample(policy, samples) for policy in (strong, weak))  # Same noises.
    weights = prefix_weights(8, 2, 6)[:6]

    def backward(chunk: Tensor) -> float:
        return sum(weights[h] * (chunk[h] - previous[0, h]).norm() for h in range(6)).item()

    def distance(a: Tensor, b: Tensor) -> float:
        return sum((a[h] - b[h]).norm() for h in range(8)).item()

    good = sorted(chunks, key=backward)[:keep]
    bad = sorted(weaker, key=backward)[:keep]
    cost = [
        backward(c)
        + (sum(distance(c, p) for p in good) - sum(distance(c, q) for q in bad)) / samples
        for c in chunks
    ]
    torch.testing.assert_close(drawn, chunks[torch.tensor(cost).argmin()])


def test_early_draws_from_the_noise_of_the_best_rough_chunk() -> None:
    """Judged by 4 of 5 steps, the sample that is the old plan wins; it is drawn with all 5."""
    strong, weak = Modes(), Gaussian()
    sampler = BidEarly(samples=16, early_steps=4)
    chunks = every_sample(strong, samples=16)
    for best in (0, 5, 15):
        previous = chunks[best : best + 1, :6]
        drawn = draw(WithWeak(strong, weak), sampler, previous)[0]
        full = draw(WithWeak(strong, weak), BidFull(samples=16), previous)[0]
        torch.testing.assert_close(drawn, full)
        assert any(torch.allclose(drawn, chunk) for chunk in chunks)
