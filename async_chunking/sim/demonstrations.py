# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations on disk, in the parquet form of LeRobotDataset v3.

::

    DIR/meta/info.json                              features, fps, robot_type, totals
    DIR/meta/stats.json                             min, max, mean, std, count of each feature
    DIR/meta/tasks.parquet                          task (what the robot is told), task_index
    DIR/meta/episodes/chunk-000/file-000.parquet    length and frames of each episode; its attempt,
                                                    mode and time to success
    DIR/meta/generation.json                        command line arguments, seed: how to make it again
    DIR/data/chunk-000/file-000.parquet             one row per frame

A frame holds what was observed at a tick and the `action` that the expert wanted for that tick. With
action noise the command that was sent differed from it, which is how states off the expert's path
come into the data together with the way back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from async_chunking.errors import AsyncChunkingError
from async_chunking.sim import make_task
from async_chunking.sim.episodes import Episode, record_many
from async_chunking.sim.task import Task

DATA = 'data/chunk-000/file-000.parquet'
EPISODES = 'meta/episodes/chunk-000/file-000.parquet'


class DatasetError(AsyncChunkingError):
    """A data set cannot be made as asked."""


@dataclass(frozen=True)
class Generation:
    """
    How a data set is made; equal values make equal data.

    Attributes:
        task: Name.
        episodes: Successful ones to keep.
        seed: Of everything random.
        action_noise: Of the commands, see `episodes.record` [rad].
    """

    task: str
    episodes: int = 400
    seed: int = 0
    action_noise: float = 0.01

    def __post_init__(self) -> None:
        if self.episodes < 1:
            msg = f'episodes must be at least 1, got {self.episodes}'
            raise DatasetError(msg)
        if not 0.0 <= self.action_noise < np.inf:
            msg = f'action_noise must be finite and >= 0, got {self.action_noise}'
            raise DatasetError(msg)


def generate(how: Generation, out: Path, processes: int = 2, quiet: bool = False) -> Path:
    """
    Record a task's expert and write a data set.

    Raises:
        DatasetError: The folder holds something already.
        SettingsError: Unknown task.
    """
    task = make_task(how.task)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f'{out} is not empty; name a new folder or remove it first'
        raise DatasetError(msg)
    episodes = list(
        track(
            record_many(how.task, how.episodes, how.seed, how.action_noise, processes),
            description=f'Recording {how.task}',
            total=how.episodes,
            disable=quiet,
        )
    )
    write(out, task, episodes)
    _write_json(out / 'meta/generation.json', dataclasses.asdict(how))
    return out


def write(out: Path, task: Task, episodes: Sequence[Episode]) -> None:
    """Write episodes of a task as a data set."""
    lengths = np.array([len(e.actions) for e in episodes])
    columns = {
        **{k: np.concatenate([e.observations[k] for e in episodes]) for k in _features(task)},
        'action': np.concatenate([e.actions for e in episodes]),
    }
    frame = np.concatenate([np.arange(n) for n in lengths])
    counters = {
        'timestamp': (frame / task.control_rate_hz).astype(np.float32),
        'frame_index': frame,
        'episode_index': np.repeat(np.arange(len(episodes)), lengths),
        'index': np.arange(lengths.sum()),
        'task_index': np.zeros(lengths.sum(), dtype=np.int64),
    }
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    vectors = {name: _vectors(values) for name, values in columns.items()}
    _write_table(out / DATA, {**vectors, **counters})
    _write_table(out / EPISODES, _episode_columns(task, episodes, lengths))
    _write_tasks(out / 'meta/tasks.parquet', task.instruction)
    stats = {name: _statistics(values) for name, values in (columns | counters).items()}
    _write_json(out / 'meta/stats.json', stats)
    _write_json(out / 'meta/info.json', _info(task, len(episodes), int(lengths.sum())))


def _features(task: Task) -> dict[str, tuple[str, ...]]:
    """Return the observed features and what their numbers are."""
    return {
        'observation.state': task.plant.joints,
        'observation.environment_state': task.environment_names,
    }


def _info(task: Task, episodes: int, frames: int) -> dict:
    vectors = {**_features(task), 'action': task.plant.joints}
    scalars = {'timestamp': 'float32'} | dict.fromkeys(
        ('frame_index', 'episode_index', 'index', 'task_index'), 'int64'
    )
    return {
        'codebase_version': 'v3.0',
        'robot_type': task.embodiment,
        'total_episodes': episodes,
        'total_frames': frames,
        'total_tasks': 1,
        'chunks_size': 1000,
        'data_files_size_in_mb': 100,
        'video_files_size_in_mb': 200,
        'fps': round(task.control_rate_hz),
        'splits': {'train': f'0:{episodes}'},
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet',
        'video_path': None,
        'features': {
            name: {'dtype': 'float32', 'shape': [len(names)], 'names': list(names)}
            for name, names in vectors.items()
        }
        | {name: {'dtype': kind, 'shape': [1], 'names': None} for name, kind in scalars.items()},
    }


def _episode_columns(task: Task, episodes: Sequence[Episode], lengths: np.ndarray) -> dict:
    ends = np.cumsum(lengths)
    zeros = np.zeros(len(episodes), dtype=np.int64)
    return {
        'episode_index': np.arange(len(episodes)),
        'tasks': [[task.instruction]] * len(episodes),
        'length': lengths,
        'data/chunk_index': zeros,
        'data/file_index': zeros,
        'dataset_from_index': ends - lengths,
        'dataset_to_index': ends,
        'meta/episodes/chunk_index': zeros,
        'meta/episodes/file_index': zeros,
        'attempt': [e.attempt for e in episodes],
        'mode': [list(e.mode) for e in episodes],
        'success_seconds': [e.success_seconds for e in episodes],
    }


def _statistics(values: np.ndarray) -> dict[str, list]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    of = {'min': rows.min(0), 'max': rows.max(0), 'mean': rows.mean(0), 'std': rows.std(0)}
    return {name: column.tolist() for name, column in of.items()} | {'count': [len(rows)]}


def _vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1]).cast(
        pa.list_(pa.float32())
    )


def _write_table(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _write_tasks(path: Path, instruction: str) -> None:
    """Write the table of tasks, whose index LeRobot expects to be the instruction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({'task_index': np.array([0]), 'task': [instruction]})
    pandas = {'index_columns': ['task'], 'columns': [], 'column_indexes': []}
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(pandas)}), path)


def _write_json(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + '\n')
