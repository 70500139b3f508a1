# SPDX-License-Identifier: Apache-2.0
"""
Many messages of one type at once: from serialized bytes to one array per field.

Messages of a stream mostly look alike: the same strings, the same number of joints. Then every
field lies at the same place in all of them, and numpy reads it from thousands of messages in one
step. Messages are grouped by what decides the places (size, lengths, strings), so nothing is
assumed: any mixture is read correctly, and only how fast depends on it.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from rosbags.interfaces import Nodetype

from async_chunking.bags.definitions import BagError, Definitions, own_store, parse
from async_chunking.bags.mcap import Topic

_HEADER = 4  # Bytes in front of a message that say how it is encoded.
_TYPES = {
    'bool': '?', 'byte': 'u1', 'char': 'u1', 'octet': 'u1', 'uint8': 'u1', 'int8': 'i1',
    'uint16': 'u2', 'int16': 'i2', 'uint32': 'u4', 'int32': 'i4', 'uint64': 'u8', 'int64': 'i8',
    'float32': 'f4', 'float64': 'f8',
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MessageGroup:
    """
    Messages of one layout.

    Attributes:
        index: [n] where they were among the messages given.
        arrays: Field -> [n] or [n, length]; nested fields as 'header.stamp.sec'.
        texts: Field -> string, or list of strings, the same in all of them.
    """

    index: np.ndarray
    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, Any]

    def __getitem__(self, field: str) -> np.ndarray:
        """
        Return the array of a field.

        Raises:
            BagError: There is none: the messages are of another version.
        """
        try:
            return self.arrays[field]
        except KeyError:
            msg = f'its messages have no field {field}: recorded by another version'
            raise BagError(msg) from None


def column(group: MessageGroup, field: str, defaults: Mapping[str, Any]) -> np.ndarray:
    """
    Return the array of a field, or its default [n] where the messages have no such field.

    Raises:
        BagError: It is not there, and nothing is declared to stand for it.
    """
    if field in group.arrays or field not in defaults:
        return group[field]
    return np.full(len(group.index), defaults[field])


class UnknownEncodingError(BagError):
    """A message is not in the encoding that all middlewares of ROS 2 have in common."""


class Layout(NamedTuple):
    """Where each field lies, and which bytes must be equal for that to hold."""

    dtype: np.dtype
    fixed: np.ndarray
    texts: Mapping[str, Any]


def definitions(topic: Topic) -> Definitions:
    """
    Return the definition of a topic's messages, this version's where the recording has none.

    Raises:
        BagError: It cannot be parsed, or there is none at all.
    """
    if topic.definition:
        return parse(topic.definition, topic.type, topic.form)
    fields = own_store().fielddefs
    if topic.type not in fields:
        msg = f'the definition of {topic.type} is neither embedded nor known'
        raise BagError(msg)
    return dict(fields)


def decode(messages: Sequence[bytes], types: Definitions, name: str) -> Iterator[MessageGroup]:
    """
    Yield serialized messages of type `name` as groups of one layout.

    Raises:
        BagError: A message does not follow the definition.
    """
    waiting = np.arange(len(messages))
    size = np.array([len(message) for message in messages])
    while len(waiting):
        first = messages[waiting[0]]
        layout = _layout(first, types, name)
        same = waiting[size[waiting] == len(first)]
        joined = b''.join([messages[i] for i in same]) if len(same) > 1 else first
        raw = np.frombuffer(joined, np.uint8).reshape(len(same), -1)
        alike = (raw[:, layout.fixed] == raw[0, layout.fixed]).all(axis=1)
        table = raw[alike].view(layout.dtype)[:, 0]
        arrays = {field: table[field] for field in layout.dtype.names or ()}
        yield MessageGroup(same[alike], arrays, layout.texts)
        waiting = np.setdiff1d(waiting, same[alike], assume_unique=True)


class LeftOut:
    """What of a recording cannot be read: how many messages of how many of each topic, and why."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._lost: Counter[tuple[str, str]] = Counter()

    def saw(self, topic: str, count: int) -> None:
        """Count messages, read or not."""
        self._seen[topic] += count

    def lost(self, topic: str, count: int, reason: str) -> None:
        """Count messages that were left out."""
        self._lost[topic, reason] += count

    def sentences(self) -> list[str]:
        """Return a sentence for each topic and reason."""
        return [
            f'topic {topic}: {count} of {self._seen[topic]} messages left out: {reason}'
            for (topic, reason), count in self._lost.items()
        ]


