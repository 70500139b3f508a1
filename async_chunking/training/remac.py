# SPDX-License-Identifier: Apache-2.0
"""
Recipe `remac`: masked action chunking (arXiv 2601.20130), as its code has it.

Low-rank adapters on the frozen base learn from the rows after a random delay d alone. The noisy
input is made from demonstrations at first and ever more from the base's own chunks. Three losses:
over rows i >= d the error of the velocity and of the correction to the base's error, over the rows
before how far the velocity leaves the base's. The adapters are told d, see `gated_mixer`; without
`gated` they are not, and are merged into the base's weights.

Two things of the code (hatchetProject/REMAC) are left out: a dropout of a tenth in the adapters,
and that they begin at random. A run there sees 32 million samples.

Where things can be done in several ways, a chunk of the base's is often another way than the
demonstration that it is paired with, and the policy learns the middle of all ways. The variant
`remac_paired` of this package begins the base's chunks between noise and the demonstration, late
enough to go the same way.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.base import Encoding
from async_chunking.policies.checkpoint.sidecar import FeatureScale
from async_chunking.policies.networks.gated_mixer import (
    GatedMixer,
    GatedMixerArchitecture,
    base_weights,
)
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.source import COMMITTED
from async_chunking.training.curriculum import RemacConfig, draw_curriculum, share
from async_chunking.training.flow_recipe import (
    FlowRecipe,
    check_delay,
    draw_near,
    interpolate,
    load_base,
    postfix,
)
from async_chunking.training.recipe import Draws, TrainingError
from async_chunking.training.windows import Windows

_SMALL = 1e-3  # Of the Charbonnier error, as in the code.


class RemacFlowConfig(RemacConfig):
    """
    Configuration of the recipe for a flow.

    Attributes:
        gated: The adapters are told the delay, which needs a mixer.
        error: 'charbonnier' as the code has the first loss, or 'squared' as the paper prints it.
        prefix_weight: Weight of the loss over the rows before the delay, which is the code's.
        own_late: One random number is flow time and choice of input, as in the code: the base's
            own chunks make the input where the flow time is at least the share. Without it the
            choice is a number of its own.
        start: Flow time at which the base begins its own chunks, see `draw_near`.
    """

    gated: bool = True
    error: Literal['charbonnier', 'squared'] = 'charbonnier'
    prefix_weight: float = Field(default=0.01, ge=0.0)
    own_late: bool = True
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
        """Load the base, and make a copy with adapters."""
        config = self.config
        self.policy = load_base(self.inputs, self.device)
        if not config.gated:
            layers = [
                name
                for name, layer in self.policy.network.named_modules()
                if isinstance(layer, nn.Linear) and 'time' not in name and 'modulation' not in name
            ]
            self.network = with_adapters(self.policy.network, layers, config.rank, config.alpha)
            return
        if type(self.policy.architecture) is not MixerArchitecture:
            kind = type(self.policy.architecture).__name__
            msg = f'gated needs a mixer; {self.inputs.base} is a {kind}: set gated=false'
            raise TrainingError(msg)
        self.told = gated(self.policy, config.rank, config.alpha)
        self.network = self.told.network

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise, flow times, delays, and whose chunk makes the input."""
        draws = self.draw_flow(windows, count, generator)
        start = torch.randn(draws['noise'].shape, generator=generator)
        curriculum = draw_curriculum(self.config, count, progress, generator)
        if self.config.own_late:
            curriculum['demonstrated'] = draws['flow_time'] < share(self.config, progress)
        return {**draws, 'start': start, **curriculum}

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the weighted sum of the losses, per sample [b]."""
        actions, encoding = self.example(windows, draws['frame'])
        with torch.no_grad():
            given = self._given(actions, encoding, draws)
            x, _ = interpolate(draws['noise'], given, draws['flow_time'])
            base = self.policy.velocity(x, draws['flow_time'], encoding)
        target = actions - draws['noise']
        delay = draws['delay'] if self.config.masked else torch.zeros_like(draws['delay'])
        heeded = torch.cat([encoding, delay[:, None]], 1) if self.config.gated else encoding
        velocity = network(x, draws['flow_time'], heeded)
        rows = postfix(delay, actions.shape[1])
        mask = rows & self.counted(windows, draws['frame'])
        velocity, target, base = map(self.columns, (velocity, target, base))
        masked = mask_loss(velocity, target, mask, self.config.error)
        residual = residual_loss(velocity, target, base, mask)
        before = prefix_loss(velocity, base, rows)
        config = self.config
        return (
            config.mask_weight * masked
            + config.residual_weight * residual
            + config.prefix_weight * before
        )

    def _given(self, actions: Tensor, encoding: Encoding, draws: Draws) -> Tensor:
        """Return the demonstrated chunks, or those that the base draws itself (equation 4)."""
        if draws['demonstrated'].all():
            return actions
        own = draw_near(self.policy, encoding, draws['start'], actions, self.config.start)
        return torch.where(draws['demonstrated'][:, None, None], actions, own)

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the policy, with adapters that are not gated merged."""
        if self.config.gated:
            super().save(path, weights, training)
            return
        adapted = copy.deepcopy(self.network)
        adapted.load_state_dict(weights)
        super().save(path, merged(adapted), training)

    @property
    def learned(self) -> NetworkPolicy:
        """See `FlowRecipe.learned`."""
        return self.told if self.config.gated else self.policy

    @property
    def delay_range(self) -> tuple[int, int]:
        """Delays that the policy is trained for [steps]."""
        return (self.config.min_delay, self.config.max_delay)


