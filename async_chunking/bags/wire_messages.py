# SPDX-License-Identifier: Apache-2.0
"""What one message of a driver, or of the executor, says of some joints, kind by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from async_chunking.bags.columns import MessageGroup
from async_chunking.bags.definitions import BagError
from async_chunking.bags.namespaces import STEP, STEPS
from async_chunking.robot.topics import TYPES

TIMES = 'control_step times'  # Kind of when commands were sent [ns], the run, the stamp [ns].
TICKS = 'control_step ticks'  # Kind of run, deadline [ns], whether missed, whether teleported.

LEAD_S = 0.5  # A command is to be reached so long after it is told at most, or after `lead_s` [s].


class Wanted(NamedTuple):
    """
    Some numbers on a topic.

    Attributes:
        topic: Relative to the robot's namespace.
        kind: Kind of stream, source or sink, or `STEPS`.
        names: The driver's names of the joints, for messages that name them.
        motors: Places in the message, for those that count motors.
        group: The driver's name of the joints together; '' for any.
        size: Numbers in a message that is nothing but an array; 0 for as many as the first has.
        lead: Longest time from a command to when it is to be reached [s].
    """

    topic: str
    kind: str
    names: Sequence[str] = ()
    motors: Sequence[int] = ()
    group: str = ''
    size: int = 0
    lead: float = LEAD_S


class OfOthers(BagError):
    """A message says nothing of the joints that are wanted; others on its topic may."""


def _named(positions: np.ndarray, listed: list[str], names: Sequence[str]) -> np.ndarray:
    """Return the columns of some joints, NaN for those that are not there."""
    if positions.shape[1] != len(listed):
        msg = f'{positions.shape[1]} positions for {len(listed)} names'
        raise BagError(msg)
    twice = [name for name in names if listed.count(name) > 1]
    if twice:
        msg = f'has the joint {twice[0]} twice: {", ".join(listed)}'
        raise BagError(msg)
    places = {name: index for index, name in enumerate(listed)}
    if not places.keys() & set(names):
        msg = f'has the joints {", ".join(listed)} and none of {", ".join(names)}'
        raise OfOthers(msg)
    extended = np.column_stack((positions, np.full(len(positions), np.nan)))
    return extended[:, [places.get(name, -1) for name in names]]


def _joint_state(group: MessageGroup, what: Wanted) -> np.ndarray:
    return _named(group['position'], group.texts['name'], what.names)


def _step(group: MessageGroup, what: Wanted) -> np.ndarray:
    return _named(_command(group), group.texts['joint_names'], what.names)


def _command(group: MessageGroup) -> np.ndarray:
    """Return a tick's command; a tick without one is damaged, as a block of zeros is."""
    if 'command' not in group.arrays:
        msg = 'has no command'
        raise BagError(msg)
    return group['command']


def _times(group: MessageGroup, what: Wanted) -> np.ndarray:
    del what  # Of all joints.
    _command(group)
    second, rest = (group[f'header.stamp.{part}'].astype(np.int64) for part in ('sec', 'nanosec'))
    columns = [group['emitted_ns'], group['run_id'], 1_000_000_000 * second + rest]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _ticks(group: MessageGroup, what: Wanted) -> np.ndarray:
    del what  # Of all joints.
    none = np.zeros(len(group.index), dtype=bool)  # As in recordings of earlier versions.
    flags = [group.arrays.get(name, none) for name in ('missed', 'teleported')]
    columns = [group['run_id'], group['deadline_ns'], *flags]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _point(group: MessageGroup, what: Wanted) -> np.ndarray:
    """Read a command that is one point; rows of those that are for later are NaN."""
    points = sum(field.endswith('].time_from_start.sec') for field in group.arrays)
    if points != 1 or 'points[0].positions' not in group.arrays:
        msg = (
            'has no point with positions'
            if points < 2
            else ('is a path of several points, none of which is a command for now')
        )
        raise BagError(msg)
    positions = _named(group['points[0].positions'], group.texts['joint_names'], what.names)
    seconds, rest = (group[f'points[0].time_from_start.{part}'] for part in ('sec', 'nanosec'))
    later = seconds + 1e-9 * rest > what.lead
    if later.all():
        msg = f'is to be reached after more than {what.lead:g} s: a goal, no command for now'
        raise BagError(msg)
    return np.where(later[:, None], np.nan, positions)


def _array(field: str) -> Callable[[MessageGroup, Wanted], np.ndarray]:
    def read_array(group: MessageGroup, what: Wanted) -> np.ndarray:
        count = len(group.index)
        empty = what.size and field not in group.arrays  # An empty array has no place.
        values = np.empty((count, 0)) if empty else group[field].reshape(count, -1)
        if what.size and values.shape[1] != what.size:
            msg = f'has {values.shape[1]} numbers for {what.size} joints'
            raise BagError(msg)
        return values.astype(np.float64)

    return read_array


def _addressed(
    read_array: Callable[[MessageGroup, Wanted], np.ndarray], name: Callable[[Wanted], str]
) -> Callable[[MessageGroup, Wanted], np.ndarray]:
    """Return what reads messages that say for whom they are."""

    def read_addressed(group: MessageGroup, what: Wanted) -> np.ndarray:
        if name(what) not in ('', group.texts['name']):
            msg = f'is for {group.texts["name"]!r}, not for {name(what)!r}'
            raise OfOthers(msg)
        return read_array(group, what)

    return read_addressed


def _motors(field: str) -> Callable[[MessageGroup, Wanted], np.ndarray]:
    def read_motors(group: MessageGroup, what: Wanted) -> np.ndarray:
        return np.stack([group[f'{field}[{motor}].q'] for motor in what.motors], 1).astype(float)

    return read_motors


def _hand(group: MessageGroup, what: Wanted) -> np.ndarray:
    """Read a hand's command: one entry for each of its motors, by their number."""
    ranks = tuple(np.argsort(np.argsort(what.motors)).tolist())
    return _motors('motor_cmd')(group, what._replace(motors=ranks))


# Kind of stream, source or sink, and the executor's own -> its numbers [n, k].
_READERS: dict[str, Callable[[MessageGroup, Wanted], np.ndarray]] = {
    'joint_state': _joint_state,
    'float64_multi_array': _array('data'),
    'joint_trajectory': _point,
    'interbotix_group': _addressed(_array('cmd'), lambda what: what.group),
    'interbotix_single': _addressed(_array('cmd'), lambda what: what.names[0]),
    'unitree_arm_sdk': _motors('motor_cmd'),
    'unitree_hand': _hand,
    'unitree_motor_cmds': _motors('cmds'),
    'unitree_low_state': _motors('motor_state'),
    'unitree_hand_state': _motors('motor_state'),
    'unitree_motor_states': _motors('states'),
    STEPS: _step,
    TIMES: _times,
    TICKS: _ticks,
}
# Kind -> type of message and what reads it.
KINDS = {kind: (TYPES.get(kind, STEP), reader) for kind, reader in _READERS.items()}