def decode_each(
    messages: Sequence[bytes], types: Definitions, name: str, lost: Callable[[int, str], None]
) -> list[MessageGroup]:
    """
    Return the groups of all messages that can be decoded.

    Args:
        messages: Serialized.
        types: What they are made of.
        name: Their type.
        lost: Is told how many cannot, and why.
    """
    try:
        return list(decode(messages, types, name))
    except BagError:
        pass  # One by one, then, to find which.
    whole, torn = [], Counter[str]()
    for place, message in enumerate(messages):
        try:
            _layout(message, types, name)
            whole.append(place)
        except UnknownEncodingError as error:
            torn[str(error)] += 1
        except BagError:
            torn[f'torn, they do not follow the definition of {name}'] += 1
    groups = decode([messages[place] for place in whole], types, name)
    kept = np.array(whole, dtype=np.intp)
    for reason, count in torn.items():
        lost(count, reason)
    return [replace(group, index=kept[group.index]) for group in groups]


def _layout(message: bytes, types: Definitions, name: str) -> Layout:
    try:
        walk = _Walk(message, types)
        walk.message(name, '')
    except (struct.error, UnicodeDecodeError, KeyError, IndexError) as error:
        msg = f'a message of type {name} does not follow its definition: {error!r}'
        raise BagError(msg) from None
    dtype = np.dtype({
        'names': list(walk.places),
        'formats': [form for form, _ in walk.places.values()],
        'offsets': [offset for _, offset in walk.places.values()],
        'itemsize': len(message),
    })  # fmt: skip
    return Layout(dtype, np.concatenate([*walk.fixed, np.arange(_HEADER)]), walk.texts)


class _Walk:
    """Goes through one message, field by field (CDR: aligned to the size of each number)."""

    def __init__(self, message: bytes, types: Definitions) -> None:
        if message[:1] != b'\0' or message[1:2] not in (b'\0', b'\1'):
            msg = f'in an unknown encoding, they begin with {message[:2].hex() or "nothing"}'
            raise UnknownEncodingError(msg)
        self.bytes = message
        self.types = types
        self.at = _HEADER
        self.order = '<' if message[1] else '>'
        self.places: dict[str, tuple[Any, int]] = {}
        self.texts: dict[str, Any] = {}
        self.fixed: list[np.ndarray] = []

    def message(self, name: str, prefix: str) -> None:
        for field, description in self.types[name][1]:
            self.field(prefix + field, description)

    def field(self, path: str, description: Any) -> None:
        node, detail = description
        if node == Nodetype.NAME:
            self.message(detail, f'{path}.')
        elif node == Nodetype.ARRAY:
            self.items(path, detail[0], detail[1])
        elif node == Nodetype.SEQUENCE:
            self.items(path, detail[0], self.length())
        elif detail[0] == 'string':
            self.texts[path] = self.text()
        else:
            self.number(path, detail[0], ())

    def items(self, path: str, description: Any, count: int) -> None:
        node, detail = description
        if node == Nodetype.BASE and detail[0] != 'string':
            if count:
                self.number(path, detail[0], (count,))
        elif node == Nodetype.BASE:
            self.texts[path] = [self.text() for _ in range(count)]
        else:
            for index in range(count):
                self.message(detail, f'{path}[{index}].')

    def number(self, path: str, kind: str, shape: tuple[int, ...]) -> None:
        form = np.dtype(self.order + _TYPES[kind])
        self.align(form.itemsize)
        self.places[path] = ((form, shape), self.at)
        self.at += form.itemsize * (shape[0] if shape else 1)
        if self.at > len(self.bytes):
            msg = f'{path} lies behind the end'
            raise IndexError(msg)

    def length(self) -> int:
        self.align(4)
        (count,) = struct.unpack_from(f'{self.order}I', self.bytes, self.at)
        self.fixed.append(np.arange(self.at, self.at + 4))
        self.at += 4
        return count

    def text(self) -> str:
        count = self.length()
        value = self.bytes[self.at : self.at + count]
        if len(value) < count:
            msg = 'a string lies behind the end'
            raise IndexError(msg)
        self.fixed.append(np.arange(self.at, self.at + count))
        self.at += count
        return value[:-1].decode()

    def align(self, size: int) -> None:
        self.at += -(self.at - _HEADER) % size
