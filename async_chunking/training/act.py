# SPDX-License-Identifier: Apache-2.0
"""
Recipe `act`: a transformer base without flow, as a conditional autoencoder (Zhao et al. 2023).

Loss: mean absolute error of the chunk, plus `kl_weight` times the divergence of how the chunk was
done from a standard normal.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.networks.act import ActArchitecture, ActPolicy
from async_chunking.training.flow import statistics_of
from async_chunking.training.flow_recipe import FlowRecipe, check_positions
from async_chunking.training.recipe import Draws, TrainConfig
from async_chunking.training.windows import Windows


class ActConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        horizon: Rows of a chunk [steps].
        actions: Learn joint positions, or their difference to the measured ones.
        normalization: Statistics that map to the network's units.
        width: See `ActArchitecture`.
        latent: See `ActArchitecture`.
        kl_weight: Weight of the divergence.
        mask_end: Rows past an episode's end add nothing, as in the paper's code. Without it they
            learn to hold the last action, which a robot that is late there needs.
    """

    learning_rate: float = Field(default=3e-4, gt=0.0)
    horizon: int = Field(default=16, ge=1)
    actions: Literal['absolute', 'relative'] = 'relative'
    normalization: Literal['mean_std', 'min_max'] = 'mean_std'
    width: int = Field(default=96, ge=4, multiple_of=4)
    latent: int = Field(default=8, ge=1)
    kl_weight: float = Field(default=10.0, ge=0.0)
    mask_end: bool = False

    def debug(self) -> ActConfig:
        """Return a configuration that runs in seconds and learns nothing."""
        return self.shrunk(width=16, latent=2)


class ActRecipe(FlowRecipe):
    """Train an ACT-style policy from nothing."""

    name = 'act'
    config: ActConfig

    def prepare(self) -> None:
        """Measure the data and build policy and network."""
        c = self.config
        if c.actions == 'relative':
            check_positions(self.inputs.data, 'set actions=absolute, as they are no positions')
        sizes, statistics = statistics_of(self.train, c.horizon, c.actions, c.normalization)
        architecture = ActArchitecture(
            c.horizon, self.inputs.data.action_dim, sizes, width=c.width, latent=c.latent
        )
        self.network = architecture.build().to(self.device)
        self.policy = ActPolicy(architecture, self.network, statistics, num_steps=1)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames and the noise of the latent numbers."""
        del progress  # Unused.
        noise = torch.randn(count, self.config.latent, generator=generator)
        return {'frame': windows.pick(count, generator), 'noise': noise}

    def counted(self, windows: Windows, frame: Tensor) -> Tensor:
        """Return which rows count [b, H]: those before the end of their episodes."""
        return self.counted_before_end(windows, frame, self.config.mask_end)

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return absolute error and divergence, per sample [b]."""
        actions, seen = self.example(windows, draws['frame'])
        chunk, mean, log_variance = network(seen, actions, draws['noise'])
        rows = self.counted(windows, draws['frame'])[..., None]
        error = (rows * (chunk - actions).abs()).mean(dim=(1, 2))
        return error + self.config.kl_weight * divergence(mean, log_variance)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence [B] of normal distributions [B, Z] from N(0, 1)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)
