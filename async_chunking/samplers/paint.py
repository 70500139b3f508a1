# SPDX-License-Identifier: Apache-2.0
"""PAINT: choose the noise from which the policy draws a chunk that begins as the old plan."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from async_chunking.samplers import inversion
from async_chunking.samplers.base import Context, Draw, Sampler, integrate, put_first
from async_chunking.samplers.inversion import Grid


@dataclass(frozen=True)
class Paint(Sampler):
    """
    Prefix-anchored initial noise (arXiv 2606.19774, algorithm 1).

    ::

        noise ──policy──► naive chunk          n calls
                             │ its first rows replaced by those that will be executed
        noise' ◄─inverted─ target              n calls
          │ only its first rows kept, the others are those of the first noise
          └──policy──► chunk                   n calls

    Calls: 3n; n with nothing committed (delay 0 or no plan), where it is `plain`. Needs: velocity.
    Guarantees: nothing exactly; every chunk comes from the unmodified flow, and it begins as the
    old plan as far as noise acts locally (`async-chunking probe`). A delay beyond the plan is cut
    to it.

    Attributes:
        grid: Where the inversion evaluates; see `inversion`. The paper prints departure, its
            Kinetix code runs arrival.
        naive_steps: Steps of the first pass; 0 takes as many as the last one.
        inversion_steps: Likewise. With 2 and 2 (variant `paint_lean` of this package, n + 4 calls)
            both are rough, which the noise of the first rows can be: the last pass makes of it
            what the observation wants.
    """

    grid: Grid = 'arrival'
    naive_steps: int = 0
    inversion_steps: int = 0

    def draw(self, context: Context) -> Draw:
        """Choose the noise and integrate from it; see `Sampler.draw`."""
        start = self.anchor(context) if context.boundary.committed > 0 else context.noise
        return Draw(integrate(context.velocity, start, self.steps(context.policy)))

    def anchor(self, context: Context) -> Tensor:
        """Return the noise with the committed rows replaced by those that lead to the old plan."""
        committed = context.boundary.committed
        target = put_first(context.boundary.previous[:, :committed], self.tail(context))
        inverted = self.invert(context, target)
        return put_first(inverted[:, :committed], context.noise)

    def tail(self, context: Context) -> Tensor:
        """
        Return the chunk [B, H, D] that follows the committed rows in the target of the inversion.

        It must look like a chunk, or the inversion leaves the policy's distribution.
        """
        num_steps = self.naive_steps or self.steps(context.policy)
        return integrate(context.velocity, context.noise, num_steps)

    def invert(self, context: Context, actions: Tensor) -> Tensor:
        """Return the noise [B, H, D] of actions [B, H, D]."""
        num_steps = self.inversion_steps or self.steps(context.policy)
        return inversion.euler(context.velocity, actions, num_steps, self.grid)


@dataclass(frozen=True)
class PaintDpm2(Paint):
    """PAINT with the midpoint inversion. Calls: 4n."""

    def invert(self, context: Context, actions: Tensor) -> Tensor:
        """Return the noise by midpoint steps."""
        num_steps = self.inversion_steps or self.steps(context.policy)
        return inversion.dpm2(context.velocity, actions, num_steps, self.grid)


@dataclass(frozen=True)
class PaintRfm(Paint):
    """PAINT with the one-step inversion, which has no grid. Calls: 2n + 1."""

    def invert(self, context: Context, actions: Tensor) -> Tensor:
        """Return the noise by one step."""
        return inversion.rfm(context.velocity, actions)


@dataclass(frozen=True)
class PaintOptim(Paint):
    """
    PAINT with inversion by gradient descent, which has no grid. Needs: gradients.

    Calls: (k + 2) n, of which k n with a backward pass.

    Attributes:
        iterations: k; 5 in the paper's code.
        learning_rate: 0.1 there.
    """

    iterations: int = 5
    learning_rate: float = 0.1

    def invert(self, context: Context, actions: Tensor) -> Tensor:
        """Return the noise by gradient descent from zero."""
        return inversion.optim(
            context.velocity,
            actions,
            self.steps(context.policy),
            self.iterations,
            self.learning_rate,
        )


@dataclass(frozen=True)
class PaintSlide(Paint):
    """
    PAINT once, then the noise of the last chunk again for the rows that are executed.

    The first chunk with something committed is drawn by PAINT; its noise is the state. Later
    chunks take the committed rows from there and fresh noise behind. Calls: n (3n the first time).

    Attributes:
        shift: The paper moves the stored noise with the rows that it made, by the steps since the
            last request (horizon - rows left: the execution horizon, on schedule). False is the
            rule of the paper's Kinetix code: the first rows stay as they were.
    """

    shift: bool = True

    def draw(self, context: Context) -> Draw:
        """Reuse the noise in `state`, or do as PAINT; see `Sampler.draw`."""
        policy, boundary = context.policy, context.boundary
        if boundary.committed == 0:
            return super().draw(context)
        if context.state is None:
            start = self.anchor(context)
        else:
            first = policy.horizon - boundary.rows if self.shift else 0
            start = put_first(context.state[:, first : first + boundary.committed], context.noise)
        return Draw(integrate(context.velocity, start, self.steps(policy)), start)
