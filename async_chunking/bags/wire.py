# SPDX-License-Identifier: Apache-2.0
"""What drivers were told and what they measured, read from their own topics in a recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from async_chunking.bags.columns import LeftOut, decode_each, definitions
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Message, Topic
from async_chunking.bags.namespaces import full, robot_namespace
from async_chunking.bags.wire_messages import KINDS, LEAD_S, OfOthers, Wanted
from async_chunking.robot.embodiment import Command, Source
from async_chunking.robot.topics import group_of
from async_chunking.robot.wiring import Wire

_PIECE = 4096  # Messages of a topic that are read at once.

Key = TypeVar('Key', bound=Hashable)


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
    lead = max(float(command.options.get('lead_s') or 0.0), LEAD_S)
    return Wanted(command.topic, command.sink, names, motors, group_of(command), len(names), lead)


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
    reader = _Reader(wanted)
    waiting: dict[Topic, list[_Placed]] = {}
    for place, message in enumerate(bag.messages(lambda topic: topic.name in keys)):
        topic = message.topic
        waiting.setdefault(topic, []).append(_Placed(place, message))
        if len(waiting[topic]) >= _PIECE:
            yield from reader.pieces(topic, waiting.pop(topic), keys[topic.name])
    for topic, messages in waiting.items():
        yield from reader.pieces(topic, messages, keys[topic.name])
    bag.problems += [f'{bag.path}: {problem}' for problem in reader.problems()]


class _Placed(NamedTuple):
    place: int
    message: Message


class _Reader(Generic[Key]):
    """Turns messages into numbers, and counts what cannot be."""

    def __init__(self, wanted: Mapping[Key, Wanted]) -> None:
        self._wanted = wanted
        self._left: dict[Key, LeftOut] = defaultdict(LeftOut)
        self._strange: dict[Key, LeftOut] = defaultdict(LeftOut)
        self._sizes: dict[Key, int] = {}

    def pieces(
        self, topic: Topic, messages: Sequence[_Placed], keys: Sequence[Key]
    ) -> Iterator[tuple[Key, Series]]:
        for key in keys:
            parts = self._parts(key, topic, [placed.message.data for placed in messages])
            if parts:
                index = np.concatenate([part[0] for part in parts])
                order = np.argsort(index)
                stamps = np.array([messages[i].message.stamp for i in index[order]])
                places = np.array([messages[i].place for i in index[order]])
                values = np.concatenate([part[1] for part in parts])[order]
                yield key, Series(stamps, values, places)

    def problems(self) -> list[str]:
        """Return what was left out; what speaks of others only where a topic does nothing else."""
        lost = [self._left[key] for key in self._wanted]
        lost += [self._strange[key] for key in self._wanted if key not in self._sizes]
        return list(dict.fromkeys(problem for left in lost for problem in left.sentences()))

    def _parts(
        self, key: Key, topic: Topic, raw: Sequence[bytes]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return places and numbers [n, k] of each group that has any, of as many as the first."""
        what, left, name = self._wanted[key], self._left[key], topic.name
        kind, numbers = KINDS[what.kind]
        for counted in (left, self._strange[key]):
            counted.saw(name, len(raw))
        if topic.type != kind:
            left.lost(
                name, len(raw), f'holds {topic.type}, a topic of kind {what.kind} has {kind}'
            )
            return []
        try:
            types = definitions(topic)
        except BagError as error:
            left.lost(name, len(raw), str(error))
            return []
        parts = []
        for group in decode_each(raw, types, topic.type, partial(left.lost, name)):
            try:
                parts.append((group.index, numbers(group, what)))
            except OfOthers as error:
                self._strange[key].lost(name, len(group.index), str(error))
            except BagError as error:
                left.lost(name, len(group.index), str(error))
        for index, values in sorted(parts, key=lambda part: part[0][0]):
            size = self._sizes.setdefault(key, values.shape[1])
            if values.shape[1] != size:
                left.lost(name, len(index), f'has another number of joints than {size}')
        return [part for part in parts if part[1].shape[1] == self._sizes[key]]
