# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations from recordings: what was observed and commanded, on the policy's time grid.

A recording holds the topics that the robot's description names (`async-chunking record` and the
launch files record them). Frame k belongs to t_k = t_0 + k / policy rate, where t_0 is that of a
command: its observation is the newest message up to t_k of every stream, its action the newest
command up to half a period later. Where the recording tells of episodes, those that succeeded
become one demonstration each; else all of it is one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import Bag, find
from async_chunking.bags.mcap import Topic
from async_chunking.dataset.writing import (
    DatasetError,
    Demonstration,
    Description,
    require_empty,
    write,
)
from async_chunking.embodiment import Embodiment, Stream
from async_chunking.wiring import Wire

_STALE = 0.5  # An observation or a command older than this is no longer one [s].
_EPISODE = 'episode'


@dataclass
class Series:
    """What a topic said, and when [ns]."""

    stamps: list[int] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)

    def before(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the newest values [n, dim] before `times` [n] [ns], and their ages [s]."""
        index = np.searchsorted(self.stamps, times, side='right') - 1
        ages = (times - np.asarray(self.stamps)[index]) / 1e9
        return np.stack(self.values)[index], np.where(index < 0, np.inf, ages)


def convert(
    paths: Sequence[Path], robot: Embodiment, out: Path, instruction: str
) -> tuple[int, list[str]]:
    """
    Write the demonstrations of some recordings as one data set.

    Args:
        paths: Recordings, or folders of them.
        robot: Whose topics to read.
        out: New folder.
        instruction: What a language-conditioned policy would be told.

    Returns:
        How many demonstrations there are, and what was left out, a sentence each.

    Raises:
        DatasetError: None is left, or `out` is not empty, or the robot has streams of images.
        BagError: A path holds no recording.
    """
    require_empty(out)
    _check_kinds(robot)
    episodes: list[Demonstration] = []
    problems: list[str] = []
    for bag in find(paths):
        found, left_out = demonstrations(bag, robot)
        episodes += found
        problems += [*bag.problems, *left_out]
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


def demonstrations(bag: Bag, robot: Embodiment) -> tuple[list[Demonstration], list[str]]:
    """Return the demonstrations of one recording, and what was left out."""
    observed, commanded, told = _read(bag, robot)
    silent = [name for name, series in (observed | commanded).items() if not series.stamps]
    if silent:
        return [], [f'{bag.path}: nothing was recorded of {", ".join(silent)}']
    begin = max(series.stamps[0] for series in (observed | commanded).values())
    end = max(series.stamps[-1] for series in commanded.values())
    spans = [(begin, end)]
    if told:
        spans = [
            (max(begin, stop - round(float(episode['duration_s']) * 1e9)), stop)
            for stop, episode in told
            if episode['success']
        ]
    found: list[Demonstration] = []
    problems = [f'{bag.path}: {len(told) - len(spans)} episodes failed'] * (len(told) > len(spans))
    for start, stop in spans:
        try:
            found.append(_cut(observed, commanded, robot, start, stop, bag.path))
        except DatasetError as error:
            problems.append(str(error))
    return found, problems


def _cut(
    observed: Mapping[str, Series],
    commanded: Mapping[str, Series],
    robot: Embodiment,
    start: int,
    stop: int,
    path: Path,
) -> Demonstration:
    """Put what happened from `start` to `stop` [ns] on the policy's time grid."""
    period = 1e9 / robot.policy.policy_rate_hz
    commands = np.asarray(commanded[robot.commands[0].topic].stamps)
    commands = commands[(commands >= start) & (commands <= stop)]
    frames = round((stop - commands[0]) / period) + 1 if len(commands) else 0
    if frames < 2:
        msg = f'{path}: only {frames} frames of {period / 1e9:g} s have observation and command'
        raise DatasetError(msg)
    times = commands[0] + np.round(np.arange(frames) * period).astype(np.int64)
    features = {
        name: _joined(observed, robot.sources, robot, times, path)[:, _places(stream, robot)]
        if stream.kind == 'measured'
        else _newest(observed[name], times, f'{path}: {name}')
        for name, stream in robot.observations.items()
    }
    action = _joined(commanded, robot.commands, robot, times + int(period / 2), path)
    return Demonstration({**features, 'action': action})


def _places(stream: Stream, robot: Embodiment) -> list[int]:
    return [robot.joint_names.index(name) for name in stream.joints or robot.joint_names]


def _joined(
    series: Mapping[str, Series],
    wires: Sequence[Wire],
    robot: Embodiment,
    times: np.ndarray,
    path: Path,
) -> np.ndarray:
    """Return all joints at some times [n, D], from the topics that hold some of them each."""
    joints = np.empty((len(times), len(robot.joint_names)))
    for wire in wires:
        columns = [robot.joint_names.index(name) for name in wire.joints]
        gain, bias = wire.affine
        values = _newest(series[wire.topic], times, f'{path}: {wire.topic}')
        joints[:, columns] = (values - bias) / gain
    return joints


def _newest(series: Series, times: np.ndarray, what: str) -> np.ndarray:
    values, ages = series.before(times)
    late = np.flatnonzero(ages > _STALE)
    if late.size:
        seconds = (times[late[0]] - times[0]) / 1e9
        msg = f'{what} said nothing for {_STALE} s until {seconds:.1f} s; record it again'
        raise DatasetError(msg)
    return values


# --- messages -----------------------------------------------------------------------------------


def _positions(message: Any, joints: Sequence[str]) -> np.ndarray:
    """Return the positions of a JointState in the robot's order, NaN where it lacks a joint."""
    where = {
        name: position for name, position in zip(message.name, message.position, strict=False)
    }
    return np.array([where.get(name, np.nan) for name in joints])


def _numbers(message: Any, joints: Sequence[str]) -> np.ndarray:
    del joints  # Unused.
    return np.asarray(message.data, dtype=np.float64)


def _last_point(message: Any, joints: Sequence[str]) -> np.ndarray:
    del joints  # Unused.
    return np.asarray(message.points[-1].positions, dtype=np.float64)


def _command(message: Any, joints: Sequence[str]) -> np.ndarray:
    del joints  # Unused.
    return np.atleast_1d(np.asarray(message.cmd, dtype=np.float64))


# Kind of stream, source or sink -> (type of message, its numbers).
_KINDS: dict[str, tuple[str, Callable[[Any, Sequence[str]], np.ndarray]]] = {
    'joint_state': ('sensor_msgs/msg/JointState', _positions),
    'float64_multi_array': ('std_msgs/msg/Float64MultiArray', _numbers),
    'joint_trajectory': ('trajectory_msgs/msg/JointTrajectory', _last_point),
    'interbotix_group': ('interbotix_xs_msgs/msg/JointGroupCommand', _command),
    'interbotix_single': ('interbotix_xs_msgs/msg/JointSingleCommand', _command),
}


def _check_kinds(robot: Embodiment) -> None:
    kinds = [(s.topic, s.kind) for s in robot.observations.values() if s.kind != 'measured']
    kinds += [(s.topic, s.kind) for s in robot.sources]
    kinds += [(c.topic, c.sink) for c in robot.commands]
    for topic, kind in kinds:
        if kind not in _KINDS:
            msg = (
                f'{robot.name}: {topic} is of kind {kind}, only {", ".join(_KINDS)} are converted'
            )
            raise DatasetError(msg)


def _read(
    bag: Bag, robot: Embodiment
) -> tuple[dict[str, Series], dict[str, Series], list[tuple[int, dict]]]:
    """Return the series of each observation and command topic, and what is told of episodes."""
    store = own_store()
    observed = {
        key: Series()
        for name, stream in robot.observations.items()
        for key in (
            [s.topic for s in robot.sources] if stream.kind == 'measured' else [name]
        )
    }  # fmt: skip
    commanded = {command.topic: Series() for command in robot.commands}
    wanted: dict[str, list[tuple[Series, str, Sequence[str]]]] = defaultdict(list)
    for name, stream in robot.observations.items():
        if stream.kind != 'measured':
            wanted[stream.topic].append(
                (observed[name], stream.kind, stream.joints or robot.joint_names)
            )
    for source in robot.sources:
        if source.topic in observed:
            wanted[source.topic].append((observed[source.topic], source.kind, source.driver_names))
    for command in robot.commands:
        series = commanded[command.topic]
        wanted[command.topic].append((series, command.sink, command.driver_names))
    told = []

    def known(topic: Topic) -> str:
        return next((t for t in (*wanted, _EPISODE) if f'/{topic.name}'.endswith(f'/{t}')), '')

    for message in bag.messages(lambda topic: bool(known(topic))):
        name, kind = known(message.topic), message.topic.type
        content: Any = store.deserialize_cdr(message.data, kind)
        if name == _EPISODE:
            told.append((message.stamp, json.loads(content.data)))
        for series, expected, joints in wanted.get(name, ()):
            if kind == _KINDS[expected][0]:
                series.stamps.append(message.stamp)
                series.values.append(_KINDS[expected][1](content, joints))
    return observed, commanded, told
