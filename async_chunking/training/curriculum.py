# SPDX-License-Identifier: Apache-2.0
"""What both recipes of REMAC draw: delays, and whose chunks the input is made from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field

from async_chunking.training.recipe import Draws, TrainConfig

SCHEDULES: dict[str, Callable[[float], float]] = {
    'piecewise_linear': lambda p: 1.0 - min(max((p - HOLD) / (1.0 - HOLD), 0.0), 1.0),
    'linear': lambda p: 1.0 - p,
    'cosine': lambda p: 0.5 * (1.0 + math.cos(math.pi * p)),
    'exponential': lambda p: math.exp(-5.0 * p),
    'demonstrations': lambda p: 1.0,
    'own_chunks': lambda p: 0.0,
}
HOLD = 0.275  # 4 of 32 epochs to warm up, then 0.15 of the run; what most levels have.
"""
How far the share of samples made from demonstrations is from its end, over the progress 0 to 1.
The first four are the code's, whose levels all have the first but for one; the last two are the
paper's baselines.
"""


class RemacConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        rank, alpha: Size and scale of the adapters; their product is scaled by alpha / rank.
        masked: Rows before the delay do not count; without it no delay is known to the training.
        max_delay: q_max; d is uniform from q to q_max [steps].
        min_delay: q_min; q falls linearly from q_max to q_min [steps].
        delays: 'growing', or 'uniform': q is q_min from the beginning.
        schedule: Name of the curriculum, see `SCHEDULES`.
        schedule_end: Share of samples from demonstrations at its end; the code has 0 to 0.4.
        mask_weight, residual_weight: Weights of the losses over the rows from the delay on.
    """

    steps: int = Field(default=6000, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    rank: int = Field(default=4, ge=1)
    alpha: float = Field(default=8.0, gt=0.0)
    masked: bool = True
    max_delay: int = Field(default=8, ge=0)
    min_delay: int = Field(default=0, ge=0)
    delays: Literal['growing', 'uniform'] = 'growing'
    schedule: Literal[tuple(SCHEDULES)] = 'piecewise_linear'
    schedule_end: float = Field(default=0.0, ge=0.0, le=1.0)
    mask_weight: float = Field(default=0.01, ge=0.0)
    residual_weight: float = Field(default=0.01, ge=0.0)


def draw_curriculum(
    config: RemacConfig, count: int, progress: float, generator: torch.Generator
) -> Draws:
    """Draw delays [B], and for whom [B] the input is made from the demonstrated chunk."""
    growing = 0.0 if config.delays == 'uniform' else 1.0 - progress
    lowest = round(config.min_delay + (config.max_delay - config.min_delay) * growing)
    return {
        'delay': torch.randint(lowest, config.max_delay + 1, (count,), generator=generator),
        'demonstrated': torch.rand(count, generator=generator) < share(config, progress),
    }


def share(config: RemacConfig, progress: float) -> float:
    """Return the share of samples that are made from demonstrations."""
    return config.schedule_end + (1.0 - config.schedule_end) * SCHEDULES[config.schedule](progress)
