# SPDX-License-Identifier: Apache-2.0
"""What a recording has of one robot: observations, commands and episodes, by a clock never set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np

from async_chunking.bags.clock import Clock, SentTicks, clock_of, pace, set_back, steady
from async_chunking.bags.copies import marks_of
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag
from async_chunking.bags.mcap import Topic
from async_chunking.bags.namespaces import STEPS, full, namespace_of
from async_chunking.bags.texts import EPISODE_TOPIC, TEXT, Texts
from async_chunking.bags.wire import Series, key_of, of_command, of_source, read
from async_chunking.bags.wire_messages import KINDS, TIMES, Wanted
from async_chunking.dataset.writing import DatasetError
from async_chunking.metrics.record import Episode
from async_chunking.robot.embodiment import Embodiment
from async_chunking.robot.wiring import Wire

_SPEED = 0.15  # Share by which a clock is slower or faster, however it is disciplined.
_GAINED_S = 0.1  # A clock that gains more in a recording is told [s].

Key = tuple[str, Hashable]  # 'stream', 'measured' or 'command', and its name or `key_of` it.
Topics = Mapping[Key, Series]
Ends = Sequence[tuple[int, Episode]]  # When each ended [ns], and how.


def wanted_of(robot: Embodiment) -> dict[Key, Wanted]:
    """Return all numbers that are observed or commanded."""
    wanted: dict[Key, Wanted] = {}
    for name, stream in robot.observations.items():
        if stream.kind == 'measured':
            wanted |= {('measured', key_of(s)): of_source(s) for s in robot.sources}
        elif stream.is_numeric:
            joints = stream.joints or robot.joint_names
            wanted['stream', name] = Wanted(
                stream.topic, stream.kind, joints, size=stream.size or 0
            )
    wanted |= {('command', key_of(c)): of_command(c) for c in robot.commands if c.sink in KINDS}
    wanted['command', key_of(steps_of(robot))] = Wanted(STEPS, STEPS, robot.joint_names)
    return wanted


def steps_of(robot: Embodiment) -> Wire:
    """Return where the executor tells all joints at once."""
    return Wire(topic=STEPS, joints=robot.joint_names)


_TIMES: Key = ('times', STEPS)


def recorded(bag: Bag, wanted: Mapping[Key, Wanted], namespace: str) -> tuple[Topics, Clock]:
    """Return what was recorded, by a clock that was never set, and that clock."""
    parts: dict[Key, list[Series]] = defaultdict(list)
    for key, series in read(bag, {**wanted, _TIMES: Wanted(STEPS, TIMES)}, namespace):
        parts[key].append(series)
    topics = {
        key: _once(Series(*map(np.concatenate, zip(*parts[key], strict=True))))
        if parts[key]
        else Series(np.empty(0, np.int64), np.empty((0, 0)), np.empty(0, np.int64))
        for key in (*wanted, _TIMES)
    }
    told = next(key for key, what in wanted.items() if what.kind == STEPS)
    steps, topics[told] = _told(bag, topics.pop(_TIMES), topics[told])
    _, runs, _ = steps.values.reshape(-1, 3).T.astype(np.int64)
    if np.count_nonzero(np.diff(runs)) > 2 * len(np.unique(runs)):
        msg = f'{bag.path}: two executors told their commands at once; record one alone'
        raise DatasetError(msg)
    if not len(runs) and (seconds := set_back(column(topics, 2), column(topics, 0))):
        msg = (
            f'{bag.path}: the clock went back by {seconds:.2g} s while it was recorded, and there '
            f'is no {STEPS} to tell the time by; record it again'
        )
        raise DatasetError(msg)
    seen, first = np.unique(np.concatenate([*column(topics, 2), steps.places]), return_index=True)
    stamps = np.concatenate([*column(topics, 0), steps.stamps])[first]
    try:
        clock = clock_of(_steady(steps), seen, stamps)
    except BagError as error:
        msg = f'{bag.path}: {error}'
        raise DatasetError(msg) from None
    return {key: _in_order(series, clock) for key, series in topics.items()}, clock


def _steady(steps: Series) -> SentTicks:
    """
    Return when commands were sent, by the executor's clock; by a simulated one if that went on.

    Raises:
        BagError: Neither of them is that of the recorder.
    """
    emitted, runs, stamped = steps.values.reshape(-1, 3).T.astype(np.int64)
    ticks = SentTicks(steps.places, steps.stamps, emitted, runs)
    rate = pace(runs, emitted, steps.stamps)
    if not emitted.any() or abs(rate - 1.0) <= _SPEED:
        return ticks
    if abs(pace(runs, stamped, steps.stamps) - 1.0) <= _SPEED:
        return ticks._replace(emitted=stamped)
    msg = (
        f'the executor sent at {rate:.2g} times the rate that it says: a recording was played and '
        'recorded again; give the first one'
    )
    raise BagError(msg)


def _once(series: Series) -> Series:
    """Leave out what is there twice, as where a file and its copy are taken for splits."""
    marks = marks_of(0, series.stamps, series.values)
    return _rows(series, np.sort(np.unique(marks, return_index=True)[1]))


def _told(bag: Bag, times: Series, commands: Series) -> tuple[Series, Series]:
    """Return when the executor sent its commands, and them, without what is damaged or twice."""
    _, one, two = np.intersect1d(times.places, commands.places, return_indices=True)
    if not len(one):
        return times, commands
    times, commands = _rows(times, one), _rows(commands, two)
    emitted, runs, _ = times.values.T
    if not emitted.any():  # Of a version that did not tell.
        return times, commands
    known = np.flatnonzero(emitted > 0)
    first = np.unique(marks_of(runs, emitted, commands.values)[known], return_index=True)[1]
    kept = known[np.sort(first)]
    twice, unknown = len(known) - len(kept), len(emitted) - len(known)
    problems = {
        'have no time and are': unknown,
        'are there twice, as where a recording is played and recorded again; they are': twice,
    }
    bag.problems += [
        f'{bag.path}: {count} of {len(emitted)} messages of {STEPS} {what} left out'
        for what, count in problems.items()
        if count
    ]
    return _rows(times, kept), _rows(commands, kept)


def _rows(series: Series, index: np.ndarray) -> Series:
    return Series(*(column[index] for column in series))


def _in_order(series: Series, clock: Clock) -> Series:
    stamps = clock.corrected(series.places, series.stamps)
    kept = steady(series.places, stamps, clock)
    stamps, values, places = stamps[kept], series.values[kept], series.places[kept]
    order = np.argsort(stamps, kind='stable')
    return Series(stamps[order], values[order], places[order])


def told_of(clock: Clock) -> list[str]:
    """Return what is to be known of a recording's clock, a sentence each."""
    said = []
    if len(clock.steps):
        set_by = ', '.join(f'{seconds:+.2f} s' for seconds in clock.steps)
        said.append(f"the clock was set by {set_by}; times are the executor's")
    if abs(clock.gained) > _GAINED_S:
        said.append(
            f"the clock gained {clock.gained:+.2f} s on the executor's: it was slewed, or commands"
            " were ever longer on their way; times are the recorder's"
        )
    return said


