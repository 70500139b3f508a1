# SPDX-License-Identifier: Apache-2.0
"""
What a recording tells in words: JSON on topics of strings, how episodes ended, what a robot is.

A text that cannot be understood costs itself, and is counted and named. The same message twice, as
a file and its copy leave it, counts once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

from async_chunking.bags.columns import decode, definitions
from async_chunking.bags.definitions import BagError, Definitions
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Message, Topic
from async_chunking.metrics.record import Episode

TEXT = 'std_msgs/msg/String'
SNAPSHOT_TOPIC = 'snapshot'
EPISODE_TOPIC = 'episode'


class Texts:
    """
    Reads the texts of a recording.

    Attributes:
        unknown: Episodes of which it is not known how they ended.
    """

    def __init__(self) -> None:
        self.unknown = 0
        self._ended: dict[tuple[Any, ...], int] = {}
        self._again: Counter[str] = Counter()
        self._known: set[tuple[str, int, bytes]] = set()
        self._count: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()
        self._reasons: dict[str, str] = {}
        self._types: dict[Topic, Definitions] = {}

    def content(self, message: Message) -> Mapping[str, Any] | None:
        """Return the object that a message holds; None if there is none, or it came before."""
        return self._read(message, lambda content: content)

    def episode(self, message: Message, run: Hashable = None) -> Episode | None:
        """
        Return how an episode ended; None if that is not told, or it came before.

        A message that was latched comes again: the next episode of its kind cannot have ended
        before it could begin, nor be the same one of the same run.

        Args:
            message: From the topic of episodes.
            run: Run that it ended, as far as that is known.
        """
        episode = self._read(message, _episode)
        if episode is None:
            return None
        same = (message.topic.name, run, message.data)
        before = self._ended.setdefault(same, message.stamp)
        if before != message.stamp:
            passed = abs(message.stamp - before) * 1e-9
            if passed < episode.duration or (run is not None and episode.trial):
                self._again[message.topic.name] += 1
                return None
            self._ended[same] = message.stamp
        return episode

    def problems(self, bag: Bag) -> list[str]:
        """Return what could not be understood, a sentence for each topic."""
        return [
            f'{bag.path}: topic {topic}: {count} of {self._count[topic]} messages cannot be '
            f'understood: {self._reasons[topic]}; left out'
            for topic, count in self._wrong.items()
        ] + [
            f'{bag.path}: topic {topic}: {count} messages come again; their episodes count once'
            for topic, count in self._again.items()
        ]

    def _read(self, message: Message, understood: Any) -> Any:
        topic = message.topic
        same = (topic.name, message.stamp, message.data)
        if same in self._known:
            return None
        self._known.add(same)
        self._count[topic.name] += 1
        try:
            return understood(_object(self._text(message)))
        except (ValueError, ArithmeticError, KeyError, RecursionError) as error:
            self.unknown += not isinstance(error, _Foreign)
            self._wrong[topic.name] += 1
            self._reasons.setdefault(topic.name, _shown(error))
            return None

    def _text(self, message: Message) -> str:
        topic = message.topic
        if topic.type != TEXT:
            msg = f'it holds {topic.type}, not {TEXT}'
            raise _Foreign(msg)
        if topic not in self._types:
            self._types[topic] = definitions(topic)
        (group,) = decode([message.data], self._types[topic], topic.type)
        return group.texts['data']


class _Foreign(BagError):
    """Whoever sent the message speaks of something else."""


def _shown(error: Exception) -> str:
    return str(error) if isinstance(error, BagError) else repr(error)


def _object(text: str) -> Mapping[str, Any]:
    text = text.strip('\ufeff\0 \r\n\t')
    if not text.startswith('{'):
        msg = f'{text[:40]!r} is no JSON object'
        raise (BagError if 'success' in text.lower() else _Foreign)(msg)
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f'{twice} is there twice'
        raise BagError(msg)
    return content


def _episode(content: Mapping[str, Any]) -> Episode:
    if 'success' not in content:
        msg = f'no success in it, only {", ".join(content)}'
        raise (BagError if 'success' in repr(content).lower() else _Foreign)(msg)
    success, duration = content['success'], content.get('duration_s')
    if success not in (True, False):
        msg = f'success is {success!r}; it must be true or false'
        raise BagError(msg)
    duration = math.nan if duration is None else duration
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        msg = f'duration_s is {duration!r}; it must be a number of seconds'
        raise BagError(msg)
    if success and not 0.0 <= duration < math.inf:
        msg = f'duration_s is {duration}; an episode that succeeded took so many seconds'
        raise BagError(msg)
    trial = f'{content.get("seed", "")}/{content.get("episode", "")}'.strip('/')
    return Episode(bool(success), float(duration), trial)
