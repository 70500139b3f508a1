# SPDX-License-Identifier: Apache-2.0
"""Plain: follow the policy's flow from noise to actions, whatever the robot is doing meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Encoding, FlowPolicy
from async_chunking.samplers.base import Draw, Randomness, Sampler, field, integrate


@dataclass(frozen=True)
class Plain(Sampler):
    """
    Explicit Euler over the flow, as in Lipman et al. 2022 (arXiv 2210.02747).

    Calls: n. Needs: nothing. Guarantees: nothing about the boundary.
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
        """Integrate from the noise; see `Sampler.draw`."""
        del boundary, generator, state  # Unused.
        return Draw(integrate(field(policy, encoding), noise, self.steps(policy)))
