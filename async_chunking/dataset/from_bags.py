# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations from recordings: what was observed and commanded, on the policy's time grid.

A recording holds the topics that the robot's description names (`record:=DIR` of `up` and the
launch files records them). Frame k belongs to t_k = t_0 + k / policy rate, where t_0 is that of a
command: its observation is the newest message up to t_k of every stream, its action the newest
command up to half a period later. Where the recording tells of episodes, those that succeeded
become one demonstration each; else all of it is one.

Commands are those of `control_step`, which is the same for every robot; a recording without it is
read by the topics of the robot's driver. Of several robots in a recording one is read, by its
namespace.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.bags.clock import Clock, clock_of, set_back
from async_chunking.bags.definitions import BagError, own_store
from async_chunking.bags.files import Bag, find
from async_chunking.bags.namespaces import STEPS, full, robot_namespace
from async_chunking.bags.wire import (
    KINDS,
    TIMES,
    Series,
    Wanted,
    key_of,
    of_command,
    of_source,
    ours,
    read,
)
from async_chunking.dataset.writing import (
    DatasetError,
    Demonstration,
    Description,
    require_empty,
    write,
)
from async_chunking.executor.turns import TURN
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.robot.wiring import Wire

_STALE = 0.5  # An observation or a command older than this is no longer one [s].
_EPISODE = 'episode'

Key = tuple[str, Hashable]  # 'stream', 'measured' or 'command', and its name or `key_of` it.
Said = Mapping[Key, Series]
Told = Sequence[tuple[int, Mapping[str, Any]]]  # Stamp [ns] and content of each episode's end.


def convert(
    paths: Sequence[Path],
    robot: Embodiment,
    out: Path,
    instruction: str,
    namespace: str | None = None,
) -> tuple[int, list[str]]:
    """
    Write the demonstrations of some recordings as one data set.

    Args:
        paths: Recordings, or folders of them.
        robot: Whose topics to read.
        out: New folder.
        instruction: What a language-conditioned policy would be told.
        namespace: Namespace of the robot; None where only one is in the recordings.

    Returns:
        How many demonstrations there are, and what was left out, a sentence each.

    Raises:
        DatasetError: None is left, or `out` is not empty, or the robot has streams of images.
        BagError: A path holds no recording.
    """
    require_empty(out)
    _check_streams(robot)
    episodes: list[Demonstration] = []
    problems: list[str] = []
    for bag in find(paths):
        found, left_out = demonstrations(bag, robot, namespace)
        episodes += found
        problems += dict.fromkeys([*bag.problems, *left_out])
    if not episodes:
        reasons = '; '.join(problems) or 'no recording was found'
        msg = f'no demonstration in {", ".join(map(str, paths))}: {reasons}'
        raise DatasetError(msg)
    write(out, describe(robot, instruction), episodes)
    return len(episodes), problems


def describe(robot: Embodiment, instruction: str) -> Description:
    """Return what all demonstrations of a robot have in common."""
    names = {
        name: stream.joints or robot.joint_names
        if stream.kind in ('joint_state', 'measured')
        else tuple(f'{stream.topic}_{i}' for i in range(stream.size or 0))
        for name, stream in robot.observations.items()
    }
    features = {**names, 'action': robot.joint_names}
    return Description(robot.name, robot.policy.policy_rate_hz, instruction, features)


def demonstrations(
    bag: Bag, robot: Embodiment, namespace: str | None = None
) -> tuple[list[Demonstration], list[str]]:
    """Return the demonstrations of one recording, and what was left out."""
    try:
        wanted = _wanted(robot)
        namespace = robot_namespace(bag, {what.topic for what in wanted.values()}, namespace)
        said, clock = _said(bag, wanted, namespace)
        told = _episodes(bag, namespace, clock)
        commands = _commands(bag, robot, said)
        spans = _spans(bag, said, commands, told)
    except (DatasetError, BagError) as error:
        return [], [str(error)]
    found: list[Demonstration] = []
    problems = [f'{bag.path}: {len(told) - len(spans)} episodes failed'] * (len(told) > len(spans))
    problems += [
        f'{bag.path}: the clock was set by {seconds:+.1f} s; times are those of the executor'
        for seconds in clock.steps
    ]
    for start, stop in spans:
        try:
            found.append(_cut(said, commands, robot, start, stop, bag.path))
        except DatasetError as error:
            problems.append(str(error))
    return found, problems


