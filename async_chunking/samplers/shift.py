# SPDX-License-Identifier: Apache-2.0
"""Shift: draw from the noise of the last chunk; a variant of this package."""

from __future__ import annotations

from dataclasses import dataclass

from async_chunking.samplers.base import Context, Draw, Sampler, integrate, put_first


@dataclass(frozen=True)
class Shift(Sampler):
    """
    The noise of the last chunk again, moved with the rows that it made, and fresh noise behind.

    ::

        noise of the last chunk    0  1  2  3  4  5  6  7
        its plan goes on from               ^ the request's tick
        noise of the new chunk              3  4  5  6  7  new  new  new     rows of the overlap

    The noise decides which of several ways a policy takes, so that the new chunk mostly takes the
    way of the old one. `paint_slide` does so with the committed rows alone, after an inversion.

    Calls: n. Needs: velocity. Guarantees: nothing. The state is the noise of the last chunk.
    """

    def draw(self, context: Context) -> Draw:
        """Integrate from the shifted noise; see `Sampler.draw`."""
        policy, boundary, start = context.policy, context.boundary, context.noise
        if context.state is not None and boundary.rows > 0:
            first = policy.horizon - boundary.rows
            last = first + boundary.overlap(policy.horizon)
            start = put_first(context.state[:, first:last], start)
        return Draw(integrate(context.velocity, start, self.steps(policy)), start)
