# SPDX-License-Identifier: Apache-2.0
"""BID: draw many chunks and keep the one that goes on best from the old plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Observation, repeat_each
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import Context, Count, Draw, Sampler, normal
from async_chunking.samplers.plain import Plain
from async_chunking.samplers.prefix import Schedule, prefix_weights


@dataclass(frozen=True)
class Bid(Sampler):
    """
    Bidirectional decoding, backward criterion (Liu et al. 2024, in the form of RTC's comparison).

    The cost of a sample is its distance to the old plan, sum_h W_h |a_h - previous_h|. The first
    sample starts from the noise that `plain` would start from.

    Calls: N n, in n batches. Needs: velocity. Guarantees: the chunk is one of N that the policy
    draws, the nearest to the old plan. With no plan to compare, it is the first.

    Attributes:
        samples: N; 16 in the code of RTC's comparison, 32 in its paper.
        schedule: Schedule of the weights W; see `prefix_weights`.
        inner: How each sample is drawn from its noise, which must be all that is random in it.
    """

    samples: Count = 16
    schedule: Schedule = 'exp'
    inner: Sampler = field(default_factory=Plain)

    def condition(self, observation: Observation, boundary: Boundary) -> Observation:
        """Return what the samples are drawn from."""
        return self.inner.condition(observation, boundary)

    def draw(self, context: Context) -> Draw:
        """Draw all samples in one batch and keep the best; see `Sampler.draw`."""
        context = replace(context, state=None)
        if context.boundary.overlap(context.policy.horizon) == 0:
            return replace(self.inner, num_steps=self.steps(context.policy)).draw(context)
        noises = self._noises(context)
        chunks = self._chunks(context, noises)
        best = self._cost(context, noises, chunks).argmin(1)[:, None, None, None]
        return Draw(torch.take_along_dim(chunks, best, 1).squeeze(1))

    def _noises(self, context: Context) -> Tensor:
        """Return [B, N, H, D], the first of each N being that of the context."""
        batch, *shape = context.noise.shape
        fresh = normal((batch, self.samples - 1, *shape), context.generator, context.noise)
        return torch.cat((context.noise[:, None], fresh), 1)

    def _chunks(self, context: Context, noises: Tensor) -> Tensor:
        """Return the chunk [B, N, H, D] of every noise [B, N, H, D], drawn as one batch."""
        policy, boundary = context.policy, context.boundary
        many = replace(
            context,
            encoding=policy.repeat(context.encoding, self.samples),
            boundary=replace(boundary, previous=repeat_each(boundary.previous, self.samples)),
            noise=noises.flatten(0, 1),
        )
        drawn = replace(self.inner, num_steps=self.steps(policy)).draw(many)
        return drawn.actions.unflatten(0, noises.shape[:2])

    def _cost(self, context: Context, noises: Tensor, chunks: Tensor) -> Tensor:
        """Return the cost [B, N] of chunks [B, N, H, D] that were drawn from noises."""
        del noises  # Unused.
        return self._backward(context.boundary, chunks, context.policy.horizon)

    def _backward(self, boundary: Boundary, chunks: Tensor, horizon: int) -> Tensor:
        """Return the weighted distance [B, N] to the rows of the old plan."""
        end = boundary.overlap(horizon)
        gap = chunks[:, :, :end] - boundary.previous[:, None, :end]
        distance = torch.linalg.vector_norm(gap, dim=-1)
        weights = prefix_weights(
            horizon, boundary.committed, end, self.schedule, chunks.dtype, chunks.device
        )
        return distance @ weights[:end]


@dataclass(frozen=True)
class BidFull(Bid):
    """
    BID with the forward criterion too: near to good chunks of the policy, far from a weak one's.

    Both policies draw N chunks, from the same noises as in the code of RTC's comparison. Of each
    N, the K nearest to the old plan are the positives and the negatives;
    (sum_p sum_h |a_h - p_h| - sum_q sum_h |a_h - q_h|) / N is added to the cost.

    Calls: 2 N n, half of them of the weak policy. Needs: weak_policy (a `WithWeak`).

    Attributes:
        keep: K; 3 in the paper of RTC's comparison.
    """

    keep: Count = 3

    def _cost(self, context: Context, noises: Tensor, chunks: Tensor) -> Tensor:
        """Return the sum [B, N] of both criteria."""
        policy, boundary = context.policy, context.boundary
        if not isinstance(policy, WithWeak):
            msg = f'the weak checkpoint of {type(policy).__name__} must be joined by WithWeak'
            raise TypeError(msg)
        weaker = replace(context, policy=policy.weak, encoding=context.encoding[1])
        weak = self._chunks(weaker, noises)
        backward = self._backward(boundary, chunks, policy.horizon)
        positives = self._nearest(chunks, backward)
        negatives = self._nearest(weak, self._backward(boundary, weak, policy.horizon))
        forward = _distances(chunks, positives) - _distances(chunks, negatives)
        return backward + forward / self.samples

    def _nearest(self, chunks: Tensor, cost: Tensor) -> Tensor:
        """Return the K chunks [B, K, H, D] of least cost [B, N]."""
        best = cost.topk(min(self.keep, cost.shape[1]), largest=False).indices
        return chunks[torch.arange(len(best), device=best.device)[:, None], best]


def _distances(chunks: Tensor, others: Tensor) -> Tensor:
    """Return the summed distance [B, N] of each of chunks [B, N, H, D] to others [B, K, H, D]."""
    return (chunks[:, :, None] - others[:, None]).norm(dim=-1).sum((2, 3))