def _spans(bag: Bag, said: Said, commands: Sequence[Wire], told: Told) -> list[tuple[int, int]]:
    """Return where demonstrations begin and end [ns]."""
    wires = [said['command', key_of(command)] for command in commands]
    needed = {_shown(key): series for key, series in said.items() if key[0] != 'command'}
    needed |= {_shown(('command', key_of(c))): said['command', key_of(c)] for c in commands}
    silent = [name for name, series in needed.items() if not len(series.stamps)]
    if silent:
        msg = f'{bag.path}: nothing was recorded of {", ".join(silent)}'
        raise DatasetError(msg)
    begin = max(int(series.stamps[0]) for series in needed.values())
    if not told:
        return [(begin, max(int(series.stamps[-1]) for series in wires))]
    return [
        (max(begin, stop - round(float(episode['duration_s']) * 1e9)), stop)
        for stop, episode in told
        if episode['success']
    ]


def _shown(key: Key) -> str:
    """Return the topic, with its joints as it may hold others too, or the name of a stream."""
    name = key[1]
    return name if isinstance(name, str) else f'{name.topic} ({", ".join(name.joints)})'


def _cut(
    said: Said, commands: Sequence[Wire], robot: Embodiment, start: int, stop: int, path: Path
) -> Demonstration:
    """Put what happened from `start` to `stop` [ns] on the policy's time grid."""
    period = 1e9 / robot.policy.policy_rate_hz
    sent = said['command', key_of(commands[0])].stamps
    sent = sent[(sent >= start) & (sent <= stop)]
    frames = round((stop - sent[0]) / period) + 1 if len(sent) else 0
    if frames < 2:
        msg = f'{path}: only {frames} frames of {period / 1e9:g} s have observation and command'
        raise DatasetError(msg)
    _check_gaps(said, int(sent[0]), stop, path)
    times = sent[0] + np.round(np.arange(frames) * period).astype(np.int64)
    features = {
        name: _joined(said, 'measured', robot.sources, robot, times, path)[
            :, _places(stream, robot)
        ]
        if stream.kind == 'measured'
        else _newest(said['stream', name], times, f'{path}: {name}')
        for name, stream in robot.observations.items()
    }
    action = _joined(said, 'command', commands, robot, times + int(period / 2), path)
    _wrap(features, action, robot)
    return Demonstration({**features, 'action': action})


def _wrap(features: Mapping[str, np.ndarray], action: np.ndarray, robot: Embodiment) -> None:
    """Tell commands of joints that turn without end within half a turn of what was measured."""
    state = features.get('observation.state')
    endless = np.array(robot.continuous)
    if state is not None and state.shape == action.shape and endless.any():
        turns = np.round((state - action) / TURN)
        action += np.where(endless, TURN * turns, 0.0)


def _check_gaps(said: Said, start: int, stop: int, path: Path) -> None:
    """Refuse a time in which nothing at all was recorded: every stream would be blamed for it."""
    stamps = np.sort(np.concatenate(_column(said, 0)))
    stamps = stamps[(stamps >= start) & (stamps <= stop)]
    gaps = np.diff(stamps) * 1e-9
    if len(gaps) and gaps.max() > _STALE:
        at = (stamps[gaps.argmax()] - start) * 1e-9
        msg = (
            f'{path}: nothing at all was recorded for {gaps.max():.1f} s after {at:.1f} s: it was '
            'paused, or the clock was set; record it again'
        )
        raise DatasetError(msg)


def _places(stream: Stream, robot: Embodiment) -> list[int]:
    return [robot.joint_names.index(name) for name in stream.joints or robot.joint_names]


def _joined(
    said: Said,
    side: str,
    wires: Sequence[Wire],
    robot: Embodiment,
    times: np.ndarray,
    path: Path,
) -> np.ndarray:
    """Return all joints at some times [n, D], from the topics that hold some of them each."""
    joints = np.empty((len(times), len(robot.joint_names)))
    for wire in wires:
        columns = [robot.joint_names.index(name) for name in wire.joints]
        values = _newest(said[side, key_of(wire)], times, f'{path}: {wire.topic}')
        joints[:, columns] = ours(values, wire)
    return joints


def _newest(series: Series, times: np.ndarray, what: str) -> np.ndarray:
    """Return the newest values [n, k] up to some times [n] [ns]."""
    index = np.searchsorted(series.stamps, times, side='right') - 1
    ages = np.where(index < 0, np.inf, (times - series.stamps[index]) / 1e9)
    late = np.flatnonzero(ages > _STALE)
    if late.size:
        seconds = (times[late[0]] - times[0]) / 1e9
        msg = f'{what} said nothing for {_STALE} s until {seconds:.1f} s; record it again'
        raise DatasetError(msg)
    return series.values[index]


