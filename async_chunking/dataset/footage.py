# SPDX-License-Identifier: Apache-2.0
"""
What a recording shows and tells beside numbers: pictures of cameras, and what was asked for.

A recording holds more pictures than fit into memory. So each is looked at once when it is found,
which leaves out what cannot be decoded, and again when the data set is written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bags.clock import Clock, steady
from async_chunking.bags.columns import decode, definitions
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Message
from async_chunking.bags.namespaces import full
from async_chunking.cameras.reading import compressed_reader, image_reader
from async_chunking.errors import AsyncChunkingError, StreamError
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.robot.topics import TYPES

_READERS = {'image': image_reader, 'compressed_image': compressed_reader}
STALE_S = 0.5  # What was observed or commanded longer ago is no longer so [s].


@dataclass(frozen=True)
class RecordedCamera:
    """
    A camera in a recording.

    Attributes:
        bag: The recording.
        topic: Where its pictures are, in full.
        stream: What the robot's description says of them.
    """

    bag: Bag
    topic: str
    stream: Stream

    def pixels(self, message: Message) -> np.ndarray:
        """
        Return a picture [height, width, 3], RGB uint8, as the camera sent it.

        Raises:
            AsyncChunkingError: It is none, or another than the robot's description says.
        """
        read = _READERS[self.stream.kind](self.stream)
        return read(_fields(message, TYPES[self.stream.kind])).decode()

    def pictures(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield pictures [height, width, 3] by their number on the topic, in any order, again too.

        Args:
            numbers: Which messages of the topic, counted from 0.
        """
        needed, kept, place = Counter(numbers), dict[int, np.ndarray](), 0
        again = Bag(self.bag.path, self.bag.files)  # Its problems have been told.
        for number, message in enumerate(again.messages(lambda topic: topic.name == self.topic)):
            if number in needed:
                kept[number] = self.pixels(message)
            while place < len(numbers) and numbers[place] in kept:
                yield kept[numbers[place]]
                needed[numbers[place]] -= 1
                if not needed[numbers[place]]:
                    del kept[numbers[place]]
                place += 1
            if place == len(numbers):
                return


class Footage(NamedTuple):
    """
    What a camera showed at each frame of a demonstration.

    Attributes:
        camera: Who took it.
        numbers: [T] of the pictures on the camera's topic.
    """

    camera: RecordedCamera
    numbers: np.ndarray


@dataclass(frozen=True)
class TopicTimes:
    """
    Times at which a topic said something.

    Attributes:
        topic: Name of the topic, in full.
        stamps: [n] in order [ns].
        numbers: [n] which message of the topic each is, from 0.
        texts: [n] what each says; None of a camera.
    """

    topic: str
    stamps: np.ndarray
    numbers: np.ndarray
    texts: tuple[str, ...] | None = None

    @property
    def of_camera(self) -> bool:
        """Whether it shows pictures."""
        return self.texts is None

    def at(self, times: np.ndarray, where: str) -> np.ndarray:
        """
        Return the numbers of the newest messages up to some times [n] [ns].

        Raises:
            BagError: There is none, or it is old.
        """
        return self.numbers[newest(self.stamps, times, f'{where}: {self.topic} showed')]

    def told(self, times: np.ndarray, before: str) -> tuple[str, ...]:
        """Return the text in force at some times [n] [ns], `before` until there is one."""
        index = np.searchsorted(self.stamps, times, side='right') - 1
        texts = self.texts or ()
        return tuple(texts[i] if i >= 0 else before for i in index.tolist())


def newest(stamps: np.ndarray, times: np.ndarray, what: str) -> np.ndarray:
    """
    Return which message was the newest at some times [n].

    Args:
        stamps: [m] of the messages, in order [ns].
        times: [n] [ns].
        what: Begins what is said of a time without one: who said or showed nothing.

    Raises:
        BagError: There is none, or it is old.
    """
    index = np.searchsorted(stamps, times, side='right') - 1
    ages = np.where(index < 0, np.inf, (times - stamps[index]) / 1e9)
    late = np.flatnonzero(ages > STALE_S)
    if late.size:
        seconds = (times[late[0]] - times[0]) / 1e9
        msg = f'{what} nothing for {STALE_S} s until {seconds:.1f} s; record it again'
        raise BagError(msg)
    return index


