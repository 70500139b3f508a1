# SPDX-License-Identifier: Apache-2.0
"""Training-time RTC: show the policy the executed rows as finished actions."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Encoding, FlowPolicy
from async_chunking.samplers.base import (
    Draw,
    Guide,
    Randomness,
    Sampler,
    field,
    integrate,
    put_first,
    require,
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

    def draw(
        self,
        policy: FlowPolicy,
        encoding: Encoding,
        boundary: Boundary,
        noise: Tensor,
        generator: Randomness,
        state: Any = None,
    ) -> Draw:
        """Integrate behind a clean prefix; see `Sampler.draw`."""
        del generator, state  # Unused.
        num_steps = self.steps(policy)
        if boundary.committed == 0:
            return Draw(integrate(field(policy, encoding), noise, num_steps))
        require(policy, 'per_token_time', self)
        start = put_first(boundary.previous[:, : boundary.committed], noise)
        velocity = _behind_prefix(policy, encoding, boundary.committed)
        return Draw(integrate(velocity, start, num_steps, boundary.committed))


def _behind_prefix(policy: FlowPolicy, encoding: Encoding, committed: int) -> Guide:
    """Return the velocity with the first rows at flow time 1."""

    def velocity(x: Tensor, flow_time: float) -> Tensor:
        time = _times(flow_time, committed, *x.shape[:2], x.dtype, x.device)
        return policy.velocity(x, time, encoding)

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
