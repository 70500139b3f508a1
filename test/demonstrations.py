# SPDX-License-Identifier: Apache-2.0
"""A small set of demonstrations on disk: two joints draw sines whose phase is observed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def columns(episodes: int = 4, frames: int = 30) -> dict[str, list]:
    """Return the columns of a data set as lists of rows."""
    table: dict[str, list] = {
        'observation.state': [],
        'observation.environment_state': [],
        'action': [],
        'episode_index': [],
        'frame_index': [],
        'timestamp': [],
    }
    for episode in range(episodes):
        for frame in range(frames):
            phase = 0.2 * frame + episode
            table['observation.state'].append([np.sin(phase), np.cos(phase)])
            table['observation.environment_state'].append([phase, 1.0, float(episode)])
            table['action'].append([np.sin(phase + 0.2), np.cos(phase + 0.2)])
            table['episode_index'].append(episode)
            table['frame_index'].append(frame)
            table['timestamp'].append(frame / 50.0)
    return table


def write(path: Path, change: Callable[[dict], None] | None = None, **size: int) -> Path:
    """Write a data set, after `change` had its way with the columns."""
    table = columns(**size)
    if change is not None:
        change(table)
    vectors = ('observation.state', 'observation.environment_state', 'action')
    arrays = {
        name: pa.array(values, pa.list_(pa.float32())) if name in vectors else pa.array(values)
        for name, values in table.items()
    }
    (path / 'data/chunk-000').mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays), path / 'data/chunk-000/file-000.parquet')
    info = {
        'codebase_version': 'v3.0',
        'fps': 50,
        'robot_type': 'toy',
        'features': {'action': {'dtype': 'float32', 'shape': [2], 'names': ['left', 'right']}},
    }
    (path / 'meta').mkdir(exist_ok=True)
    (path / 'meta/info.json').write_text(json.dumps(info))
    return path
