# SPDX-License-Identifier: Apache-2.0
"""
Recipe `a2c2`: a head that corrects each action as it is executed (arXiv 2509.23224).

The frozen base draws a chunk from what was seen at a frame; for each of its rows the head sees
what was seen when that row was due, the row, and its place in the chunk, and learns the difference
to the demonstrated action. Every row of a chunk is used, instead of one drawn at random.

Where things can be done in several ways, a chunk drawn at random often does them in another way
than the demonstration. The head then learns to leave the plan for the middle of all ways, the more
so where measured joint positions tell what the demonstrator is about to command. The variant
`a2c2_paired` of this package begins the base's chunks between noise and the demonstration, late
enough to go the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.checkpoint.sidecar import Sidecar
from async_chunking.policies.checkpoint.weights import save_weights
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.normalizer import ACTION, STATE
from async_chunking.training.flow_recipe import base_identity, draw_near, load_base
from async_chunking.training.recipe import Draws, Recipe, TrainConfig
from async_chunking.training.windows import Windows


class A2C2Config(TrainConfig):
    """
    Configuration of the recipe; `batch_size` counts chunks, each of which has `horizon` rows.

    Attributes:
        hidden: Units of the two hidden layers.
        joints: The head sees the measured joints as they are, as in the paper. Where they tell
            what a demonstrator commands next, it copies him and heeds the plan little.
        bound: Largest correction in units of the action's scale, by tanh; 0 for none, as in the
            paper.
        start: Flow time at which the base begins its chunks, see `draw_near`.
    """

    steps: int = Field(default=6000, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0.0)
    weight_decay: float = Field(default=1e-3, ge=0.0)
    hidden: tuple[int, int] = (256, 512)
    joints: bool = True
    bound: float = Field(default=0.0, ge=0.0)
    start: float = Field(default=0.0, ge=0.0, lt=1.0)

    def debug(self) -> A2C2Config:
        """Return a configuration that runs in seconds and learns nothing."""
        return self.shrunk(hidden=(8, 8))


class A2C2PairedConfig(A2C2Config):
    """Configuration of the recipe `a2c2_paired`."""

    start: float = Field(default=0.5, ge=0.0, lt=1.0)


class A2C2Recipe(Recipe):
    """Train a residual head for a frozen flow policy."""

    name = 'a2c2'
    config: A2C2Config
    policy: NetworkPolicy

    def prepare(self) -> None:
        """Load the base and build the head, which begins as no correction."""
        self.policy = load_base(self.inputs, self.device)
        sizes = [size for _, size in self.observation]
        first, second = self.config.hidden
        last = nn.Linear(second, self.policy.action_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(sum(sizes) + self.policy.action_dim + 2, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            last,
            *([WithinBound(self.config.bound)] if self.config.bound else []),
        ).to(self.device)

    @property
    def observation(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes of the features that the head reads, in order."""
        read = self.policy.architecture.observation
        return tuple((n, size) for n, size in read if self.config.joints or n != STATE)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames and the noise of the base's chunks."""
        del progress  # Unused.
        shape = (count, self.policy.horizon, self.policy.action_dim)
        frame = windows.pick(count, generator)
        return {'frame': frame, 'noise': torch.randn(shape, generator=generator)}

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the mean squared error of the correction, per chunk [b]."""
        planned, wanted, later = self.rows(windows, draws)
        names = tuple(name for name, _ in self.observation)
        told = windows.near(planned.flatten(0, 1)[:, None], later[STATE].flatten(0, 1))
        inputs = head_inputs(self.policy, told.view_as(planned), later, names)
        scale = self.policy.normalizer.scale(ACTION)
        error = network(inputs) - (wanted - planned) / scale
        return error.square().mean(dim=(1, 2))

    def rows(self, windows: Windows, draws: Draws) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return planned and demonstrated chunks [b, H, D], and what was seen at each row."""
        frame, horizon = draws['frame'].cpu(), self.policy.horizon
        seen = {k: v.to(self.device) for k, v in windows.observation(frame).items()}
        wanted = windows.chunk(frame, horizon).to(self.device)
        policy = self.policy
        with torch.no_grad():
            target, encoding = policy.normalize(wanted, seen), policy.encode(seen)
            chunks = draw_near(policy, encoding, draws['noise'], target, self.config.start)
            planned = policy.denormalize(chunks, seen)
        due = windows.later(frame[:, None], torch.arange(horizon))
        later = {k: v.to(self.device) for k, v in windows.observation(due).items()}
        return planned, wanted, later

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the head."""
        architecture = {
            'name': 'a2c2',
            'horizon': self.policy.horizon,
            'action_dim': self.policy.action_dim,
            'observation': self.observation,
            'hidden': self.config.hidden,
            'bound': self.config.bound,
        }
        sidecar = Sidecar(
            recipe=self.name,
            architecture=architecture,
            normalization=self.policy.normalizer.statistics,
            num_steps=self.policy.num_steps,
            delay_range=(0, self.policy.horizon - 1),
            training=training,
            **self.inputs.facts,
        )
        save_weights(path, sidecar, weights)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same to resume; the base too."""
        return {**super().identity, 'base': base_identity(self.inputs)}


class A2C2PairedRecipe(A2C2Recipe):
    """Train the head on chunks that go the way of the demonstration; a variant of this package."""

    name = 'a2c2_paired'


class WithinBound(nn.Module):
    """
    Corrections that stay within a bound.

    Args:
        bound: Bound, in units of the action's scale.
    """

    def __init__(self, bound: float) -> None:
        super().__init__()
        self._bound = bound

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is small, and at most the bound."""
        return self._bound * torch.tanh(x / self._bound)


def head_inputs(
    policy: NetworkPolicy, planned: Tensor, later: dict[str, Tensor], names: tuple[str, ...]
) -> Tensor:
    """
    Return the head's input [B, H, O + D + 2]; the corrector computes the same, a row at a time.

    Args:
        policy: Normalises.
        planned: [B, H, D] chunks [rad, m]; row i is executed while `later[..., i, :]` is seen.
        later: Name -> [B, H, dim].
        names: Features that the head reads, in order.
    """
    batch, horizon = planned.shape[:2]
    flat = {name: values.flatten(0, 1) for name, values in later.items()}
    seen = torch.cat([policy.normalizer.feature(name, flat[name]) for name in names], -1)
    action = policy.normalize(planned.flatten(0, 1)[:, None], flat)[:, 0]
    angle = 2.0 * math.pi * torch.arange(horizon, device=planned.device) / horizon
    place = torch.stack([angle.sin(), angle.cos()], dim=-1).expand(batch, -1, -1)
    return torch.cat([torch.cat([seen, action], -1).unflatten(0, (batch, horizon)), place], -1)
