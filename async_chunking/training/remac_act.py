# SPDX-License-Identifier: Apache-2.0
"""
Recipe `remac_act`: masked action chunking on an ACT-style base (arXiv 2601.20130, appendix E.5).

As `remac`, with adapters on the decoder and the head, and absolute instead of squared errors. The
mixture of demonstrated and own chunks is what the encoder of chunks looks at. That encoder stays
as it is, so its divergence is a constant and left out. Saved as `act`: in a folder of its own, it
is the base there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from async_chunking.policies.networks.act import ActPolicy
from async_chunking.training.curriculum import RemacConfig, draw_curriculum
from async_chunking.training.flow_recipe import FlowRecipe, check_delay, load_base, postfix
from async_chunking.training.recipe import Draws, TrainingError
from async_chunking.training.remac import merged, with_adapters
from async_chunking.training.windows import Windows


class RemacActRecipe(FlowRecipe):
    """Adapt an ACT-style policy to rows that it will not execute."""

    name = 'remac_act'
    config: RemacConfig
    policy: ActPolicy

    def prepare(self) -> None:
        """Load the base twice: one stays as it is, one gets adapters."""
        config = self.config
        policy = load_base(self.inputs, self.device)
        if not isinstance(policy, ActPolicy):
            msg = f'{self.inputs.base} is no ACT-style policy; train one with the recipe act'
            raise TrainingError(msg)
        self.policy = policy
        check_delay('max_delay', config.max_delay, self.policy.horizon)
        check_delay('min_delay', config.min_delay, config.max_delay + 1)
        layers = [
            name
            for name, layer in self.policy.network.named_modules()
            if name == 'head' or (name.startswith('decoder.') and type(layer) is nn.Linear)
        ]
        self.network = with_adapters(self.policy.network, layers, config.rank, config.alpha)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise of the latent numbers, delays, and whose chunk the encoder sees."""
        return {
            'frame': windows.pick(count, generator),
            'noise': torch.randn(count, self.policy.network.latent, generator=generator),
            **draw_curriculum(self.config, count, progress, generator),
        }

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the weighted sum of both losses, per sample [b]."""
        actions, seen = self.example(windows, draws['frame'])
        with torch.no_grad():
            frozen = self.policy.network
            own = frozen.decode(seen, seen.new_zeros(len(seen), frozen.latent))
            given = torch.where(draws['demonstrated'][:, None, None], actions, own)
            base, _, _ = frozen(seen, given, draws['noise'])
        chunk, _, _ = network(seen, given, draws['noise'])
        mask = postfix(draws['delay'], actions.shape[1])
        masked = absolute_loss(chunk - actions, mask)
        residual = absolute_loss((actions - base) - (chunk - base), mask)
        return self.config.mask_weight * masked + self.config.residual_weight * residual

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the policy with the adapters merged."""
        adapted = copy.deepcopy(self.network)
        adapted.load_state_dict(weights)
        super().save(path, merged(adapted), training)

    @property
    def milestones(self) -> dict[int, str]:
        """The policy is the base of its folder."""
        return {self.config.steps: 'act'}

    @property
    def delay_range(self) -> tuple[int, int]:
        """Delays that the policy is trained for [steps]."""
        return (self.config.min_delay, self.config.max_delay)


def absolute_loss(error: Tensor, mask: Tensor) -> Tensor:
    """Return the absolute error [B, H, D] over the masked rows [B, H], per sample [B]."""
    return (mask * error.abs().sum(-1)).sum(1) / mask.sum(1).clamp(min=1)