# --- topics -------------------------------------------------------------------------------------


def _check_streams(robot: Embodiment) -> None:
    for stream in robot.observations.values():
        if stream.kind not in {'measured', *KINDS}:
            msg = f'{robot.name}: {stream.topic} is of kind {stream.kind}, which is not converted'
            raise DatasetError(msg)


def _wanted(robot: Embodiment) -> dict[Key, Wanted]:
    """Return everything that is observed or commanded."""
    wanted: dict[Key, Wanted] = {}
    for name, stream in robot.observations.items():
        if stream.kind == 'measured':
            wanted |= {('measured', key_of(s)): of_source(s) for s in robot.sources}
        else:
            joints = stream.joints or robot.joint_names
            wanted['stream', name] = Wanted(stream.topic, stream.kind, joints)
    wanted |= {('command', key_of(c)): of_command(c) for c in robot.commands if c.sink in KINDS}
    wanted['command', key_of(_steps(robot))] = Wanted(STEPS, STEPS, robot.joint_names)
    return wanted


def _steps(robot: Embodiment) -> Wire:
    """Return where the executor tells all joints at once."""
    return Wire(topic=STEPS, joints=robot.joint_names)


_TIMES: Key = ('times', STEPS)


def _said(bag: Bag, wanted: Mapping[Key, Wanted], namespace: str) -> tuple[Said, Clock]:
    """Return what was recorded, by a clock that was never set, and that clock."""
    parts: dict[Key, list[Series]] = defaultdict(list)
    for key, series in read(bag, {**wanted, _TIMES: Wanted(STEPS, TIMES)}, namespace):
        parts[key].append(series)
    said = {
        key: Series(*map(np.concatenate, zip(*parts[key], strict=True)))
        if parts[key]
        else Series(np.empty(0, np.int64), np.empty((0, 0)), np.empty(0, np.int64))
        for key in (*wanted, _TIMES)
    }
    steps = said.pop(_TIMES)
    emitted, runs = steps.values.reshape(-1, 2).T.astype(np.int64)
    clock = clock_of(steps.places, steps.stamps, emitted, runs)
    if not len(emitted) and (seconds := set_back(_column(said, 2), _column(said, 0))):
        msg = (
            f'{bag.path}: the clock went back by {seconds:.1f} s while it was recorded, and there '
            f'is no {STEPS} to tell the time by; record it again'
        )
        raise DatasetError(msg)
    return {key: _in_order(series, clock) for key, series in said.items()}, clock


def _in_order(series: Series, clock: Clock) -> Series:
    stamps = clock.corrected(series.places, series.stamps)
    order = np.argsort(stamps, kind='stable')
    return Series(stamps[order], series.values[order], series.places[order])


def _column(said: Said, index: int) -> list[np.ndarray]:
    return [series[index] for series in said.values()]


def _commands(bag: Bag, robot: Embodiment, said: Said) -> Sequence[Wire]:
    """Return where to read the commands."""
    steps = said['command', key_of(_steps(robot))]
    if len(steps.stamps):
        lacking = np.flatnonzero(np.isnan(steps.values).any(axis=0))
        if lacking.size:
            joint = robot.joint_names[lacking[0]]
            msg = f'{bag.path}: {STEPS} lacks {joint}; is it of another robot than {robot.name}?'
            raise DatasetError(msg)
        return (_steps(robot),)
    for command in robot.commands:
        if command.sink not in KINDS:
            msg = (
                f'{bag.path}: there is no {STEPS}, and {command.topic} ({command.sink}) is an '
                f'action, whose goals are in no recording; record {STEPS} too'
            )
            raise DatasetError(msg)
    return robot.commands


def _episodes(bag: Bag, namespace: str, clock: Clock) -> Told:
    """Return when each episode of a robot ended, and what was told of it."""
    found, ticks = [], 0
    steps, ends = full(namespace, STEPS), full(namespace, _EPISODE)
    for message in bag.messages(lambda topic: topic.name in (steps, ends)):
        if message.topic.name == steps:
            ticks += 1
            continue
        content: Any = own_store().deserialize_cdr(message.data, message.topic.type)
        place = clock.places[ticks - 1] + 0.5 if 0 < ticks <= len(clock.places) else 0.0
        (stamp,) = clock.corrected(np.array([place]), np.array([message.stamp]))
        found.append((int(stamp), json.loads(content.data)))
    return found