class RemacPairedRecipe(RemacRecipe):
    """Adapt it with chunks that go the way of the demonstration; a variant of this package."""

    name = 'remac_paired'


def mask_loss(velocity: Tensor, target: Tensor, mask: Tensor, error: str = 'squared') -> Tensor:
    """
    Return the error over the rows that will be executed, per sample [B] (equation 3).

    Args:
        velocity: [B, H, D] of the network.
        target: [B, H, D].
        mask: [B, H], true on rows from the delay on.
        error: 'squared', or 'charbonnier': sqrt(e^2 + 1e-6), nearly the absolute error.
    """
    squared = (velocity - target).square()
    each = squared if error == 'squared' else (squared + _SMALL**2).sqrt()
    return (mask * each.sum(-1)).sum(1) / mask.sum(1).clamp(min=1)


def prefix_loss(velocity: Tensor, base: Tensor, mask: Tensor) -> Tensor:
    """Return how far the rows before the delay are from the base's, per sample [B]."""
    return (~mask[..., None] * (velocity - base).square()).mean(dim=(1, 2))


def residual_loss(velocity: Tensor, target: Tensor, base: Tensor, mask: Tensor) -> Tensor:
    """Return how far the correction is from the base's error, per sample [B] (equation 5)."""
    rows = mask[..., None]
    error = (rows * (target - base) - rows * (velocity - base)).square().sum(-1)
    return error.sum(1) / mask.sum(1).clamp(min=1)


def gated(policy: NetworkPolicy, rank: int, alpha: float) -> NetworkPolicy:
    """Return the policy with adapters that are told the delay; they alone are trained."""
    old = policy.architecture
    fields = {**vars(old), 'observation': (*old.observation, (COMMITTED, 1))}
    architecture = GatedMixerArchitecture(**fields, rank=rank, alpha=alpha)
    network = architecture.build()
    assert isinstance(network, GatedMixer)
    weights = base_weights(policy.network.state_dict(), network)
    network.load_state_dict({**network.state_dict(), **weights})
    network.requires_grad_(False)
    for parameter in network.adapters():
        parameter.requires_grad_(True)
    statistics = policy.normalizer.statistics
    features = {**statistics.features, COMMITTED: FeatureScale(offset=(0.0,), scale=(1.0,))}
    device = next(policy.network.parameters()).device
    statistics = statistics.model_copy(update={'features': features})
    return NetworkPolicy(architecture, network.to(device), statistics, policy.num_steps)


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
