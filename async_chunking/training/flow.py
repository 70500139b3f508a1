# SPDX-License-Identifier: Apache-2.0
"""
Recipe `flow`: the base policy, by conditional flow matching (Lipman et al. 2023).

x_t = (1 - t) eps + t a with eps ~ N(0, 1) and t ~ U(0, 1), one t per sample; the network learns
the velocity a - eps. Its weights after a quarter of the updates are kept as `weak`, for BID.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from async_chunking.policies.checkpoint import save_policy
from async_chunking.policies.mixer import MixerArchitecture
from async_chunking.policies.network import NetworkPolicy
from async_chunking.policies.normalizer import STATE, measure
from async_chunking.training.recipe import Draws, Recipe, TrainConfig
from async_chunking.training.windows import Windows


@dataclass(frozen=True)
class FlowConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        horizon: Rows of a chunk [steps].
        num_steps: Solver steps that the policy is meant to be sampled with.
        actions: Learn joint positions, or their difference to the measured ones.
        normalization: Statistics that map to the network's units.
        width, token_width, channel_width, blocks: See `MixerArchitecture`.
        weak_at: Share of the updates after which the weak policy is saved.
    """

    horizon: int = 16
    num_steps: int = 5
    actions: Literal['absolute', 'relative'] = 'relative'
    normalization: Literal['mean_std', 'min_max'] = 'mean_std'
    width: int = 96
    token_width: int = 64
    channel_width: int = 192
    blocks: int = 3
    weak_at: float = 0.25

    def debug(self) -> FlowConfig:
        """Return a configuration that runs in seconds and learns nothing."""
        small = super().debug()
        return dataclasses.replace(
            small, width=16, token_width=8, channel_width=16, blocks=1, weak_at=0.5
        )


class Flow(Recipe):
    """Train a flow policy from nothing."""

    name = 'flow'
    config: FlowConfig

    def prepare(self) -> None:
        """Measure the data and build policy and network."""
        config, train = self.config, self.train
        frames = train.frames
        observation = train.observation(frames)
        sizes = tuple((name, v.shape[1]) for name, v in sorted(observation.items()))
        actions = train.chunk(frames, config.horizon)
        if config.actions == 'relative':
            actions = actions - observation[STATE][:, None]
        statistics = measure(observation, actions, config.normalization, config.actions)
        architecture = MixerArchitecture(
            config.horizon,
            actions.shape[2],
            sizes,
            config.width,
            config.token_width,
            config.channel_width,
            config.blocks,
        )
        self.network = architecture.build().to(self.device)
        self.policy = NetworkPolicy(architecture, self.network, statistics, config.num_steps)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise and flow times."""
        del progress  # Unused.
        shape = (count, self.policy.horizon, self.policy.action_dim)
        return {
            'frame': windows.pick(count, generator),
            'noise': torch.randn(shape, generator=generator),
            'flow_time': torch.rand(count, generator=generator),
        }

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the mean squared error of the velocity, per sample [b]."""
        actions, encoding = self.example(windows, draws['frame'])
        x, target = interpolate(draws['noise'], actions, draws['flow_time'])
        return (network(x, draws['flow_time'], encoding) - target).square().mean(dim=(1, 2))

    def example(self, windows: Windows, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Return the demonstrated chunk [b, H, D], normalised, and the encoding of its frame."""
        frame = frame.cpu()
        observation = {k: v.to(self.device) for k, v in windows.observation(frame).items()}
        actions = windows.chunk(frame, self.policy.horizon).to(self.device)
        return self.policy.normalize(actions, observation), self.policy.encode(observation)

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the policy with these weights."""
        network = self.policy.architecture.build()
        network.load_state_dict({k: v.cpu() for k, v in weights.items()})
        policy = NetworkPolicy(
            self.policy.architecture,
            network,
            self.policy.normalizer.statistics,
            self.policy.num_steps,
        )
        save_policy(path, policy, path.name, training=training, **self.inputs.facts)

    @property
    def milestones(self) -> dict[int, str]:
        """Update -> checkpoint; the weak policy is an early one."""
        weak = max(round(self.config.weak_at * self.config.steps), 1)
        return {weak: 'weak', self.config.steps: self.name}


def interpolate(noise: Tensor, actions: Tensor, flow_time: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the point on the way from noise to actions, and the velocity there.

    Args:
        noise: [B, H, D].
        actions: [B, H, D].
        flow_time: [B], or [B, H] for one per row.
    """
    t = flow_time.reshape(len(flow_time), -1, 1)
    return (1.0 - t) * noise + t * actions, actions - noise
