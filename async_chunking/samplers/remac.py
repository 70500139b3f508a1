# SPDX-License-Identifier: Apache-2.0
"""REMAC: keep the executed rows in place while a policy trained for it draws the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Observation
from async_chunking.policies.source import COMMITTED
from async_chunking.samplers.base import Context, Draw, Sampler, integrate, put_first
from async_chunking.samplers.rtc import Rtc


@dataclass(frozen=True)
class Remac(Sampler):
    """
    Prefix-preserved sampling (arXiv 2601.20130, equation 7).

    After each step the committed rows are the old plan's again, and a policy with gated adapters
    is told how many they are. A delay beyond the plan is cut to it; with nothing committed it is
    `plain`.

    Calls: n. Needs: recipe:remac. Guarantees: the committed rows are the old plan's, bit by bit.

    Attributes:
        start: Where the other rows begin. 'plan', the paper's: at the old plan as far as it
            reaches, then at zero, so that the chunk is no random draw. 'plan_always': so with
            nothing committed too, and at zero where there is no plan, as the paper's code does.
            'plan_then_noise': with noise instead of zeros. 'gaussian': at noise, as while it was
            trained.
        guidance: RTC on top, which the paper combines it with.
    """

    start: Literal['plan', 'plan_always', 'plan_then_noise', 'gaussian'] = 'plan'
    guidance: Rtc | None = None

    def condition(self, observation: Observation, boundary: Boundary) -> Observation:
        """Return the observation with the number of committed rows [B, 1]."""
        batch, committed = boundary.previous.shape[0], float(boundary.committed)
        told = torch.full((batch, 1), committed, device=boundary.previous.device)
        return {**observation, COMMITTED: told}

    def draw(self, context: Context) -> Draw:
        """Integrate with the prefix held; see `Sampler.draw`."""
        policy, boundary, noise = context.policy, context.boundary, context.noise
        velocity, num_steps = context.velocity, self.steps(policy)
        if boundary.committed == 0 and self.start != 'plan_always':
            return Draw(integrate(velocity, noise, num_steps))
        if self.guidance is not None and boundary.committed:
            velocity = self.guidance.guided(policy, velocity, boundary, boundary.committed)
        reach = (
            boundary.committed if self.start == 'gaussian' else boundary.overlap(policy.horizon)
        )
        zeros = self.start in ('plan', 'plan_always')
        rest = torch.zeros_like(noise) if zeros else noise
        start = put_first(boundary.previous[:, :reach], rest)
        return Draw(integrate(velocity, start, num_steps, boundary.committed))
