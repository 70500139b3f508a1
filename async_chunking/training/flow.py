# SPDX-License-Identifier: Apache-2.0
"""
Recipe `flow`: the base policy, by conditional flow matching (Lipman et al. 2023).

x_t = (1 - t) eps + t a with eps ~ N(0, 1) and t ~ U(0, 1), one t per sample; the network learns
the velocity a - eps. Its weights after a quarter of the updates are kept as `weak`, for BID.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.checkpoint.sidecar import Normalization
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.normalizer import STATE, measure
from async_chunking.policies.networks.transformer import TransformerArchitecture
from async_chunking.training.flow_recipe import FlowRecipe, check_positions, interpolate
from async_chunking.training.recipe import Draws, TrainConfig
from async_chunking.training.windows import Windows


class FlowConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        horizon: Rows of a chunk [steps].
        num_steps: Solver steps that the policy is meant to be sampled with.
        actions: Learn joint positions, or their difference to the measured ones.
        normalization: Statistics that map to the network's units.
        architecture: 'mixer', or 'transformer' for observations of many tokens.
        width, blocks: Channels of a token, and how many blocks; of either architecture.
        token_width, channel_width: See `MixerArchitecture`.
        weak_at: Share of the updates after which the weak policy is saved.
    """

    horizon: int = Field(default=16, ge=1)
    num_steps: int = Field(default=5, ge=1)
    actions: Literal['absolute', 'relative'] = 'relative'
    normalization: Literal['mean_std', 'min_max'] = 'mean_std'
    architecture: Literal['mixer', 'transformer'] = 'mixer'
    width: int = Field(default=96, ge=2, multiple_of=2)
    blocks: int = Field(default=3, ge=1)
    token_width: int = Field(default=64, ge=1)
    channel_width: int = Field(default=192, ge=1)
    weak_at: float = Field(default=0.25, gt=0.0, le=1.0)

    def debug(self) -> FlowConfig:
        """Return a configuration that runs in seconds and learns nothing."""
        return self.shrunk(width=16, token_width=8, channel_width=16, blocks=1, weak_at=0.5)


class Flow(FlowRecipe):
    """Train a flow policy from nothing."""

    name = 'flow'
    config: FlowConfig

    def prepare(self) -> None:
        """Measure the data and build policy and network."""
        c = self.config
        if c.actions == 'relative':
            check_positions(self.inputs.data, 'set actions=absolute, as they are no positions')
        sizes, statistics = statistics_of(self.train, c.horizon, c.actions, c.normalization)
        architecture = self._architecture(sizes)
        network = architecture.build().to(self.device)
        self.policy = NetworkPolicy(architecture, network, statistics, self.config.num_steps)
        self.network = network

    def _architecture(self, sizes: tuple[tuple[str, int], ...]) -> Any:
        c, action_dim = self.config, self.inputs.data.action_dim
        if c.architecture == 'transformer':
            return TransformerArchitecture(c.horizon, action_dim, sizes, c.width, c.blocks)
        return MixerArchitecture(
            c.horizon, action_dim, sizes, c.width, c.token_width, c.channel_width, c.blocks
        )

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise and flow times."""
        del progress  # Unused.
        return self.draw_flow(windows, count, generator)

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the mean squared error of the velocity, per sample [b]."""
        actions, encoding = self.example(windows, draws['frame'])
        x, target = interpolate(draws['noise'], actions, draws['flow_time'])
        return (network(x, draws['flow_time'], encoding) - target).square().mean(dim=(1, 2))

    @property
    def milestones(self) -> dict[int, str]:
        """Update -> checkpoint; the weak policy is an early one."""
        weak = max(round(self.config.weak_at * self.config.steps), 1)
        return {weak: 'weak', self.config.steps: self.name}


def statistics_of(
    windows: Windows,
    horizon: int,
    action_space: Literal['absolute', 'relative'],
    kind: Literal['mean_std', 'min_max'],
) -> tuple[tuple[tuple[str, int], ...], Normalization]:
    """Return names and sizes of what is observed, and the normalisation, of demonstrations."""
    observation = windows.observation(windows.frames)
    sizes = tuple((name, values.shape[1]) for name, values in sorted(observation.items()))
    actions = windows.chunk(windows.frames, horizon)
    if action_space == 'relative':
        actions = actions - observation[STATE][:, None]
    return sizes, measure(observation, actions, kind, action_space)
