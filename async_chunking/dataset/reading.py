# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations on disk: the parquet form of LeRobotDataset v3, read without lerobot.

::

    DIR/meta/info.json          fps, features (with shapes and names), robot_type
    DIR/data/**/*.parquet       one row per frame: episode_index, frame_index, timestamp [s],
                                action [D], observation.state [D], observation.* [any]

A frame's action is the command that was sent on seeing that frame's observation. Numbers of any
shape are read, a single one as a column of one; images and strings are left alone, and named.
LeRobotDataset v2.1, a parquet file for each episode, is read as well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.sidecar import DataSource
from async_chunking.storage import read_json

_REQUIRED = ('episode_index', 'frame_index', 'action', 'observation.state')


class DataError(AsyncChunkingError):
    """Demonstrations that nothing can be learned from."""


@dataclass(frozen=True)
class Demonstrations:
    """
    Episodes, one after the other.

    Attributes:
        source: Folder.
        observations: Name -> [N, dim] float32.
        actions: [N, D] float32 [rad, m].
        ends: [E] frame after the last one of each episode.
        fps: Frames per second.
        robot: Name of the embodiment, or ''.
        joint_names: [D], or empty.
        left_alone: Features of the observation that are no numbers.
    """

    source: Path
    observations: dict[str, np.ndarray]
    actions: np.ndarray
    ends: np.ndarray
    fps: float
    robot: str = ''
    joint_names: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def action_dim(self) -> int:
        """Columns of the actions, D."""
        return self.actions.shape[1]

    @property
    def starts(self) -> np.ndarray:
        """First frame of each episode [E]."""
        return np.concatenate([[0], self.ends[:-1]])

    @property
    def facts(self) -> DataSource:
        """Fingerprint and size, for the sidecar."""
        digest = hashlib.sha256()
        for array in (self.actions, self.ends, *(v for _, v in sorted(self.observations.items()))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return DataSource(
            fingerprint=digest.hexdigest(), episodes=len(self.ends), frames=len(self.actions)
        )


def read_demonstrations(path: Path | str) -> Demonstrations:
    """
    Read a folder of demonstrations.

    Raises:
        DataError: No data, files or frames that are missing, ragged rows, a missing column, NaN,
            or time stamps of another rate.
    """
    path = Path(path)
    info = _read_info(path)
    table = _read_table(path)
    _check_total(info, table.num_rows, path)
    order = np.lexsort((_column(table, 'frame_index'), _column(table, 'episode_index')))
    episode = _column(table, 'episode_index')[order]
    ends = np.append(np.flatnonzero(np.diff(episode)) + 1, len(episode))
    _check_frames(_column(table, 'frame_index')[order], ends, path)
    _check_rate(table, order, ends, float(info['fps']), path)
    columns = {name: _matrix(table, name, path)[order] for name in _numeric(table)}
    described = [*info['features'], *table.column_names]
    observed = [name for name in dict.fromkeys(described) if name.startswith('observation.')]
    actions = columns.pop('action')
    _check_finite({'action': actions, **columns}, episode, path)
    action = info['features'].get('action', {})
    return Demonstrations(
        source=path,
        observations=columns,
        actions=actions,
        ends=ends,
        fps=float(info['fps']),
        robot=str(info.get('robot_type') or ''),
        joint_names=_joint_names(action.get('names'), actions.shape[1]),
        left_alone=tuple(name for name in observed if name not in columns),
    )


def check_robot(data: Demonstrations, robot: str, joint_names: Sequence[str]) -> None:
    """
    Refuse data of another robot.

    Raises:
        DataError: The joints differ in number or in name.
    """
    if data.action_dim != len(joint_names):
        msg = (
            f'{data.source} has {data.action_dim} joints, {robot} has {len(joint_names)}: '
            f'{", ".join(joint_names)}'
        )
        raise DataError(msg)
    if data.joint_names and data.joint_names != tuple(joint_names):
        msg = (
            f'{data.source} has the joints {", ".join(data.joint_names)}; {robot} has '
            f'{", ".join(joint_names)}, in this order'
        )
        raise DataError(msg)


def _read_info(path: Path) -> dict[str, Any]:
    file = path / 'meta' / 'info.json'
    try:
        info = read_json(file)
        float(info['fps'])
        dict(info['features'])
    except OSError as error:
        msg = f'no demonstrations at {path}: {file} {error.strerror}'
        raise DataError(msg) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f'{file} is not the description of a data set ({error!r}); it needs fps and features'
        raise DataError(msg) from error
    return info


def _read_table(path: Path) -> pa.Table:
    files = sorted((path / 'data').rglob('*.parquet'))
    try:
        tables = [pq.read_table(file) for file in files]
        table = pa.concat_tables(tables) if tables else pa.table({})
    except (pa.ArrowInvalid, OSError) as error:
        msg = f'{path}/data: a parquet file is torn, or they differ in columns ({error})'
        raise DataError(msg) from error
    if not table.num_rows:
        msg = f'{path} has no frames: {len(files)} parquet files under {path}/data. Record some'
        raise DataError(msg)
    if missing := [name for name in _REQUIRED if name not in table.column_names]:
        msg = f'{path}: no column {missing[0]!r}. Columns: {", ".join(table.column_names)}'
        raise DataError(msg)
    return table


def _numeric(table: pa.Table) -> list[str]:
    """Return the columns that are numbers: the action and what is observed."""
    return [
        field.name
        for field in table.schema
        if (field.name == 'action' or field.name.startswith('observation.'))
        and (
            pa.types.is_floating(kind := _leaf(field.type))
            or pa.types.is_integer(kind)
            or pa.types.is_boolean(kind)
        )
    ]


def _leaf(kind: pa.DataType) -> pa.DataType:
    """Return what a list, or a list of lists, is made of."""
    while hasattr(kind, 'value_type') and pa.types.is_nested(kind):
        kind = kind.value_type
    return kind


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def _matrix(table: pa.Table, name: str, path: Path) -> np.ndarray:
    rows = _rows(table.column(name))
    lengths = np.array([-1 if row is None else len(row) for row in rows])
    wrong = np.flatnonzero(lengths != lengths[0])
    if wrong.size or lengths[0] < 1:
        at = int(wrong[0]) if wrong.size else 0
        episode, frame = (_column(table, f'{key}_index')[at] for key in ('episode', 'frame'))
        msg = (
            f'{path}: {name} has {lengths[at]} numbers in episode {episode}, frame {frame}, '
            f'{lengths[0]} before'
        )
        raise DataError(msg)
    return np.stack(rows).astype(np.float32)


def _rows(column: pa.ChunkedArray) -> Any:
    """Return the numbers of each row, None where there are none."""
    if not pa.types.is_nested(column.type):
        return column.to_numpy().astype(np.float32)[:, None]
    if pa.types.is_nested(column.type.value_type):
        return [_flat(row) for row in column.to_pylist()]
    return column.to_numpy(zero_copy_only=False)


def _flat(value: Any) -> list[float]:
    """Return numbers of any shape, row after row; none for None."""
    if isinstance(value, list):
        return [number for item in value for number in _flat(item)]
    return [] if value is None else [value]


def _check_frames(frame: np.ndarray, ends: np.ndarray, path: Path) -> None:
    starts = np.concatenate([[0], ends[:-1]])
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if (frame[start:end] != np.arange(end - start)).any():
            msg = (
                f'{path}: the frame_index of episode {number} does not count from 0 to '
                f'{end - start - 1}: frames are missing or doubled. Record that episode again'
            )
            raise DataError(msg)


def _check_finite(columns: dict[str, np.ndarray], episode: np.ndarray, path: Path) -> None:
    for name, values in columns.items():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if bad.size:
            first = int(bad[0])
            frame = first - int(np.searchsorted(episode, episode[first]))
            msg = (
                f'{path}: {name} is {values[first].tolist()} in episode {episode[first]}, frame '
                f'{frame}; {bad.size} frames are not finite. Remove those episodes'
            )
            raise DataError(msg)


def _joint_names(names: Any, count: int) -> tuple[str, ...]:
    """
    Return LeRobot's 'names': a list, or lists under the names of groups, one after the other.

    A list of another length names the axis ('motors', 'actions') and not what is on it.
    """
    if isinstance(names, dict):
        listed = [
            str(name) for group in names.values() if isinstance(group, list) for name in group
        ]
    else:
        listed = [str(name) for name in names] if isinstance(names, list) else []
    return tuple(listed) if len(listed) == count else ()


def _check_total(info: dict[str, Any], frames: int, path: Path) -> None:
    """Refuse a data set of which files are missing, or are there twice."""
    total = info.get('total_frames', frames)
    if total != frames:
        msg = (
            f'{path}: meta/info.json says {total} frames, data/ has {frames}: parquet files are '
            'missing or of another version of it. Copy it once more'
        )
        raise DataError(msg)


def _check_rate(
    table: pa.Table, order: np.ndarray, ends: np.ndarray, fps: float, path: Path
) -> None:
    """Refuse time stamps that do not go by the frames per second that are told."""
    if 'timestamp' not in table.column_names:
        return
    times = np.asarray(_column(table, 'timestamp'), dtype=np.float64)[order]
    steps = np.delete(np.diff(times), ends[:-1] - 1)
    if len(steps) and not 0.9 < (steps_per_frame := float(np.median(steps)) * fps) < 1.1:
        msg = (
            f'{path}: meta/info.json says {fps:g} frames per second, the time stamps have '
            f'{fps / steps_per_frame if steps_per_frame else math.inf:.3g}'
        )
        raise DataError(msg)
