# SPDX-License-Identifier: Apache-2.0
"""
Frames of a demonstration: what a recording has, on the policy's time grid.

Frame k belongs to t_k = t_0 + k / policy rate, where t_0 is that of a command: its observation is
the newest message up to t_k of every stream, its action the newest command up to half a period
later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from async_chunking.bags.files import Bag
from async_chunking.bags.wire import Series, joint_values, key_of
from async_chunking.dataset.evidence import check_range
from async_chunking.dataset.footage import Footage, RecordedCamera, TopicTimes, newest
from async_chunking.dataset.recorded import Topics
from async_chunking.dataset.writing import DatasetError, Demonstration
from async_chunking.executor.turns import TURN
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.robot.wiring import WITH_JOINTS, Wire


def frame_times(
    commands: np.ndarray, robot: Embodiment, start: int, stop: int, path: Path
) -> np.ndarray:
    """Return the times of the frames from the first command after `start` to `stop` [T] [ns]."""
    period = 1e9 / robot.policy.policy_rate_hz
    sent = commands[(commands >= start) & (commands <= stop)]
    frames = round((stop - sent[0]) / period) + 1 if len(sent) else 0
    if frames < 2:
        msg = f'{path}: only {frames} frames of {period / 1e9:g} s have observation and command'
        raise DatasetError(msg)
    return sent[0] + np.round(np.arange(frames) * period).astype(np.int64)


def numbers_at(
    topics: Topics, commands: Sequence[Wire], robot: Embodiment, times: np.ndarray, path: Path
) -> Demonstration:
    """Return what was observed and commanded at the times of the frames [ns]."""
    features = {
        name: _joined(topics, 'measured', robot.sources, robot, times, path)[
            :, _places(stream, robot)
        ]
        if stream.kind == 'measured'
        else _newest(topics['stream', name], times, f'{path}: {name}')
        for name, stream in robot.observations.items()
        if stream.is_numeric
    }
    later = times + int(0.5e9 / robot.policy.policy_rate_hz)
    action = _joined(topics, 'command', commands, robot, later, path)
    if any(robot.continuous):
        action = _wrapped(action, features, robot)
    features['action'] = action
    check_range(features, robot, 1.0 / robot.policy.policy_rate_hz, path)
    return Demonstration(features)


def footage_at(
    bag: Bag, robot: Embodiment, moments: Mapping[str, TopicTimes], times: np.ndarray
) -> dict[str, Footage]:
    """Return what each camera showed at the times of the frames [ns]."""
    cameras = {
        name: (RecordedCamera(bag, shown.topic, robot.observations[name]), shown)
        for name, shown in moments.items()
        if shown.of_camera
    }
    return {
        name: Footage(camera, shown.at(times, str(bag.path)))
        for name, (camera, shown) in cameras.items()
    }


def tasks_at(
    moments: Mapping[str, TopicTimes], times: np.ndarray, instruction: str
) -> tuple[str, ...]:
    """Return what the policy was told at the times of the frames [ns]."""
    for said in moments.values():
        if not said.of_camera:
            return said.told(times, instruction)
    return (instruction,) * len(times)


def _wrapped(
    action: np.ndarray, features: Mapping[str, np.ndarray], robot: Embodiment
) -> np.ndarray:
    """Return commands of joints that turn without end within half a turn of where they were."""
    near = np.zeros_like(action)  # Of a joint that is not observed: between -π and π.
    for name, stream in robot.observations.items():
        if stream.kind in WITH_JOINTS:
            near[:, _places(stream, robot)] = features[name]
    return action + np.where(robot.continuous, TURN * np.round((near - action) / TURN), 0.0)


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
    return series.values[newest(series.stamps, times, f'{what} said')]
