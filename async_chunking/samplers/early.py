# SPDX-License-Identifier: Apache-2.0
"""BID that judges early: a variant of this package; no paper describes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from async_chunking.samplers.base import Context, Count, Draw
from async_chunking.samplers.bid import BidFull


@dataclass(frozen=True)
class BidEarly(BidFull):
    """
    BID with both criteria, judged by what few large steps make of each noise.

    ::

        N noises ──strong, m large steps──► N rough chunks ┐
        N noises ──weak, m large steps────► N rough chunks ┴─ costs of `BidFull`: the best noise
        best noise ──strong, n steps──► chunk

    Rough chunks are poor as chunks, but they take the same way as those that all steps would make,
    and the ways are what BID chooses among.

    Calls: 2 m N + n. Needs: weak_policy. Guarantees: the chunk is one that the policy draws.

    Attributes:
        samples: N; no better with 16.
        early_steps: m. One is too few: from flow time 0 a policy hardly tells its noises apart.
    """

    samples: Count = 8
    early_steps: int = 2

    def draw(self, context: Context) -> Draw:
        """Choose a noise, then draw from it; see `Sampler.draw`."""
        context = replace(context, state=None)
        if context.boundary.overlap(context.policy.horizon) > 0:
            rough = replace(self, num_steps=self.early_steps)
            noises = rough._noises(context)
            cost = rough._cost(context, noises, rough._chunks(context, noises))
            best = cost.argmin(1)[:, None, None, None]
            context = replace(context, noise=torch.take_along_dim(noises, best, 1).squeeze(1))
        return replace(self.inner, num_steps=self.steps(context.policy)).draw(context)
