# SPDX-License-Identifier: Apache-2.0
"""Policies that run time the other way: noise at 1, actions at 0, as openpi and LeRobot do."""

from __future__ import annotations

from torch import Tensor, nn

from async_chunking.policies.base import Encoding, FlowPolicy, Observation


class Reversed(FlowPolicy):
    """
    The same flow in the package's direction: flow time is 1 - t, the velocity changes sign.

    A foreign model is written as a `FlowPolicy` with its own time t, 1 at noise and 0 at actions
    (x_t = t noise + (1 - t) actions, velocity noise - actions), and wrapped in this.

    Attributes:
        policy: The policy whose time runs from 1 to 0.
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
        """Return the velocity from noise to actions."""
        return -self.policy.velocity(actions, 1 - flow_time, encoding)

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