def beside_numbers(robot: Embodiment) -> dict[str, Stream]:
    """Return the streams of pictures and text that have a topic, by name."""
    return {name: s for name, s in robot.observations.items() if not s.is_numeric and s.topic}


def moments_of(
    bag: Bag, robot: Embodiment, numeric: Collection[str], namespace: str, clock: Clock
) -> dict[str, TopicTimes]:
    """
    Return when each picture and each text of a robot came; what is none of them is left out.

    Args:
        bag: The recording; what is wrong with messages is added to its `problems`.
        robot: Whose streams they are.
        numeric: Topics with numbers, relative to the namespace: the clock counts their messages.
        namespace: Namespace of the robot.
        clock: Clock of the recording.

    Returns:
        Name of the stream -> its moments.
    """
    streams = beside_numbers(robot)
    if not streams:
        return {}  # And the recording is not read for it.
    names = {name: full(namespace, stream.topic) for name, stream in streams.items()}
    counted = {full(namespace, topic) for topic in numeric}
    came: dict[str, list[tuple[int, float, int, str]]] = defaultdict(list)
    wrong: dict[str, list[str]] = defaultdict(list)
    numbers, place, before = Counter[str](), -1, 0
    for message in bag.messages(lambda topic: topic.name in {*counted, *names.values()}):
        if message.topic.name in counted:
            place, before = place + 1, message.stamp
            continue
        time = clock.between(place, before, message.stamp)
        for name in (name for name, topic in names.items() if topic == message.topic.name):
            try:
                text = _content(RecordedCamera(bag, names[name], streams[name]), message)
                came[name].append((time, place + 0.5, numbers[name], text))
            except AsyncChunkingError as error:
                wrong[name].append(str(error))
            numbers[name] += 1
    bag.problems += [
        f'{bag.path}: topic {names[name]}: {len(reasons)} of {numbers[name]} messages: '
        f'{reasons[0]}; left out'
        for name, reasons in wrong.items()
    ]
    return {
        name: _in_order(names[name], came[name], clock, stream.is_image)
        for name, stream in streams.items()
    }


def _in_order(
    topic: str, came: Sequence[tuple[int, float, int, str]], clock: Clock, of_camera: bool
) -> TopicTimes:
    stamps = np.array([one[0] for one in came], dtype=np.int64)
    places = np.array([one[1] for one in came])
    kept = np.arange(len(came))[steady(places, stamps, clock)]
    kept = kept[np.argsort(stamps[kept], kind='stable')]
    numbers = np.array([one[2] for one in came], dtype=np.int64)
    texts = None if of_camera else tuple(came[i][3] for i in kept)
    return TopicTimes(topic, stamps[kept], numbers[kept], texts)


def _content(camera: RecordedCamera, message: Message) -> str:
    """Return the text of a message, '' of a picture that was looked at."""
    if camera.stream.is_image:
        camera.pixels(message)
        return ''
    text = str(_fields(message, TYPES[camera.stream.kind]).data).strip()
    if not text:
        msg = 'an empty text tells no policy anything'
        raise StreamError(msg)
    return text


def _fields(message: Message, kind: str) -> Any:
    """
    Return a message's fields, by their names.

    Raises:
        BagError: It is of another type, or torn.
    """
    topic = message.topic
    if topic.type != kind:
        msg = f'it holds {topic.type}, not {kind}'
        raise BagError(msg)
    (group,) = decode([message.data], _types(topic), topic.type)
    fields = {name: values[0] for name, values in group.arrays.items()} | dict(group.texts)
    return SimpleNamespace(**{'data': b''} | fields)  # Nothing has no place in a message.


_types = cache(definitions)
