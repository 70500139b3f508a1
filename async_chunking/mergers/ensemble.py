# SPDX-License-Identifier: Apache-2.0
"""
Temporal ensembling: average what all recent chunks predict for this tick.

Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware" (ACT, 2023):
weights w_i = exp(-m * i), i = 0 the oldest prediction, normalised over the predictions there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from async_chunking.chunk import Plan, actions_at
from async_chunking.mergers.base import Merger


@dataclass(frozen=True)
class Ensemble(Merger):
    """
    Weighted mean over the chunks that have a row for the tick.

    Under delay a chunk's first rows belong to the past when it arrives; only rows from now on can
    enter, which evaluating every plan at the current tick does by itself.

    Attributes:
        decay: m of the weights; smaller folds new predictions in faster (0.01 in ACT).
        max_chunks: Oldest chunks beyond this many are forgotten; 0 keeps all, as ACT does.
    """

    decay: float = 0.01
    max_chunks: int = 0

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        """Keep the chunks that still have a row, and add the new one."""
        alive = tuple(plan for plan in active if plan.end > new.takeover)
        return (*alive, new)[-self.max_chunks :]  # -0 is the beginning.

    def actions(self, active: tuple[Plan, ...], ticks: np.ndarray) -> np.ndarray:
        """Return the weighted means [n, D], NaN where no chunk has a row."""
        if len(active) == 1:
            return active[0].at(ticks)
        predictions = actions_at(active, ticks)
        there = ~np.isnan(predictions[:, :, 0])
        age = np.cumsum(there, axis=0) - 1  # 0 = the oldest prediction for that tick.
        weights = np.exp(-self.decay * age) * there
        total = weights.sum(axis=0)
        weights = weights / np.where(total > 0.0, total, np.nan)
        return np.einsum('pn,pnd->nd', weights, np.nan_to_num(predictions))
