# SPDX-License-Identifier: Apache-2.0
"""
From the messages of a recording to runs, piece by piece.

Orders come from run ids, request ids and ticks inside the messages, never from time stamps: a
clock that is set while recording changes nothing. A recording of any length needs the memory of
one piece: some thousand ticks, and the chunks that have not taken over yet.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from async_chunking.bags.columns import LeftOut, MessageGroup, decode_each, definitions
from async_chunking.bags.definitions import BagError, Definitions
from async_chunking.bags.exchanges import (
    CHUNK_DEFAULTS,
    REQUEST_DEFAULTS,
    Exchanges,
    Rates,
    RunId,
)
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Message, Topic
from async_chunking.bags.namespaces import STEP, STEPS, namespace_of
from async_chunking.bags.snapshots import Snapshots, Span
from async_chunking.bags.texts import (
    EPISODE_TOPIC,
    SNAPSHOT_TOPIC,
    TEXT,
    Texts,
)
from async_chunking.bags.ticks import STEP_DEFAULTS, Ticks
from async_chunking.metrics.record import Episode, Run

REQUEST = 'async_chunking/msg/ChunkRequest'
CHUNK = 'async_chunking/msg/ActionChunk'

_PIECE = 4096  # Ticks.
_BEGUN = 0.5  # Share of an episode that its run has lasted at least when it ends.
_LAG = 64  # Ticks by which a chunk may be recorded after the command that it led to.


class RunKey(NamedTuple):
    """One activation of an executor under one strategy."""

    topic: str
    run_id: int
    strategy: str

    @property
    def namespace(self) -> str:
        """Namespace of the robot, as topics have it: '/left', or ''."""
        return namespace_of(self.topic)

    @property
    def run(self) -> RunId:
        """Run of that robot, under whatever strategy."""
        return self.namespace, self.run_id


class _Tick(NamedTuple):
    key: RunKey
    number: float


class Piece(NamedTuple):
    """Ticks of a run that follow those of the piece before."""

    key: RunKey
    run: Run


class RunReader:
    """
    Reads one recording once.

    Args:
        bag: The recording; its `problems` grow while it is read.

    Attributes:
        ticks: What is known of the ticks of each run.
        episodes: Attempts at the task, by run.
        spans: Where each run lies among the messages.
        snapshots: Limits, parameters and versions, by the robot's namespace and place.
        exchanges: Requests and chunks that are still open, rates, checkpoints.
    """

    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self.ticks: dict[RunKey, Ticks] = defaultdict(Ticks)
        self.episodes: dict[RunKey, list[Episode]] = defaultdict(list)
        self.spans: dict[RunKey, Span] = {}
        self.snapshots = Snapshots()
        self.exchanges = Exchanges()
        self._texts = Texts()
        self._left = LeftOut()
        self._raw: dict[Topic, list[bytes]] = defaultdict(list)
        self._places: dict[Topic, list[int]] = defaultdict(list)
        self._definitions: dict[Topic, Definitions] = {}
        self._current: dict[str, _Tick] = {}
        self._ends: list[tuple[_Tick, Episode]] = []
        self._alone: Counter[str] = Counter()

    def pieces(self) -> Iterator[Piece]:
        """Yield the runs in pieces; those of several runs may alternate."""
        for place, message in enumerate(self.bag.messages(_wanted)):
            topic = message.topic
            if topic.type == TEXT:
                self._read_text(message, place)
                continue
            raw = self._raw[topic]
            raw.append(message.data)
            self._places[topic].append(place)
            if topic.type == STEP and len(raw) >= _PIECE + _LAG:
                yield from self._flush(_LAG)
        yield from self._flush(0)
        self._end_episodes()
        for one, two in self._at_once():
            self._problem(
                f'run {two.run_id:x} was told while run {one.run_id:x} ran, on {one.topic}: two '
                'executors, or noise; both are reported'
            )
        for problem in self._left.sentences():
            self._problem(problem)
        self.bag.problems += self._texts.problems(self.bag)
        for key, ticks in self.ticks.items():
            for problem in ticks.problems():
                self._problem(f'run {key.run_id:x} ({key.strategy}): {problem}')

    def _problem(self, sentence: str) -> None:
        self.bag.problems.append(f'{self.bag.path}: {sentence}')

    def _flush(self, lag: int) -> Iterator[Piece]:
        """Turn the messages so far into pieces, but for the last `lag` ticks."""
        # Requests before the chunks that answer them, both before the ticks on which they act.
        for kind in (REQUEST, CHUNK, STEP):
            for topic in [t for t in self._raw if t.type == kind and self._raw[t]]:
                raw, places = self._raw[topic], self._places[topic]
                end = max(len(raw) - lag, 0) if kind == STEP else len(raw)
                self._raw[topic], self._places[topic] = raw[end:], places[end:]
                self._left.saw(topic.name, end)
                try:
                    yield from self._take(topic, raw[:end], np.array(places[:end]))
                except (BagError, KeyError) as error:
                    self._left.lost(topic.name, end, str(error))

    def _take(self, topic: Topic, raw: Sequence[bytes], places: np.ndarray) -> Iterator[Piece]:
        lost = partial(self._left.lost, topic.name)
        groups = decode_each(raw, self._types(topic), topic.type, lost)
        self._say_defaults(topic, groups)
        if topic.type == STEP:
            yield from self._split(topic, groups, places)
            if groups:
                self._current[namespace_of(topic.name)] = _newest(topic, groups)
            return
        for group in groups:
            if topic.type == REQUEST:
                self.exchanges.add_requests(namespace_of(topic.name), group)
            else:
                self.exchanges.add_chunks(namespace_of(topic.name), group)

    def _say_defaults(self, topic: Topic, groups: Sequence[MessageGroup]) -> None:
        """Name the numbers that are assumed since messages of that version have none."""
        for field, value in _DEFAULTS[topic.type].items():
            if groups and field not in groups[0].arrays and not np.isnan(value):
                sentence = f'topic {topic.name}: its messages have no {field}, read as {value:g}'
                if (known := f'{self.bag.path}: {sentence}') not in self.bag.problems:
                    self.bag.problems.append(known)

    def _split(
        self, topic: Topic, groups: Sequence[MessageGroup], places: np.ndarray
    ) -> Iterator[Piece]:
        """Join what belongs to one run."""
        parts: dict[RunKey, list[tuple[MessageGroup, np.ndarray]]] = defaultdict(list)
        for group in groups:
            for run_id in np.unique(group['run_id']).tolist():
                key = RunKey(topic.name, run_id, group.texts['strategy'])
                parts[key].append((group, np.flatnonzero(group['run_id'] == run_id)))
        newest: dict[RunId, int] = defaultdict(int)
        for key, rows in parts.items():
            its = np.concatenate([places[group.index[index]] for group, index in rows])
            first = self.spans[key].first if key in self.spans else int(its.min())
            self.spans[key] = Span(first, int(its.max()))
            ticks = self.ticks[key]
            try:
                columns = ticks.take(rows)
            except BagError as error:  # That run alone.
                self._left.lost(topic.name, len(its), str(error))
                columns = None
            if columns is not None:
                rates = self.exchanges.rates.get(key.run, Rates())
                exchanges = self.exchanges.of(key.run, columns)
                yield Piece(key, ticks.run(columns, key.strategy, rates, exchanges))
                newest[key.run] = max(newest[key.run], int(columns['request_id'].max()))
        for run, number in newest.items():
            self.exchanges.forget(run, number)

    def _types(self, topic: Topic) -> Definitions:
        if topic not in self._definitions:
            self._definitions[topic] = definitions(topic)
            if not topic.definition:
                self._problem(
                    f'topic {topic.name}: the definition of {topic.type} is not embedded; '
                    'read with the one of this version'
                )
        return self._definitions[topic]

    def _read_text(self, message: Message, place: int) -> None:
        robot = namespace_of(message.topic.name)
        if _last_name(message.topic) == SNAPSHOT_TOPIC:
            if (content := self._texts.content(message)) is not None:
                self.snapshots.add(robot, place, content)
            return
        newest = self._latest(robot)
        episode = self._texts.episode(message, newest and newest.key)
        if episode and newest:
            self._ends.append((newest, episode))
        elif episode:
            self._alone[message.topic.name] += 1

    def _latest(self, robot: str) -> _Tick | None:
        """Return the newest tick of a robot."""
        for topic, raw in self._raw.items():
            if topic.type == STEP and namespace_of(topic.name) == robot:
                for message in reversed(raw):
                    if groups := decode_each([message], self._types(topic), topic.type, _unheard):
                        return _newest(topic, groups)
        return self._current.get(robot)

    def _at_once(self) -> Iterator[tuple[RunKey, RunKey]]:
        """Yield runs of one topic of which one lies within the other."""
        spans = sorted(self.spans.items(), key=lambda item: (item[0].topic, item[1]))
        for (one, outer), (two, inner) in pairwise(spans):
            if one.topic == two.topic and one.run_id != two.run_id and inner.first < outer.last:
                yield one, two

    def _end_episodes(self) -> None:
        """Give the episodes to their runs; one that began long before its run is of another."""
        early: Counter[str] = Counter()
        for (key, tick), episode in self._ends:
            if tick * self.ticks[key].period < _BEGUN * episode.duration:
                early[f'topic {key.namespace}/{EPISODE_TOPIC}'] += 1
            else:
                self.episodes[key].append(episode)
        for topic, count in early.items():
            self._problem(f'{topic}: {count} episodes began before their run did; left out')
        for topic, count in self._alone.items():
            self._problem(f'topic {topic}: {count} episodes of no run, as no command of '
                          f'{namespace_of(topic)}/{STEPS} came before; left out')  # fmt: skip


_DEFAULTS = {STEP: STEP_DEFAULTS, REQUEST: REQUEST_DEFAULTS, CHUNK: CHUNK_DEFAULTS}


def _unheard(count: int, reason: str) -> None:
    """Leave out what is counted when its piece is read."""


def _newest(topic: Topic, groups: Sequence[MessageGroup]) -> _Tick:
    """Return the last of some ticks."""
    group = max(groups, key=lambda group: group.index[-1])
    key = RunKey(topic.name, int(group['run_id'][-1]), group.texts['strategy'])
    ticks = group.arrays.get('tick')
    return _Tick(key, math.inf if ticks is None else int(ticks[-1]))


def _wanted(topic: Topic) -> bool:
    texts = (SNAPSHOT_TOPIC, EPISODE_TOPIC)
    return topic.type in (STEP, REQUEST, CHUNK) or (
        topic.type == TEXT and _last_name(topic) in texts
    )


def _last_name(topic: Topic) -> str:
    return topic.name.rpartition('/')[2]
