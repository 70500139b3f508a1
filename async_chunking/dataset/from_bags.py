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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from async_chunking.bags.copies import Part
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag, find
from async_chunking.bags.namespaces import robot_namespace
from async_chunking.bags.wire import Series, WireKey, joint_values, key_of
from async_chunking.dataset.evidence import (
    Made,
    Marks,
    check_one_robot,
    check_range,
    complete,
    repeated,
)
from async_chunking.dataset.recorded import (
    Ends,
    Key,
    Topics,
    check_streams,
    column,
    commands_of,
    episodes_of,
    recorded,
    told_of,
    wanted_of,
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
from async_chunking.robot.wiring import WITH_JOINTS, Wire

_GAP_S = 0.1  # Of silence on all topics; longer is told [s].
_STALE_S = 0.5  # An observation or a command older than this is no longer one [s].


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
    check_streams(robot)
    made: list[Made] = []
    whole: list[Part] = []
    problems: list[str] = []
    for bag in find(paths):
        one = demonstrations(bag, robot, namespace)
        made += one.made
        whole += one.whole
        problems += dict.fromkeys([*bag.problems, *one.problems])
    check_one_robot(made)
    said = repeated(made, whole)
    problems += said.values()
    episodes = [one.demonstration for place, one in enumerate(made) if place not in said]
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
    endless = tuple(joint.name for joint in robot.joints if joint.continuous)
    return Description(robot.name, robot.policy.policy_rate_hz, instruction, features, endless)


class Found(NamedTuple):
    """
    What was found in a recording.

    Attributes:
        made: Demonstrations in it.
        whole: All commands of it, as one part; none if it cannot be read.
        problems: What is left out, a sentence each.
    """

    made: list[Made]
    whole: list[Part]
    problems: list[str]


def demonstrations(bag: Bag, robot: Embodiment, namespace: str | None = None) -> Found:
    """Return the demonstrations of one recording, what each is of, and what is left out."""
    try:
        wanted = wanted_of(robot)
        namespace = robot_namespace(bag, {what.topic for what in wanted.values()}, namespace)
        topics, clock = recorded(bag, wanted, namespace)
        ends = episodes_of(bag, wanted, namespace, clock)
        commands = commands_of(bag, robot, topics)
        needed = _needed(topics, commands, bag.path)
        topics = complete(bag, wanted, needed)
        spans = _spans(topics, commands, ends)
    except (DatasetError, BagError) as error:
        return Found([], [], [str(error)])
    made: list[Made] = []
    failed = sum(not episode.success for _, episode in ends)
    problems = [f'{bag.path}: {failed} episodes failed'] * bool(failed)
    problems += [f'{bag.path}: {words}' for words in told_of(clock)]
    marks = Marks.of(topics, topics['command', key_of(commands[0])], clock)
    for start, stop in spans:
        try:
            gap = _check_gaps(topics, start, stop, bag.path)
            demonstration = _cut(topics, commands, robot, start, stop, bag.path)
            problems += [gap] * bool(gap)
            made.append(Made(demonstration, namespace, *marks.parts(bag.path, start, stop)))
        except DatasetError as error:
            problems.append(str(error))
    return Found(made, [marks.whole(bag.path)], problems)


def _needed(topics: Topics, commands: Sequence[Wire], path: Path) -> Topics:
    """Return what is observed, and the commands that are read; all must be there."""
    chosen = {('command', key_of(command)) for command in commands}
    needed = {key: s for key, s in topics.items() if key[0] != 'command' or key in chosen}
    silent = [_shown(key) for key, series in needed.items() if not len(series.stamps)]
    if silent:
        msg = f'{path}: nothing was recorded of {", ".join(silent)}'
        raise DatasetError(msg)
    return needed


def _spans(topics: Topics, commands: Sequence[Wire], ends: Ends) -> list[tuple[int, int]]:
    """Return where demonstrations begin and end [ns]; each begins after the one before it."""
    begin = max(int(series.stamps[0]) for series in topics.values())
    if not ends:
        wires = [topics['command', key_of(command)] for command in commands]
        return [(begin, max(int(series.stamps[-1]) for series in wires))]
    spans = []
    for stop, episode in sorted(ends, key=lambda end: end[0]):
        if episode.success:
            spans.append((max(begin, stop - round(episode.duration * 1e9)), stop))
        begin = max(begin, stop + 1)
    return spans


def _shown(key: Key) -> str:
    """Return the topic, with its joints as it may hold others too, or the name of a stream."""
    name = key[1]
    return f'{name.topic} ({", ".join(name.joints)})' if isinstance(name, WireKey) else str(name)


def _cut(
    topics: Topics, commands: Sequence[Wire], robot: Embodiment, start: int, stop: int, path: Path
) -> Demonstration:
    """Put what happened from `start` to `stop` [ns] on the policy's time grid."""
    period = 1e9 / robot.policy.policy_rate_hz
    sent = topics['command', key_of(commands[0])].stamps
    sent = sent[(sent >= start) & (sent <= stop)]
    frames = round((stop - sent[0]) / period) + 1 if len(sent) else 0
    if frames < 2:
        msg = f'{path}: only {frames} frames of {period / 1e9:g} s have observation and command'
        raise DatasetError(msg)
    times = sent[0] + np.round(np.arange(frames) * period).astype(np.int64)
    features = {
        name: _joined(topics, 'measured', robot.sources, robot, times, path)[
            :, _places(stream, robot)
        ]
        if stream.kind == 'measured'
        else _newest(topics['stream', name], times, f'{path}: {name}')
        for name, stream in robot.observations.items()
    }
    action = _joined(topics, 'command', commands, robot, times + int(period / 2), path)
    if any(robot.continuous):
        action = _wrapped(action, features, robot)
    check_range({**features, 'action': action}, robot, period * 1e-9, path)
    return Demonstration({**features, 'action': action})


def _wrapped(
    action: np.ndarray, features: Mapping[str, np.ndarray], robot: Embodiment
) -> np.ndarray:
    """Return commands of joints that turn without end within half a turn of where they were."""
    near = np.zeros_like(action)  # Of a joint that is not observed: between -π and π.
    for name, stream in robot.observations.items():
        if stream.kind in WITH_JOINTS:
            near[:, _places(stream, robot)] = features[name]
    return action + np.where(robot.continuous, TURN * np.round((near - action) / TURN), 0.0)


def _check_gaps(topics: Topics, start: int, stop: int, path: Path) -> str:
    """
    Return where nothing at all was recorded for some frames; '' for nowhere.

    Raises:
        DatasetError: It was for so long that every stream would be blamed for it.
    """
    stamps = np.sort(np.concatenate(column(topics, 0)))
    stamps = stamps[(stamps >= start) & (stamps <= stop)]
    gaps = np.diff(stamps) * 1e-9
    if not len(gaps) or gaps.max() <= max(_GAP_S, 5.0 * float(np.median(gaps))):
        return ''
    at = (stamps[gaps.argmax()] - start) * 1e-9
    sentence = (
        f'{path}: nothing at all was recorded for {gaps.max():.2f} s after {at:.1f} s: it was '
        'paused, or the clock was set; '
    )
    if gaps.max() > _STALE_S:
        raise DatasetError(sentence + 'record it again')
    return sentence + 'what came before is held as long'


def _places(stream: Stream, robot: Embodiment) -> list[int]:
    return [robot.joint_names.index(name) for name in stream.joints or robot.joint_names]


def _joined(
    topics: Topics,
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
        values = _newest(topics[side, key_of(wire)], times, f'{path}: {wire.topic}')
        joints[:, columns] = joint_values(values, wire)
    return joints


def _newest(series: Series, times: np.ndarray, what: str) -> np.ndarray:
    """Return the newest values [n, k] up to some times [n] [ns]."""
    index = np.searchsorted(series.stamps, times, side='right') - 1
    ages = np.where(index < 0, np.inf, (times - series.stamps[index]) / 1e9)
    late = np.flatnonzero(ages > _STALE_S)
    if late.size:
        seconds = (times[late[0]] - times[0]) / 1e9
        msg = f'{what} said nothing for {_STALE_S} s until {seconds:.1f} s; record it again'
        raise DatasetError(msg)
    return series.values[index]
