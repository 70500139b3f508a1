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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from async_chunking.dataset.frames import index, matrix, numeric, read_table, vector
from async_chunking.dataset.info import DataError, DatasetInfo, read_told
from async_chunking.policies.checkpoint.sidecar import DataSource

_STATE = 'observation.state'
_HUGE = 1e6  # What is more is noise, whatever the unit; an image or a force may have it.


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
        state_names: Names in `observation.state`, or empty.
        continuous: [D] whether each action is the angle of a joint that turns without end.
        left_alone: Features of the observation that are no numbers.
    """

    source: Path
    observations: dict[str, np.ndarray]
    actions: np.ndarray
    ends: np.ndarray
    fps: float
    robot: str = ''
    joint_names: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    continuous: tuple[bool, ...] = ()
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
    def copied(self) -> str:
        """What to say of episodes that move and are others once more, to the last bit; or ''."""
        rows = np.hstack([self.actions, self.observations[_STATE]])
        known: dict[bytes, int] = {}
        again: list[tuple[int, int]] = []
        for number, (start, end) in enumerate(zip(self.starts, self.ends, strict=True)):
            part = rows[start:end]
            if (np.ptp(part, axis=0) > 0.0).any():
                first = known.setdefault(hashlib.sha256(part.tobytes()).digest(), number)
                again += [(number, first)] * (first != number)
        if not again:
            return ''
        number, first = again[0]
        return (
            f'{self.source}: episode {number} is episode {first} once more, to the last bit; '
            f'{len(again)} of {len(self.ends)} episodes are copies. Remove them: what is held out '
            'is learned from else'
        )

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
            or time stamps, shapes, names or totals that contradict `meta/`.
    """
    path = Path(path)
    told = read_told(path)
    table = read_table(path, by_file=str(told.content.get('codebase_version')).startswith('v2'))
    frame, episode = (index(table, f'{key}_index', path) for key in ('frame', 'episode'))
    order = np.lexsort((frame, episode))
    episode = episode[order]
    ends = np.append(np.flatnonzero(np.diff(episode)) + 1, len(episode))
    told.check_totals(episode[ends - 1], np.diff(ends, prepend=0))
    _check_frames(frame[order], ends, path)
    if 'timestamp' in table.column_names:
        told.check_times(vector(table, 'timestamp', path).astype(np.float64)[order], ends)
    told.check_columns(numeric(table))
    columns, names = _columns(told, table, order)
    described = [*told.features, *table.column_names]
    observed = [name for name in dict.fromkeys(described) if _observes(name)]
    _check_finite(columns, episode, path)
    _check_range(columns, episode, path)
    actions = columns.pop('action')
    return Demonstrations(
        source=path,
        observations=columns,
        actions=actions,
        ends=ends,
        fps=told.fps,
        robot=told.robot,
        joint_names=names['action'],
        state_names=names[_STATE],
        continuous=tuple(name in told.continuous for name in names['action']),
        left_alone=tuple(name for name in observed if name not in columns),
    )


def _columns(
    told: DatasetInfo, table: pa.Table, order: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Return the numbers of each feature in order, and what they are called."""
    columns, names = {}, {}
    for name in numeric(table):
        values, shape = matrix(table, name, told.path)
        told.check_shape(name, shape)
        columns[name], names[name] = values[order], told.names(name, shape)
    for name in ('action', _STATE):
        if name not in columns:
            msg = f'{told.path}: {name} is of type {table.column(name).type}; it must be numbers'
            raise DataError(msg)
    return columns, names


def check_robot(data: Demonstrations, robot: str, joint_names: Sequence[str]) -> None:
    """
    Refuse data of another robot.

    Raises:
        DataError: The joints differ in number, in name or in order.
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
    check_order(data, robot, joint_names)


def check_order(data: Demonstrations, whose: str, joint_names: Sequence[str]) -> None:
    """
    Refuse a state of the same joints in another order.

    Args:
        data: Whose state it is.
        whose: Joints they are compared with, for the message.
        joint_names: [D] in the order in which they must be, as far as both are known.

    Raises:
        DataError: Names both orders.
    """
    state = data.state_names
    if set(joint_names) == set(state) and tuple(joint_names) != state:
        msg = (
            f'{data.source}: {_STATE} has {", ".join(state)}; {whose} has '
            f'{", ".join(joint_names)}, in this order'
        )
        raise DataError(msg)


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


def _check_range(columns: dict[str, np.ndarray], episode: np.ndarray, path: Path) -> None:
    for name in ('action', _STATE):
        wrong = np.argwhere(np.abs(columns[name]) > _HUGE)
        if len(wrong):
            row, column = wrong[0]
            frame = row - int(np.searchsorted(episode, episode[row]))
            msg = (
                f'{path}: number {column} of {name} is {columns[name][row, column]:g} in episode '
                f'{episode[row]}, frame {frame}; no position is beyond {_HUGE:g}, in any unit. '
                f'Remove those episodes'
            )
            raise DataError(msg)


def _observes(name: str) -> bool:
    return name == 'observation' or name.startswith('observation.')
