# SPDX-License-Identifier: Apache-2.0
"""What a sampler is: how a chunk is drawn from a flow policy, given the boundary it must meet."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.policies.base import Encoding, FlowPolicy, Observation
from async_chunking.strategies.constants import declared_by

Count = Annotated[int, Field(ge=1)]
"""A constant that is 1 or more."""

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
class Context:
    """
    What a chunk is drawn from; one chunk per batch element.

    Attributes:
        policy: Whose velocity to follow.
        encoding: Encoded observation, batch B.
        boundary: `previous` [B, R, D] normalised, on the noise's device.
        noise: [B, H, D] standard normal: the same that `plain` would start from.
        generator: For any further randomness, drawn with `normal`.
        state: What the sampler returned at the last request of the stream, or None.
    """

    policy: FlowPolicy
    encoding: Encoding
    boundary: Boundary
    noise: Tensor
    generator: Randomness
    state: Any = None

    @property
    def velocity(self) -> Guide:
        """The policy's own velocity with one flow time for all rows."""
        return field(self.policy, self.encoding)


@dataclass(frozen=True)
class Sampler(ABC):
    """
    How a chunk is drawn. A value: constants only; what evolves goes in and out as `state`.

    With no plan to meet (`boundary.rows == 0`), or no delay where the paper says so, a sampler
    gives exactly what `plain` gives from the same noise.

    Attributes:
        num_steps: Solver steps n; 0 takes the policy's own.

    Raises:
        StrategyError: A constant cannot have its value; see `strategies.constants`.
    """

    num_steps: int = 0

    def __post_init__(self) -> None:
        for name, constant in declared_by(type(self)).items():
            value = getattr(self, name)
            if not constant.allows(value):
                msg = f"{type(self).__name__}: {name} must be {constant.allowed}, not '{value}'"
                raise StrategyError(msg)

    def condition(self, observation: Observation, boundary: Boundary) -> Observation:
        """Return the observation to encode; `boundary.previous` is in robot units here."""
        del boundary  # Unused.
        return observation

    def finish(self, actions: Tensor, boundary: Boundary) -> Tensor:
        """Return the answer [B, rows, D] for the chunk drawn, all in robot units here."""
        del boundary  # Unused.
        return actions

    @abstractmethod
    def draw(self, context: Context) -> Draw:
        """Draw one chunk per batch element. Called under `torch.no_grad`."""

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


def integrate(velocity: Guide, start: Tensor, num_steps: int, held: int = 0) -> Tensor:
    """
    Follow a velocity field from flow time 0 to 1 with Euler steps at 0, 1/n, ..., (n-1)/n.

    Args:
        velocity: Called once per step.
        start: [B, H, D] at flow time 0; not modified.
        num_steps: n.
        held: The first rows, as many, stay exactly as they start.
    """
    x, length = start, 1 / num_steps
    if not held:
        for step in range(num_steps):
            x = torch.add(x, velocity(x, step / num_steps), alpha=length)
        return x
    lengths = _lengths(num_steps, held, x.shape[1], x.dtype, x.device)
    for step in range(num_steps):
        x = torch.addcmul(x, velocity(x, step / num_steps), lengths)
    return x


@functools.lru_cache(maxsize=256)
def _lengths(
    num_steps: int, held: int, horizon: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the length of each row's steps [H, 1], 0 for those held; kept, like `_times`."""
    lengths = torch.full((horizon, 1), 1 / num_steps, dtype=dtype, device=device)
    lengths[:held] = 0.0
    return lengths


def put_first(rows: Tensor, chunk: Tensor) -> Tensor:
    """Return `chunk` [B, H, D] with its first d rows replaced by `rows` [B, d, D]."""
    return torch.cat((rows, chunk[:, rows.shape[1] :]), 1)


def field(policy: FlowPolicy, encoding: Encoding) -> Guide:
    """Return the policy's own velocity with one flow time for all rows."""

    def velocity(x: Tensor, flow_time: float) -> Tensor:
        return policy.velocity(x, _times(flow_time, len(x), x.dtype, x.device), encoding)

    return velocity


@functools.lru_cache(maxsize=256)
def _times(flow_time: float, batch: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the flow time [B] of a batch; kept, as a small policy is as fast as a few fills."""
    return torch.full((batch,), flow_time, dtype=dtype, device=device)


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

    The one path from observation to chunk: nodes, bench and tests use it. Whether the policy
    offers what the sampler needs was asked before: `policies.strategy_fit.check_strategy`.

    Args:
        policy: The flow policy.
        sampler: How to draw.
        observation: Name -> [B, ...].
        boundary: `previous` [B, R, D] tensor in robot units.
        generator: Source of all randomness.
        state: What the sampler returned at the last request of the stream, or None.

    Returns:
        Actions [B, rows, D] in robot units [rad, m], and the sampler's state.

    Raises:
        StrategyError: The boundary does not fit the policy.
        PolicyError: The policy returned NaN or infinity.
    """
    boundary = _fitted(boundary, policy)
    observation = sampler.condition(observation, boundary)
    previous = policy.normalize(boundary.previous, observation)
    # A network may have columns to spare beyond the robot's.
    shape = (previous.shape[0], policy.horizon, previous.shape[-1])
    noise = normal(shape, generator, previous)
    with torch.no_grad():
        encoding = policy.encode(observation)
        inner = replace(boundary, previous=previous)
        context = Context(policy, encoding, inner, noise, generator, state)
        actions, state = sampler.draw(context)
        actions = sampler.finish(policy.denormalize(actions, observation), boundary)
    if not torch.isfinite(actions).all():
        msg = f'{type(policy).__name__} returned actions that are not finite'
        raise PolicyError(msg)
    return Draw(actions, state)


def _fitted(boundary: Boundary, policy: FlowPolicy) -> Boundary:
    """Return the boundary with no more rows than a chunk has; refuse what has no meaning."""
    if boundary.delay < 0 or boundary.execution_horizon < 1:
        msg = f'delay {boundary.delay} must be 0 or more'
        msg += f' and execution_horizon {boundary.execution_horizon} at least 1 step'
        raise StrategyError(msg)
    if boundary.previous.shape[-1] != policy.action_dim:
        msg = f'previous has {boundary.previous.shape[-1]} columns, the policy '
        raise StrategyError(msg + f'{policy.action_dim}; check the joints of the robot')
    if boundary.rows <= policy.horizon:
        return boundary
    return replace(boundary, previous=boundary.previous[:, : policy.horizon])


class PolicyError(RuntimeError):
    """The policy failed on a request; the executor is told, and asks again."""
