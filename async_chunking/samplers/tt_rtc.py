# SPDX-License-Identifier: Apache-2.0
"""Training-time RTC: show the policy the executed rows as finished actions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from async_chunking.samplers.base import (
    Context,
    Draw,
    Guide,
    Sampler,
    integrate,
    put_first,
)


@dataclass(frozen=True)
class TtRtc(Sampler):
    """
    Training-time action conditioning (arXiv 2512.05964).

    In every step the committed rows hold the old plan at flow time 1, the others share the step's
    time; the policy was trained so. With nothing committed it is `plain`; a delay beyond the plan
    is cut to it.

    Calls: n. Needs: per_token_time, recipe:tt_rtc. Guarantees: the committed rows are the old
    plan's, exactly, so a chunk that comes early joins without a jump. (The reference code lets the
    last step move them.)
    """

    def draw(self, context: Context) -> Draw:
        """Integrate behind a clean prefix; see `Sampler.draw`."""
        num_steps, boundary = self.steps(context.policy), context.boundary
        if boundary.committed == 0:
            return Draw(integrate(context.velocity, context.noise, num_steps))
        start = put_first(boundary.previous[:, : boundary.committed], context.noise)
        return Draw(integrate(_behind_prefix(context), start, num_steps, boundary.committed))


def _behind_prefix(context: Context) -> Guide:
    """Return the velocity with the committed rows at flow time 1."""
    committed = context.boundary.committed

    def velocity(x: Tensor, flow_time: float) -> Tensor:
        time = _times(flow_time, committed, *x.shape[:2], x.dtype, x.device)
        return context.policy.velocity(x, time, context.encoding)

    return velocity


@functools.lru_cache(maxsize=256)
def _times(
    flow_time: float,
    committed: int,
    batch: int,
    horizon: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return the flow time of each row [B, H], 1 for the committed ones; kept."""
    time = torch.full((batch, horizon), flow_time, dtype=dtype, device=device)
    time[:, :committed] = 1.0
    return time
