# SPDX-License-Identifier: Apache-2.0
"""
Recipe `remac`: masked action chunking (arXiv 2601.20130).

Low-rank adapters on the frozen base learn from the rows after a random delay d alone. The noisy
input is made from demonstrations at first and ever more from the base's own chunks. Two losses,
both over rows i >= d: to the true velocity, and of the correction to the base's error (as printed
the two are equal in value; both are kept, with the paper's weights). The adapters are merged for
inference.

Where things can be done in several ways, a chunk of the base's is often another way than the
demonstration that it is paired with, and the policy learns the middle of all ways. The variant
`remac_paired` of this package begins the base's chunks between noise and the demonstration, late
enough to go the same way.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.base import Encoding
from async_chunking.training.flow_recipe import (
    FlowRecipe,
    check_delay,
    draw_near,
    interpolate,
    load_base,
    postfix,
)
from async_chunking.training.recipe import Draws, TrainConfig, TrainingError
from async_chunking.training.windows import Windows

SCHEDULES: dict[str, Callable[[float], float]] = {
    'piecewise_linear': lambda p: min(max(1.25 - 1.5 * p, 0.0), 1.0),
    'linear': lambda p: 1.0 - p,
    'cosine': lambda p: 0.5 * (1.0 + math.cos(math.pi * p)),
    'exponential': lambda p: math.exp(-5.0 * p),
    'sigmoid': lambda p: 1.0 / (1.0 + math.exp(12.0 * (p - 0.5))),
    'step': lambda p: float(p < 0.5),
    'demonstrations': lambda p: 1.0,
    'own_chunks': lambda p: 0.0,
}
"""
Share of samples made from demonstrations, over the progress 0 to 1. The paper's default is
piecewise linear, its baselines are the two constants; the text names no others and gives no
numbers, so the curves are ours.
"""


class RemacConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        rank, alpha: Size and scale of the adapters; their product is scaled by alpha / rank.
        max_delay: q_max; d is uniform from q to q_max [steps].
        min_delay: q_min; q falls linearly from q_max to q_min [steps].
        schedule: Name of the curriculum, see `SCHEDULES`.
        mask_weight, residual_weight: Weights of the two losses.
    """

    steps: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    rank: int = Field(default=4, ge=1)
    alpha: float = Field(default=8.0, gt=0.0)
    max_delay: int = Field(default=8, ge=0)
    min_delay: int = Field(default=0, ge=0)
    schedule: Literal[tuple(SCHEDULES)] = 'piecewise_linear'
    mask_weight: float = Field(default=0.01, ge=0.0)
    residual_weight: float = Field(default=0.01, ge=0.0)


class RemacFlowConfig(RemacConfig):
    """
    Configuration of the recipe for a flow.

    Attributes:
        start: Flow time at which the base begins its own chunks, see `draw_near`.
    """

    start: float = Field(default=0.0, ge=0.0, lt=1.0)


class RemacPairedConfig(RemacFlowConfig):
    """Configuration of the recipe `remac_paired`."""

    start: float = Field(default=0.5, ge=0.0, lt=1.0)


