# SPDX-License-Identifier: Apache-2.0
"""Plain: follow the policy's flow from noise to actions, whatever the robot is doing meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Encoding
from async_chunking.policies.base import FlowPolicy
from async_chunking.samplers.base import Draw
from async_chunking.samplers.base import Sampler
from async_chunking.samplers.base import field
from async_chunking.samplers.base import integrate


@dataclass(frozen=True)
class Plain(Sampler):
    """
    Explicit Euler over the flow, as in Lipman et al. 2022.

    Calls: n. Needs: nothing. Guarantees: nothing about the boundary.
    """

    def draw(
        self,
        policy: FlowPolicy,
        encoding: Encoding,
        boundary: Boundary,
        noise: Tensor,
        generator: torch.Generator,
        state: Any = None,
    ) -> Draw:
        """Integrate from the noise; see `Sampler.draw`."""
        del boundary, generator, state  # Unused.
        return Draw(integrate(field(policy, encoding), noise, self.steps(policy)))
