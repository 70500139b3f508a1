# SPDX-License-Identifier: Apache-2.0
"""What drivers were told and what they measured, read from their own topics in a recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from async_chunking.bags.columns import MessageGroup, decode_each, definitions
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Message, Topic
from async_chunking.bags.namespaces import STEP, STEPS, full, robot_namespace
from async_chunking.robot.embodiment import Command, Source
from async_chunking.robot.topics import TYPES, group_of
from async_chunking.robot.wiring import Wire

TIMES = 'control_step times'  # Kind of when the executor sent commands [ns], and in which run.

TICKS = 'control_step ticks'  # Kind of run, deadline [ns], whether missed, whether teleported.

_PIECE = 4096  # Messages of a topic that are read at once.

Key = TypeVar('Key', bound=Hashable)


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
    """

    topic: str
    kind: str
    names: Sequence[str] = ()
    motors: Sequence[int] = ()
    group: str = ''
    size: int = 0


class Series(NamedTuple):
    """
    What a topic said.

    Attributes:
        stamps: [n] when it was recorded [ns].
        values: [n, k] in the driver's units.
        places: [n] among all messages read, in the order in which they were written.
    """

    stamps: np.ndarray
    values: np.ndarray
    places: np.ndarray


class WireKey(NamedTuple):
    """Some joints on a topic; a topic alone may hold several parts of a robot."""

    topic: str
    joints: tuple[str, ...]


def key_of(wire: Wire) -> WireKey:
    """Return what tells a source or a command from the others of its robot."""
    return WireKey(wire.topic, wire.joints)


def of_command(command: Command) -> Wanted:
    """Return what is to be read of a command topic."""
    names, motors = command.driver_names, command.driver_motors
    return Wanted(command.topic, command.sink, names, motors, group_of(command), len(names))


def of_source(source: Source) -> Wanted:
    """Return what is to be read of a topic of measured joints."""
    return Wanted(source.topic, source.kind, source.driver_names, source.driver_motors)


def joint_values(values: np.ndarray, wire: Wire) -> np.ndarray:
    """Return a driver's values [n, k] in our units [rad, m]."""
    gain, bias = wire.affine
    return (values - bias) / gain


def read(
    bag: Bag, wanted: Mapping[Key, Wanted], namespace: str | None = None
) -> Iterator[tuple[Key, Series]]:
    """
    Yield what some topics said, in pieces of each, in the order in which they were recorded.

    Messages of another type or that cannot be read are left out, and named in the bag's problems.

    Args:
        bag: The recording.
        wanted: By any key, which is what comes back.
        namespace: Namespace of the robot; see `robot_namespace` for None.

    Raises:
        KeyError: A kind is not in `KINDS`.
        BagError: It cannot be known which robot's topics are meant.
    """
    namespace = robot_namespace(bag, {what.topic for what in wanted.values()}, namespace)
    keys: dict[str, list[Key]] = defaultdict(list)
    for key, what in wanted.items():
        KINDS[what.kind]
        keys[full(namespace, what.topic)].append(key)
    waiting: dict[Topic, list[_Placed]] = {}
    for place, message in enumerate(bag.messages(lambda topic: topic.name in keys)):
        topic = message.topic
        waiting.setdefault(topic, []).append(_Placed(place, message))
        if len(waiting[topic]) >= _PIECE:
            yield from _pieces(bag, topic, waiting.pop(topic), wanted, keys[topic.name])
    for topic, messages in waiting.items():
        yield from _pieces(bag, topic, messages, wanted, keys[topic.name])


class _Placed(NamedTuple):
    place: int
    message: Message


def _pieces(
    bag: Bag,
    topic: Topic,
    messages: Sequence[_Placed],
    wanted: Mapping[Key, Wanted],
    keys: Sequence[Key],
) -> Iterator[tuple[Key, Series]]:
    for key in keys:
        what, problems = wanted[key], list[str]()
        try:
            kind = KINDS[what.kind][0]
            if topic.type != kind:
                msg = f'holds {topic.type}, a topic of kind {what.kind} has {kind}'
                raise BagError(msg)
            raw = [placed.message.data for placed in messages]
            groups = decode_each(raw, definitions(topic), topic.type, problems)
            parts = _parts(groups, what, problems)
        except BagError as error:
            problems, parts = [str(error)], []
        place = f'{bag.path}: topic {topic.name}'
        bag.problems += [f'{place}: {problem}; it is left out' for problem in problems]
        if parts:
            index = np.concatenate([part[0] for part in parts])
            order = np.argsort(index)
            stamps = np.array([messages[i].message.stamp for i in index[order]])
            places = np.array([messages[i].place for i in index[order]])
            values = np.concatenate([part[1] for part in parts])[order]
            yield key, Series(stamps, values, places)


def _parts(
    groups: Sequence[MessageGroup], what: Wanted, problems: list[str]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return places and numbers [n, k] of each group that has any, of as many as the first."""
    parts, strange = [], []
    for group in groups:
        try:
            parts.append((group.index, KINDS[what.kind][1](group, what)))
        except _OfOthers as error:
            strange.append(str(error))
        except BagError as error:
            problems.append(str(error))
    if not parts:
        problems += dict.fromkeys(strange)
        return []
    size = min(parts, key=lambda part: part[0][0])[1].shape[1]
    return [part for part in parts if part[1].shape[1] == size]


class _OfOthers(BagError):
    """A message says nothing of the joints that are wanted; others on its topic may."""


# --- messages -----------------------------------------------------------------------------------


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
        raise _OfOthers(msg)
    extended = np.column_stack((positions, np.full(len(positions), np.nan)))
    return extended[:, [places.get(name, -1) for name in names]]


def _joint_state(group: MessageGroup, what: Wanted) -> np.ndarray:
    return _named(group['position'], group.texts['name'], what.names)


def _step(group: MessageGroup, what: Wanted) -> np.ndarray:
    return _named(group['command'], group.texts['joint_names'], what.names)


def _times(group: MessageGroup, what: Wanted) -> np.ndarray:
    del what  # Of all joints.
    return np.stack([group['emitted_ns'], group['run_id'].astype(np.int64)], axis=1)


def _ticks(group: MessageGroup, what: Wanted) -> np.ndarray:
    del what  # Of all joints.
    none = np.zeros(len(group.index), dtype=bool)  # As in recordings of earlier versions.
    flags = [group.arrays.get(name, none) for name in ('missed', 'teleported')]
    columns = [group['run_id'], group['deadline_ns'], *flags]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _last_point(group: MessageGroup, what: Wanted) -> np.ndarray:
    points = sum(field.endswith('].positions') for field in group.arrays)
    positions = group[f'points[{points - 1}].positions']
    return _named(positions, group.texts['joint_names'], what.names)


def _array(field: str) -> Callable[[MessageGroup, Wanted], np.ndarray]:
    def read_array(group: MessageGroup, what: Wanted) -> np.ndarray:
        count = len(group.index)
        empty = what.size and field not in group.arrays  # An empty array has no place.
        values = np.empty((count, 0)) if empty else group[field].reshape(count, -1)
        if what.size and values.shape[1] != what.size:
            where = f'{count} message{"s" * (count > 1)}'
            msg = f'has {values.shape[1]} numbers for {what.size} joints in {where}'
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
            raise _OfOthers(msg)
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
    'joint_trajectory': _last_point,
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