class RemacRecipe(FlowRecipe):
    """Adapt a flow policy to rows that it will not execute."""

    name = 'remac'
    config: RemacFlowConfig

    def prepare(self) -> None:
        """Load the base, and begin as it."""
        self.start_beside_base()
        check_delay('max_delay', self.config.max_delay, self.policy.horizon)
        check_delay('min_delay', self.config.min_delay, self.config.max_delay + 1)

    def start_beside_base(self) -> None:
        """Load the base twice: one stays as it is, one gets adapters."""
        config = self.config
        self.policy = load_base(self.inputs, self.device)
        layers = [
            name
            for name, layer in self.policy.network.named_modules()
            if isinstance(layer, nn.Linear) and 'time' not in name and 'modulation' not in name
        ]
        self.network = with_adapters(self.policy.network, layers, config.rank, config.alpha)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise, flow times, delays, and whose chunk makes the input."""
        draws = self.draw_flow(windows, count, generator)
        start = torch.randn(draws['noise'].shape, generator=generator)
        curriculum = draw_curriculum(self.config, count, progress, generator)
        return {**draws, 'start': start, **curriculum}

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the weighted sum of both losses, per sample [b]."""
        actions, encoding = self.example(windows, draws['frame'])
        with torch.no_grad():
            given = self._given(actions, encoding, draws)
            x, _ = interpolate(draws['noise'], given, draws['flow_time'])
            base = self.policy.velocity(x, draws['flow_time'], encoding)
        target = actions - draws['noise']
        velocity = network(x, draws['flow_time'], encoding)
        mask = postfix(draws['delay'], actions.shape[1]) & self.counted(windows, draws['frame'])
        velocity, target, base = map(self.columns, (velocity, target, base))
        masked = mask_loss(velocity, target, mask)
        residual = residual_loss(velocity, target, base, mask)
        return self.config.mask_weight * masked + self.config.residual_weight * residual

    def _given(self, actions: Tensor, encoding: Encoding, draws: Draws) -> Tensor:
        """Return the demonstrated chunks, or those that the base draws itself (equation 4)."""
        if draws['demonstrated'].all():
            return actions
        own = draw_near(self.policy, encoding, draws['start'], actions, self.config.start)
        return torch.where(draws['demonstrated'][:, None, None], actions, own)

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the policy with the adapters merged."""
        adapted = copy.deepcopy(self.network)
        adapted.load_state_dict(weights)
        super().save(path, merged(adapted), training)

    @property
    def delay_range(self) -> tuple[int, int]:
        """Delays that the policy is trained for [steps]."""
        return (self.config.min_delay, self.config.max_delay)


class RemacPairedRecipe(RemacRecipe):
    """Adapt it with chunks that go the way of the demonstration; a variant of this package."""

    name = 'remac_paired'


def draw_curriculum(
    config: RemacConfig, count: int, progress: float, generator: torch.Generator
) -> Draws:
    """Draw delays [B], and for whom [B] the input is made from the demonstrated chunk."""
    lowest = round(config.max_delay + (config.min_delay - config.max_delay) * progress)
    share = SCHEDULES[config.schedule](progress)
    return {
        'delay': torch.randint(lowest, config.max_delay + 1, (count,), generator=generator),
        'demonstrated': torch.rand(count, generator=generator) < share,
    }


def mask_loss(velocity: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return the squared error over the rows that will be executed, per sample [B] (equation 3).

    Args:
        velocity: [B, H, D] of the network.
        target: [B, H, D].
        mask: [B, H], true on rows from the delay on.
    """
    error = (velocity - target).square().sum(-1)
    return (mask * error).sum(1) / mask.sum(1).clamp(min=1)


def residual_loss(velocity: Tensor, target: Tensor, base: Tensor, mask: Tensor) -> Tensor:
    """Return how far the correction is from the base's error, per sample [B] (equation 5)."""
    rows = mask[..., None]
    error = (rows * (target - base) - rows * (velocity - base)).square().sum(-1)
    return error.sum(1) / mask.sum(1).clamp(min=1)


def with_adapters(network: nn.Module, layers: list[str], rank: int, alpha: float) -> nn.Module:
    """
    Return a copy with low-rank adapters on some layers, the only weights that are trained.

    Raises:
        TrainingError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        msg = "the recipe remac needs peft: pip install '.[train]' in the checkout"
        raise TrainingError(msg) from error
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]: a fraction is meant.
        target_modules=layers,
    )
    return inject_adapter_in_model(config, copy.deepcopy(network))


def merged(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of the network with its adapters added to the layers they are on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in network.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
    return {
        name.replace('.base_layer', ''): value
        for name, value in network.state_dict().items()
        if '.lora_' not in name
    }