def column(topics: Topics, index: int) -> list[np.ndarray]:
    """Return one attribute of all series."""
    return [series[index] for series in topics.values()]


def commands_of(bag: Bag, robot: Embodiment, topics: Topics) -> Sequence[Wire]:
    """Return where to read the commands."""
    steps = topics['command', key_of(steps_of(robot))]
    if len(steps.stamps):
        return (steps_of(robot),)
    for command in robot.commands:
        if command.sink not in KINDS:
            msg = (
                f'{bag.path}: there is no {STEPS}, and {command.topic} ({command.sink}) is an '
                f'action, whose goals are in no recording; record {STEPS} too'
            )
            raise DatasetError(msg)
    return robot.commands


def episodes_of(bag: Bag, wanted: Mapping[Key, Wanted], namespace: str, clock: Clock) -> Ends:
    """
    Return when each episode of a robot ended, and how.

    Args:
        bag: The recording; what cannot be understood is added to its `problems`.
        wanted: All else that was read; says where the episodes lie among it.
        namespace: Namespace of the robot.
        clock: Clock of the recording.

    Raises:
        DatasetError: Episodes ended, and of none is it known how.
    """
    ends, texts, place, before = [], Texts(), -1, 0
    elsewhere, others, known = Counter[str](), Texts(), set[str]()
    topic = full(namespace, EPISODE_TOPIC)
    names = {full(namespace, what.topic) for what in wanted.values()}

    def read_(candidate: Topic) -> bool:
        known.add(candidate.name)
        tells = candidate.type == TEXT and candidate.name.rpartition('/')[2] == EPISODE_TOPIC
        return tells or candidate.name in {topic, *names}

    for message in bag.messages(read_):
        if message.topic.name in names:
            place, before = place + 1, message.stamp
        elif message.topic.name != topic:
            elsewhere[message.topic.name] += others.episode(message) is not None
        elif (episode := texts.episode(message, clock.run_at(place))) is not None:
            ends.append((clock.between(place, before, message.stamp), episode))
    said = _of_nobody(elsewhere, known, {what.topic for what in wanted.values()}, namespace)
    if said and not ends:
        msg = f'{bag.path}: {said}; so it is not known how any of its episodes ended'
        raise DatasetError(msg)
    bag.problems += [f'{bag.path}: {said}; left out'] * bool(said)
    problems = texts.problems(bag)
    if texts.unknown and not ends:
        msg = f'{" ".join(problems)}; so it is not known how any of its episodes ended'
        raise DatasetError(msg)
    bag.problems += problems
    return ends


def _of_nobody(
    told: Mapping[str, int], known: Collection[str], names: Collection[str], namespace: str
) -> str:
    """Return which topic of episodes is in no robot's namespace; '' for none."""
    for topic, count in told.items():
        space = namespace_of(topic)
        if count and not any(full(space, name) in known for name in names if name[:1] != '/'):
            robot = f'the robot is in {namespace or "/"}'
            return f'topic {topic} tells how {count} episodes ended, {robot}'
    return ''
