# SPDX-License-Identifier: Apache-2.0
"""Plain: follow the policy's flow from noise to actions, whatever the robot is doing meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from async_chunking.samplers.base import Context, Draw, Sampler, integrate


@dataclass(frozen=True)
class Plain(Sampler):
    """
    Explicit Euler over the flow, as in Lipman et al. 2022 (arXiv 2210.02747).

    Calls: n. Needs: nothing. Guarantees: nothing about the boundary.
    """

    def draw(self, context: Context) -> Draw:
        """Integrate from the noise; see `Sampler.draw`."""
        return Draw(integrate(context.velocity, context.noise, self.steps(context.policy)))
