# SPDX-License-Identifier: Apache-2.0
"""Chunks cut out of demonstrations: what was seen at a frame, and what was done from there on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from async_chunking.dataset.reading import Demonstrations

_TURN = 2.0 * math.pi


class Windows:
    """
    Every frame of some episodes as the start of a chunk.

    After an episode's end its last action stays.

    Args:
        data: Demonstrations.
        episodes: Which of them.

    Attributes:
        frames: [M] indices of the frames that may start a chunk.
    """

    def __init__(self, data: Demonstrations, episodes: np.ndarray) -> None:
        lengths = data.ends - data.starts
        self._observations = {n: torch.from_numpy(v) for n, v in data.observations.items()}
        self._actions = torch.from_numpy(data.actions)
        self._last = torch.from_numpy(np.repeat(data.ends - 1, lengths))
        self._endless = torch.tensor(data.continuous or [False] * data.action_dim)
        chosen = np.repeat(np.isin(np.arange(len(lengths)), episodes), lengths)
        self.frames = torch.from_numpy(np.flatnonzero(chosen))

    def __len__(self) -> int:
        return len(self.frames)

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` frames, with replacement."""
        return self.frames[torch.randint(len(self.frames), (count,), generator=generator)]

    def observation(self, frame: Tensor) -> dict[str, Any]:
        """Return what was seen at frames [B], name -> [B, dim]."""
        return {name: values[frame] for name, values in self._observations.items()}

    def later(self, frame: Tensor, steps: Tensor) -> Tensor:
        """Return the frames `steps` after `frame`, at most the last of their episodes."""
        return torch.minimum(frame + steps, self._last[frame])

    def before_end(self, frame: Tensor, horizon: int) -> Tensor:
        """Return which rows of the chunks from frames [B] on are of their episodes [B, H]."""
        return frame[:, None] + torch.arange(horizon) <= self._last[frame][:, None]

    def chunk(self, frame: Tensor, horizon: int) -> Tensor:
        """
        Return the actions [B, H, D] from frames [B] on.

        Joints that turn without end go on from the first row, as they do on a robot.
        """
        rows = self._actions[self.later(frame[:, None], torch.arange(horizon))]
        if not self._endless.any():
            return rows
        turns = torch.round(rows.diff(dim=1) / _TURN).cumsum(1) * _TURN
        return torch.cat((rows[:, :1], rows[:, 1:] - torch.where(self._endless, turns, 0.0)), 1)

    def near(self, rows: Tensor, state: Tensor) -> Tensor:
        """
        Return actions [B, H, D] moved by whole turns to where they begin nearest to a state.

        Args:
            rows: [B, H, D].
            state: [B, D]; of another size it is not of the joints, and nothing is moved.
        """
        if not self._endless.any() or state.shape != rows[:, 0].shape:
            return rows
        turns = torch.round((state.to(rows) - rows[:, 0]) / _TURN) * _TURN
        return rows + torch.where(self._endless.to(rows.device), turns, 0.0)[:, None]


def split(
    data: Demonstrations,
    share: float,
    seed: int,
    make: Callable[[Demonstrations, np.ndarray], Windows] = Windows,
) -> tuple[Windows, Windows]:
    """Divide episodes at random into those to learn from and those to check by."""
    order = np.random.default_rng(seed).permutation(len(data.ends))
    held_out = min(max(round(share * len(order)), 1), len(order) - 1) if share > 0.0 else 0
    return make(data, order[held_out:]), make(data, order[:held_out])
