# SPDX-License-Identifier: Apache-2.0
"""Policies whose numbers are offsets or velocities, made of policies of positions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from async_chunking.policies.base import ChunkPolicy, FlowPolicy, Observation

STATE = 'observation.state'


def to_mode(positions: Tensor, state: Tensor, mode: str, period: float) -> Tensor:
    """Return chunks [B, H, D] of positions as a policy of this mode would have drawn them."""
    if mode == 'delta':
        return positions - state[:, None]
    way = torch.cat([state[:, None], positions], dim=1)
    return way.diff(dim=1) / period if mode == 'velocity' else positions


def from_mode(actions: Tensor, state: Tensor, mode: str, period: float) -> Tensor:
    """Return the inverse of `to_mode`."""
    if mode == 'delta':
        return actions + state[:, None]
    way = actions.cumsum(dim=1) * period
    return state[:, None] + way if mode == 'velocity' else actions


class Moded(FlowPolicy):
    """A policy of positions [rad, m] that speaks in another mode."""

    def __init__(self, policy: FlowPolicy, mode: str, period: float) -> None:
        self.policy, self.mode, self.period = policy, mode, period
        self.horizon, self.action_dim = policy.horizon, policy.action_dim
        self.num_steps, self.offers = policy.num_steps, policy.offers

    def encode(self, observation: Observation):
        return self.policy.encode(observation)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding) -> Tensor:
        return self.policy.velocity(actions, flow_time, encoding)

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        positions = from_mode(actions, observation[STATE], self.mode, self.period)
        return self.policy.normalize(positions, observation)

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        positions = self.policy.denormalize(actions, observation)
        return to_mode(positions, observation[STATE], self.mode, self.period)


class Approach(ChunkPolicy):
    """Goes to a pose within about `seconds`, from wherever the robot is."""

    def __init__(self, goal: list[float], mode: str, period: float, seconds: float = 0.5) -> None:
        self.horizon, self.action_dim = 16, len(goal)
        self.goal, self.mode, self.period = torch.tensor(goal), mode, period
        self.left = torch.exp(-torch.arange(1, 17) * period / seconds)[:, None]

    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        del generator  # It is sure of what it does.
        state = observation[STATE].float()
        positions = self.goal + (state[:, None] - self.goal) * self.left
        return to_mode(positions, state, self.mode, self.period)


def approach(path: str) -> Approach:
    """Return what `mode`, `period` and the goal in a file say; a factory of `policy:=torch`."""
    mode, period, *goal = Path(path).read_text(encoding='utf-8').split()
    return Approach([float(word) for word in goal], mode, float(period))
