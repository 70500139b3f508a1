# SPDX-License-Identifier: Apache-2.0
"""
Recipe `tt_rtc`: training-time real-time chunking (arXiv 2512.05964).

The base policy learns to continue a prefix: the first d rows are the demonstrated actions at flow
time 1, the others share the sample's flow time, and only they count in the loss. No new weights.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.training.flow_recipe import FlowRecipe, check_delay, interpolate, postfix
from async_chunking.training.recipe import Draws, TrainConfig
from async_chunking.training.windows import Windows


class TtRtcConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        max_delay: Largest delay to learn [steps], inclusive.
        delays: 'uniform' from 0 to `max_delay`, as on the paper's robot; or 'exponential', smaller
            ones more often, p(d) ~ exp(-d), as in its simulation.
    """

    steps: int = Field(default=1500, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0.0)
    max_delay: int = Field(default=8, ge=0)
    delays: Literal['uniform', 'exponential'] = 'uniform'


class TtRtcRecipe(FlowRecipe):
    """Fine-tune a flow policy behind clean prefixes."""

    name = 'tt_rtc'
    config: TtRtcConfig

    def prepare(self) -> None:
        """Load the base."""
        self.start_from_base()
        check_delay('max_delay', self.config.max_delay, self.policy.horizon)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, noise, flow times and delays."""
        del progress  # Unused.
        draws = self.draw_flow(windows, count, generator)
        delay = draw_delays(self.config, count, generator)
        # The mean length of the postfix over the whole batch: a process sees only its share of it.
        mask = postfix(delay, self.policy.horizon) & self.counted(windows, draws['frame'])
        rows = mask.sum(1).float().mean().clamp(min=1.0).expand(count)
        return {**draws, 'delay': delay, 'rows': rows}

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return each sample's share [b] of the loss on the postfix."""
        actions, encoding = self.example(windows, draws['frame'])
        mask = postfix(draws['delay'], actions.shape[1])
        flow_time = torch.where(mask, draws['flow_time'][:, None], 1.0)
        mask = mask & self.counted(windows, draws['frame'])
        x, target = interpolate(draws['noise'], actions, flow_time)
        error = self.columns(network(x, flow_time, encoding) - target)
        return postfix_loss(error, mask, draws['rows'])

    @property
    def delay_range(self) -> tuple[int, int]:
        """Delays that the policy is trained for [steps]."""
        return (0, self.config.max_delay)


def draw_delays(config: TtRtcConfig, count: int, generator: torch.Generator) -> Tensor:
    """Draw delays [B] from 0 to the largest."""
    largest = config.max_delay
    if config.delays == 'uniform':
        return torch.randint(largest + 1, (count,), generator=generator)
    weights = torch.exp(-torch.arange(largest + 1.0))
    return torch.multinomial(weights, count, replacement=True, generator=generator)


def postfix_loss(error: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """
    Return the shares [B] whose mean is the sum of squared errors on the postfix over its rows.

    The denominator counts rows, not rows times dimensions, as in the authors' simulation code.

    Args:
        error: [B, H, D] of the velocity.
        mask: [B, H], true on the postfix.
        rows: [B] mean length of the postfix over the batch.
    """
    return (error.square().sum(-1) * mask).sum(1) / rows
