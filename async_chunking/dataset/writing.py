# SPDX-License-Identifier: Apache-2.0
"""
Write demonstrations in the parquet form of LeRobotDataset v3.

::

    DIR/meta/info.json                              features, fps, robot_type, totals
    DIR/meta/stats.json                             of each feature: range, mean, quantiles
    DIR/meta/tasks.parquet                          task (what the robot is told), task_index
    DIR/meta/episodes/chunk-000/file-000.parquet    length and frames of each episode, and `extra`
    DIR/data/chunk-000/file-000.parquet             one row per frame
    DIR/videos/NAME/chunk-000/file-000.mp4          the pictures of a camera, one per frame
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.dataset.footage import Footage
from async_chunking.dataset.videos import (
    QUANTILES,
    VIDEO,
    video_columns,
    video_feature,
    video_path,
    write_video,
)
from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import write_json

DATA = 'data/chunk-000/file-000.parquet'
CONTINUOUS = 'continuous'  # Key of the action in info.json, which LeRobot leaves alone.
EPISODES = 'meta/episodes/chunk-000/file-000.parquet'


class DatasetError(AsyncChunkingError):
    """A data set cannot be made as asked."""


@dataclass(frozen=True)
class Description:
    """
    What all episodes have in common.

    Attributes:
        robot: Name of the embodiment.
        fps: Frames per second.
        instruction: What a language-conditioned policy would be told.
        features: Name -> what each of its numbers is; 'action' and all that is observed.
        continuous: Those of 'action' that are angles of joints that turn without end.
        cameras: Name -> height and width of its pictures [pixels].
    """

    robot: str
    fps: float
    instruction: str
    features: Mapping[str, tuple[str, ...]]
    continuous: tuple[str, ...] = ()
    cameras: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Demonstration:
    """
    One episode.

    Attributes:
        features: Name -> [T, dim], those of the description.
        extra: Further facts, a column each in the table of episodes.
        pictures: Name of a camera -> what it showed at each frame, those of the description.
        tasks: [T] what a policy would be told at each frame; () for the instruction.
    """

    features: Mapping[str, np.ndarray]
    extra: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, Footage] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()


def require_empty(out: Path) -> None:
    """
    Refuse to write where something is.

    Raises:
        DatasetError: `out` is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f'{out} is not empty; name a new folder or remove it first'
        raise DatasetError(msg)


def write(out: Path, description: Description, episodes: Sequence[Demonstration]) -> None:
    """Write episodes as a data set."""
    lengths = np.array([len(e.features['action']) for e in episodes])
    columns = {
        name: np.concatenate([e.features[name] for e in episodes]).astype(np.float32)
        for name in description.features
    }
    frame = np.concatenate([np.arange(n) for n in lengths])
    told = [e.tasks or (description.instruction,) * len(e.features['action']) for e in episodes]
    every = dict.fromkeys(text for texts in told for text in texts)
    tasks = {text: number for number, text in enumerate(every)}
    counters = {
        'timestamp': (frame / description.fps).astype(np.float32),
        'frame_index': frame,
        'episode_index': np.repeat(np.arange(len(episodes)), lengths),
        'index': np.arange(lengths.sum()),
        'task_index': np.array([tasks[text] for texts in told for text in texts]),
    }
    vectors = {name: _vectors(values) for name, values in columns.items()}
    _write_table(out / DATA, {**vectors, **counters})
    shown = {name: [e.pictures[name] for e in episodes] for name in description.cameras}
    seen = {
        name: write_video(out / video_path(name), footage, description.fps)
        for name, footage in shown.items()
    }
    listed = _episode_columns(episodes, lengths, [[*dict.fromkeys(texts)] for texts in told])
    spans = (lengths.cumsum() - lengths) / description.fps, lengths.cumsum() / description.fps
    _write_table(out / EPISODES, listed | video_columns(description.cameras, *spans))
    _write_tasks(out / 'meta/tasks.parquet', [*tasks])
    stats = {name: _statistics(values) for name, values in (columns | counters).items()}
    write_json(stats | seen, out / 'meta/stats.json')
    # Last: what reads the data looks for it first.
    info = _info(description, len(episodes), int(lengths.sum()), len(tasks))
    write_json(info, out / 'meta/info.json')


def _info(description: Description, episodes: int, frames: int, tasks: int) -> dict:
    fps = description.fps
    endless = {CONTINUOUS: list(description.continuous)} if description.continuous else {}
    scalars = {'timestamp': 'float32'} | dict.fromkeys(
        ('frame_index', 'episode_index', 'index', 'task_index'), 'int64'
    )
    return {
        'codebase_version': 'v3.0',
        'robot_type': description.robot,
        'total_episodes': episodes,
        'total_frames': frames,
        'total_tasks': tasks,
        'chunks_size': 1000,
        'data_files_size_in_mb': 100,
        'video_files_size_in_mb': 200,
        'fps': int(fps) if fps == int(fps) else fps,
        'splits': {'train': f'0:{episodes}'},
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
        'video_path': VIDEO if description.cameras else None,
        'features': {
            name: {'dtype': 'float32', 'shape': [len(names)], 'names': list(names)}
            | (endless if name == 'action' else {})
            for name, names in description.features.items()
        }
        | {name: video_feature(*size, fps) for name, size in description.cameras.items()}
        | {name: {'dtype': kind, 'shape': [1], 'names': None} for name, kind in scalars.items()},
    }


def _episode_columns(
    episodes: Sequence[Demonstration], lengths: np.ndarray, tasks: Sequence[Sequence[str]]
) -> dict:
    ends = np.cumsum(lengths)
    zeros = np.zeros(len(episodes), dtype=np.int64)
    return {
        'episode_index': np.arange(len(episodes)),
        'tasks': tasks,
        'length': lengths,
        'data/chunk_index': zeros,
        'data/file_index': zeros,
        'dataset_from_index': ends - lengths,
        'dataset_to_index': ends,
        'meta/episodes/chunk_index': zeros,
        'meta/episodes/file_index': zeros,
        **{name: [e.extra[name] for e in episodes] for name in episodes[0].extra},
    }


def _statistics(values: np.ndarray) -> dict[str, list]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    of = {'min': rows.min(0), 'max': rows.max(0), 'mean': rows.mean(0), 'std': rows.std(0)}
    of |= dict(zip(QUANTILES, np.quantile(rows, [*QUANTILES.values()], axis=0), strict=True))
    return {name: column.tolist() for name, column in of.items()} | {'count': [len(rows)]}


def _vectors(values: np.ndarray) -> pa.Array:
    """Return rows as lists; a single number is no list, as LeRobot expects."""
    if values.shape[1] == 1:
        return pa.array(values[:, 0])
    rows = pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
    return rows.cast(pa.list_(pa.float32()))


def _write_table(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the table of tasks, whose index LeRobot expects to be what the policy is told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({'task_index': np.arange(len(tasks)), 'task': [*tasks]})
    columns = [
        {'name': name, 'field_name': name, 'pandas_type': kind, 'numpy_type': numpy_type}
        for name, kind, numpy_type in (
            ('task_index', 'int64', 'int64'),
            ('task', 'unicode', 'object'),
        )
    ]
    pandas = {'index_columns': ['task'], 'columns': columns, 'column_indexes': []}
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(pandas)}), path)
