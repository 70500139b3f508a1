# SPDX-License-Identifier: Apache-2.0
"""Chunks cut out of demonstrations with pictures and words, read from a LeRobotDataset v3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from async_chunking.dataset.reading import Demonstrations
from async_chunking.training.recipe import TrainingError
from async_chunking.training.windows import Windows

TASK = 'task'


class Pictures:
    """
    What a data set has beside numbers, decoded by LeRobot as it is asked for.

    Args:
        data: The same data set.
        wanted: Name -> (height, width, 3) of a picture, () of words.

    Raises:
        TrainingError: There is no lerobot here, or the data set lacks a picture, has it in another
            size, or has other frames.
    """

    def __init__(self, data: Demonstrations, wanted: Mapping[str, tuple[int, ...]]) -> None:
        try:
            from lerobot.datasets.lerobot_dataset import LeRobotDataset
        except ImportError as error:
            msg = f'pictures and words need lerobot ({error}): make setup-lerobot, then run '
            msg += '.venv-lerobot/bin/python -m async_chunking.cli train'
            raise TrainingError(msg) from error
        self._data = data
        self._wanted = {n: s for n, s in wanted.items() if len(s) == 3}
        self._set: Any = LeRobotDataset('local/data', root=data.source, revision='v3.0')
        features = self._set.meta.features
        for name, shape in self._wanted.items():
            there = {
                n: f['shape'] for n, f in features.items() if f['dtype'] in ('image', 'video')
            }
            if name not in there:
                msg = f"the policy sees '{name}', {data.source} has {', '.join(there) or 'none'}"
                raise TrainingError(msg)
            size = tuple(there[name])
            size = size if size[-1] == 3 else (*size[1:], size[0])
            if size != shape:
                msg = f"{data.source}: '{name}' is {list(size)}, the policy sees {list(shape)}"
                raise TrainingError(f'{msg}; scale the pictures of the data set')
        if len(self._set) != len(data.actions):
            msg = (
                f'{data.source} has {len(self._set)} frames for LeRobot, {len(data.actions)} here'
            )
            raise TrainingError(msg)

    def at(self, frame: Tensor) -> dict[str, Any]:
        """Return pictures [B, height, width, 3] and B words of frames [B]."""
        items = [self._set[int(index)] for index in frame]
        for index, item in zip(frame.tolist(), items, strict=True):
            if not np.allclose(item['action'], self._data.actions[index], atol=1e-6):
                msg = f'{self._data.source}: frame {index} is not in the order of its episodes'
                raise TrainingError(msg)
        batch: dict[str, Any] = {
            name: torch.stack([_bytes(item[name]) for item in items]) for name in self._wanted
        }
        return batch | {TASK: [str(item.get(TASK, '')) for item in items]}


class PictureWindows(Windows):
    """
    Windows whose frames are seen with pictures and words.

    Args:
        data: Demonstrations.
        episodes: Which of them.
        pictures: Cameras of the same data.
    """

    def __init__(self, data: Demonstrations, episodes: np.ndarray, pictures: Pictures) -> None:
        super().__init__(data, episodes)
        self._pictures = pictures

    def observation(self, frame: Tensor) -> dict[str, Any]:
        """Return what was seen at frames [B], pictures and words too."""
        return super().observation(frame) | self._pictures.at(frame)


def _bytes(picture: Tensor) -> Tensor:
    """Return a picture [3, height, width] of 0 to 1 as bytes [height, width, 3]."""
    return (picture * 255).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
