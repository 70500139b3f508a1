# SPDX-License-Identifier: Apache-2.0
"""What a sampler is: how a chunk is drawn from a flow policy, given the boundary it must meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Encoding, FlowPolicy, Observation

Guide = Callable[[Tensor, float], Tensor]
"""(x [B, H, D], flow time) -> velocity [B, H, D]."""

Randomness = torch.Generator | Sequence[torch.Generator]
"""One generator for a batch, or one for each of its elements; see `normal`."""


class Draw(NamedTuple):
    """
    What a sampler returns.

    Attributes:
        actions: [B, rows, D] normalised; row 0 belongs to the request's tick.
        state: What the same sampler wants back at the next request of this stream, or None.
    """

    actions: Tensor
    state: Any = None


@dataclass(frozen=True)
class Sampler(ABC):
    """
    How a chunk is drawn. A value: constants only; what evolves goes in and out as `state`.

    With no plan to meet (`boundary.rows == 0`), or no delay where the paper says so, a sampler
    gives exactly what `plain` gives from the same noise.

    Attributes:
        num_steps: Solver steps n; 0 takes the policy's own.
    """

    num_steps: int = 0

    def condition(self, observation: Observation, boundary: Boundary) -> Observation:
        """Return the observation to encode; `boundary.previous` is in robot units here."""
        del boundary  # Unused.
        return observation

    @abstractmethod
    def draw(
        self,
        policy: FlowPolicy,
        encoding: Encoding,
        boundary: Boundary,
        noise: Tensor,
        generator: Randomness,
        state: Any = None,
    ) -> Draw:
        """
        Draw one chunk per batch element.

        Args:
            policy: Whose velocity to follow.
            encoding: Of the observation, batch B.
            boundary: `previous` [B, R, D] normalised, on the noise's device.
            noise: [B, H, D] standard normal: the same that `plain` would start from.
            generator: For any further randomness, drawn with `normal`.
            state: What this sampler returned at the last request of the stream, or None.
        """

    def steps(self, policy: FlowPolicy) -> int:
        """Return the solver steps to take."""
        return self.num_steps or policy.num_steps


def normal(shape: Sequence[int], generator: Randomness, like: Tensor) -> Tensor:
    """
    Return standard normal numbers [B, ...] of `like`'s type and device.

    With one generator for each batch element, what an element draws does not depend on the others
    in its batch.
    """
    if isinstance(generator, torch.Generator):
        drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype)
    else:
        each = [
            torch.randn(shape[1:], generator=one, device=one.device, dtype=like.dtype)
            for one in generator
        ]
        drawn = torch.stack(each)
    return drawn.to(like.device)


def integrate(velocity: Guide, start: Tensor, num_steps: int) -> Tensor:
    """
    Follow a velocity field from flow time 0 to 1 with Euler steps at 0, 1/n, ..., (n-1)/n.

    Args:
        velocity: Called once per step.
        start: [B, H, D] at flow time 0.
        num_steps: n.
    """
    x = start
    for step in range(num_steps):
        x = x + velocity(x, step / num_steps) / num_steps
    return x


def field(policy: FlowPolicy, encoding: Encoding) -> Guide:
    """Return the policy's own velocity with one flow time for all rows."""

    def velocity(x: Tensor, flow_time: float) -> Tensor:
        return policy.velocity(x, x.new_full((x.shape[0],), flow_time), encoding)

    return velocity


def sample_chunk(
    policy: FlowPolicy,
    sampler: Sampler,
    observation: Observation,
    boundary: Boundary,
    generator: Randomness,
    state: Any = None,
) -> Draw:
    """
    Answer one request, or a batch of them that share delay, rows and execution horizon.

    The one path from observation to chunk: nodes, bench and tests use it.

    Args:
        policy: The flow policy.
        sampler: How to draw.
        observation: Name -> [B, ...].
        boundary: `previous` [B, R, D] tensor in robot units.
        generator: Source of all randomness.
        state: See `Sampler.draw`.

    Returns:
        Actions [B, rows, D] in robot units [rad, m], and the sampler's state.

    Raises:
        PolicyError: The policy returned NaN or infinity.
    """
    observation = sampler.condition(observation, boundary)
    previous = policy.normalize(boundary.previous, observation)
    shape = (previous.shape[0], policy.horizon, policy.action_dim)
    noise = normal(shape, generator, previous)
    with torch.no_grad():
        encoding = policy.encode(observation)
        inner = replace(boundary, previous=previous)
        actions, state = sampler.draw(policy, encoding, inner, noise, generator, state)
        actions = policy.denormalize(actions, observation)
    if not torch.isfinite(actions).all():
        msg = f'{type(policy).__name__} returned actions that are not finite'
        raise PolicyError(msg)
    return Draw(actions, state)


class PolicyError(RuntimeError):
    """The policy failed on a request; the executor is told, and asks again."""
