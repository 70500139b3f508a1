# SPDX-License-Identifier: Apache-2.0
"""What an expert saw and did, as a flow policy learns it: observations and chunks after them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from async_chunking.errors import AsyncChunkingError

SHIPPED = Path(__file__).parent / 'checkpoints'
HORIZON = 8  # Rows of a chunk in the benchmark.


class MissingStageError(AsyncChunkingError):
    """A stage lacks what an earlier one writes."""


def data_path(folder: Path, level: str) -> Path:
    """Return the file of a level's data."""
    return folder / f'{level}.data.safetensors'


def policy_path(folder: Path, level: str, horizon: int) -> Path:
    """Return the files of a level's flow policy, without their suffix; H = 8 is the usual."""
    return folder / level / ('flow' if horizon == HORIZON else f'flow{horizon}')


def read_data(folder: Path, level: str) -> dict[str, np.ndarray]:
    """
    Return a level's data.

    Raises:
        MissingStageError: There is none.
    """
    path = data_path(folder, level)
    if not path.exists():
        msg = f"no data {path}: run the stage 'collect' for '{level}' first"
        raise MissingStageError(msg)
    return load_file(path)


def chunks(data: dict[str, np.ndarray], horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Return observations [N, O] and the chunks [N, H, 6] that begin with them.

    After the end of an episode a chunk goes on with zeros, as the benchmark has it.
    """
    starts = len(data['done']) - horizon + 1
    over = np.zeros_like(data['done'][:starts])
    rows = []
    for row in range(horizon):
        rows.append(np.where(over[..., None], 0.0, data['action'][row : row + starts]))
        over = over | data['done'][row : row + starts]
    actions = np.stack(rows, axis=2).astype(np.float32)
    seen = data['observation'][:starts]
    return seen.reshape(-1, seen.shape[-1]), actions.reshape(-1, *actions.shape[2:])
