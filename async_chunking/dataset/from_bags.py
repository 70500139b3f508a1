# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations from recordings: what was observed and commanded, on the policy's time grid.

A recording holds the topics that the robot's description names (`record:=DIR` of `up` and the
launch files records them). Where it tells of episodes, those that succeeded become one
demonstration each; else all of it is one.

Commands are those of `control_step`, which is the same for every robot; a recording without it is
read by the topics of the robot's driver. Of several robots in a recording one is read, by its
namespace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from async_chunking.bags.copies import Part
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag, find
from async_chunking.bags.namespaces import robot_namespace
from async_chunking.bags.wire import key_of
from async_chunking.dataset.evidence import (
    Made,
    Marks,
    check_one_robot,
    complete,
    jumps,
    repeated,
)
from async_chunking.dataset.footage import TopicTimes, beside_numbers, moments_of
from async_chunking.dataset.gaps import cameras_of, check_gaps, late_start, title_of
from async_chunking.dataset.grid import footage_at, frame_times, numbers_at, tasks_at
from async_chunking.dataset.recorded import (
    Ends,
    Topics,
    commands_of,
    episodes_of,
    recorded,
    told_of,
    wanted_of,
)
from async_chunking.dataset.videos import require_encoder
from async_chunking.dataset.writing import (
    DatasetError,
    Description,
    require_empty,
    write,
)
from async_chunking.executor.turns import STATE
from async_chunking.robot.embodiment import Embodiment
from async_chunking.robot.wiring import WITH_JOINTS, Wire

_MOST = 0.5  # Share of an episode that must be recorded.


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
        DatasetError: None is left, or `out` is not empty, or videos cannot be written here.
        BagError: A path holds no recording.
    """
    require_empty(out)
    check_streams(robot)
    made: list[Made] = []
    whole: list[Part] = []
    problems: list[str] = []
    for bag in find(paths):
        one = demonstrations(bag, robot, namespace, instruction)
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


def check_streams(robot: Embodiment) -> None:
    """
    Refuse what cannot be written, before anything is read.

    Raises:
        DatasetError: There are cameras and no library for videos, or several texts at once.
    """
    if STATE not in robot.observations:
        known = ', '.join(robot.observations) or 'nothing'
        msg = f'{robot.name}: observations has {known}; a data set needs {STATE}'
        raise DatasetError(msg)
    streams = beside_numbers(robot)
    if any(stream.is_image for stream in streams.values()):
        require_encoder()
    texts = [name for name, stream in streams.items() if not stream.is_image]
    if len(texts) > 1:
        msg = f'{robot.name}: {" and ".join(texts)} are texts; a frame of a data set has one task'
        raise DatasetError(msg)


def describe(robot: Embodiment, instruction: str) -> Description:
    """Return what all demonstrations of a robot have in common."""
    names = {
        name: stream.joints or robot.joint_names
        if stream.kind in WITH_JOINTS
        else tuple(f'{stream.topic}_{i}' for i in range(stream.size or 0))
        for name, stream in robot.observations.items()
        if stream.is_numeric
    }
    features = {**names, 'action': robot.joint_names}
    endless = tuple(joint.name for joint in robot.joints if joint.continuous)
    cameras = {
        name: (stream.height or 0, stream.width or 0)
        for name, stream in robot.observations.items()
        if stream.is_image
    }
    rate = robot.policy.policy_rate_hz
    return Description(robot.name, rate, instruction, features, endless, cameras)


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


def demonstrations(
    bag: Bag, robot: Embodiment, namespace: str | None = None, instruction: str = ''
) -> Found:
    """Return the demonstrations of one recording, what each is of, and what is left out."""
    try:
        wanted = wanted_of(robot)
        numeric = {what.topic for what in wanted.values()}
        names = numeric | {stream.topic for stream in beside_numbers(robot).values()}
        namespace = robot_namespace(bag, names, namespace)
        topics, clock = recorded(bag, wanted, namespace)
        moments = moments_of(bag, robot, numeric, namespace, clock)
        ends = episodes_of(bag, wanted, namespace, clock)
        commands = commands_of(bag, robot, topics)
        needed = _needed(topics, commands, moments, bag.path, namespace)
        topics = complete(bag, wanted, needed)
        spans, short = _spans(topics, commands, ends, moments)
    except (DatasetError, BagError) as error:
        return Found([], [], [str(error)])
    made: list[Made] = []
    failed = sum(not episode.success for _, episode in ends)
    problems = [f'{bag.path}: {failed} episodes failed'] * bool(failed)
    late = late_start(topics, moments, bag.path)
    problems += [f'{bag.path}: {words}' for words in (*told_of(clock), *short)] + late
    marks = Marks.of(topics, topics['command', key_of(commands[0])], clock)
    for start, stop in spans:
        try:
            gaps = check_gaps(topics, moments, start, stop, bag.path)
            sent = topics['command', key_of(commands[0])].stamps
            times = frame_times(sent, robot, start, stop, bag.path)
            demonstration = replace(
                numbers_at(topics, commands, robot, times, bag.path),
                pictures=footage_at(bag, robot, moments, times),
                tasks=tasks_at(moments, times, instruction),
            )
            made.append(Made(demonstration, namespace, *marks.parts(bag.path, start, stop)))
            problems += [*gaps, *jumps(demonstration.features, robot, bag.path)]
        except (DatasetError, BagError) as error:
            problems.append(str(error))
    return Found(made, [marks.whole(bag.path)], problems)


def _needed(
    topics: Topics,
    commands: Sequence[Wire],
    moments: Mapping[str, TopicTimes],
    path: Path,
    namespace: str,
) -> Topics:
    """Return the numbers observed, and the commands that are read; all must be there."""
    chosen = {('command', key_of(command)) for command in commands}
    needed = {key: s for key, s in topics.items() if key[0] != 'command' or key in chosen}
    silent = [title_of(key) for key, series in needed.items() if not len(series.stamps)]
    silent += [shown.topic for shown in cameras_of(moments) if not len(shown.stamps)]
    if silent:
        msg = (
            f'{path}: nothing was recorded of {", ".join(silent)} in namespace {namespace or "/"}'
        )
        raise DatasetError(msg)
    return needed


def _spans(
    topics: Topics, commands: Sequence[Wire], ends: Ends, moments: Mapping[str, TopicTimes]
) -> tuple[list[tuple[int, int]], list[str]]:
    """
    Return where demonstrations begin and end [ns], and what is left out, a sentence each.

    Each begins after the one before it; one is left out of which less than a half was recorded, as
    where it ended before that began and its message was latched.
    """
    begin = max(int(seen.stamps[0]) for seen in (*topics.values(), *cameras_of(moments)))
    if not ends:
        wires = [topics['command', key_of(command)] for command in commands]
        return [(begin, max(int(series.stamps[-1]) for series in wires))], []
    spans, problems = [], []
    for stop, episode in sorted(ends, key=lambda end: end[0]):
        there = (stop - begin) * 1e-9
        if there < _MOST * episode.duration:
            problems.append(
                f'an episode of {episode.duration:.2f} s ended {max(there, 0.0):.2f} s after the '
                'recording or the one before it began; left out'
            )
            continue
        if episode.success:
            spans.append((max(begin, stop - round(episode.duration * 1e9)), stop))
        begin = max(begin, stop + 1)
    return spans, problems
