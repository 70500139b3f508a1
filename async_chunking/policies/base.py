# SPDX-License-Identifier: Apache-2.0
"""
What a policy is to the samplers: a velocity field with an encoding.

A sampler never sees a network, a robot or a message. It works in the policy's own normalised
action space; `FlowPolicy.normalize` and `denormalize` are the two doors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

Observation = Mapping[str, Any]
"""
Batched observation: LeRobot-style name -> numbers, a float32 tensor [B, ...]; an image, a uint8
tensor [B, height, width, 3] in RGB; text, a list of B strings.
"""

Encoding = Any
"""Whatever `encode` returns: nested containers of tensors, each with the batch dimension first."""


class ChunkPolicy(ABC):
    """
    Any policy that answers with a chunk; strategies that need no velocity run on it.

    Attributes:
        horizon: Rows of a chunk [steps].
        action_dim: Columns.
        offers: What strategies may rely on, names of `strategies.NEEDS`.
    """

    horizon: int
    action_dim: int
    offers: frozenset[str] = frozenset()

    @abstractmethod
    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Return a chunk [B, H, D] in robot units [rad, m]."""

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the networks whose weights may be stored in half precision; none by default."""
        return ()


class FlowPolicy(ABC):
    """
    A flow-matching policy: dx/dt = velocity(x, t), noise at t = 0, actions at t = 1.

    Only this direction exists in the package; adapters reverse foreign models.

    Attributes:
        horizon: Rows of a chunk [steps].
        action_dim: Columns.
        num_steps: Solver steps that the policy is meant to be sampled with.
        offers: What strategies may rely on, names of `strategies.NEEDS`.
    """

    horizon: int
    action_dim: int
    num_steps: int = 5
    offers: frozenset[str] = frozenset({'velocity', 'gradients'})

    @abstractmethod
    def encode(self, observation: Observation) -> Encoding:
        """Return what every velocity call of one request shares; called once per request."""

    @abstractmethod
    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """
        Return the velocity [B, H, D].

        Args:
            actions: [B, H, D], normalised.
            flow_time: [B], or [B, H] where the policy offers 'per_token_time'.
            encoding: From `encode`, of the same batch.
        """

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] in robot units as the network's; identity by default."""
        del observation  # Unused.
        return actions

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return the network's actions [B, R, D] in robot units; identity by default."""
        del observation  # Unused.
        return actions

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the networks whose weights may be stored in half precision; none by default."""
        return ()

    def repeat(self, encoding: Encoding, samples: int) -> Encoding:
        """Return the encoding for `samples` draws of each element, adjacent to each other."""
        if isinstance(encoding, Tensor):
            return repeat_each(encoding, samples)
        return pytree.tree_map(
            lambda leaf: repeat_each(leaf, samples) if isinstance(leaf, Tensor) else leaf,
            encoding,
        )


def repeat_each(values: Tensor, samples: int) -> Tensor:
    """Return [B samples, ...] for [B, ...]; for a batch of one a view, as caches are large."""
    if len(values) == 1:
        return values.expand(samples, *values.shape[1:])
    return values.repeat_interleave(samples, 0)


class WrappedPolicy(FlowPolicy):
    """
    Pass everything through to another policy; a subclass changes what it is for.

    Attributes:
        policy: The one inside.
    """

    def __init__(self, policy: FlowPolicy) -> None:
        self.policy = policy
        self.horizon = policy.horizon
        self.action_dim = policy.action_dim
        self.num_steps = policy.num_steps
        self.offers = policy.offers

    def encode(self, observation: Observation) -> Encoding:
        """Pass through."""
        return self.policy.encode(observation)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Pass through."""
        return self.policy.velocity(actions, flow_time, encoding)

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Pass through."""
        return self.policy.normalize(actions, observation)

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Pass through."""
        return self.policy.denormalize(actions, observation)

    def networks(self) -> tuple[nn.Module, ...]:
        """Pass through."""
        return self.policy.networks()

    def repeat(self, encoding: Encoding, samples: int) -> Encoding:
        """Pass through."""
        return self.policy.repeat(encoding, samples)


class CountingPolicy(WrappedPolicy):
    """
    Count the velocity evaluations of a policy.

    Attributes:
        calls: Evaluations so far, of a whole batch each.
        samples: Evaluations so far, times the samples in each.
    """

    def __init__(self, policy: FlowPolicy) -> None:
        super().__init__(policy)
        self.calls = 0
        self.samples = 0

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Pass through and count."""
        self.calls += 1
        self.samples += len(actions)
        return super().velocity(actions, flow_time, encoding)
