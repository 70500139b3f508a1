#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write bags as `ros2 bag record -a` on a Kinova Gen3 leaves them, for those who have none yet.

A person leads the arm named `leader` by hand, the arm named `gen3` follows and is commanded, both
in one recording: Jazzy's messages, MCAP, joints in the driver's order with a finger among them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

JOINTS = [f'joint_{number}' for number in range(1, 8)]
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
STATES = 'sensor_msgs/msg/JointState'
RATE, SECONDS, BAGS = 50, 6.0, 6

store = get_typestore(Stores.ROS2_JAZZY)
types = store.types


def header(seconds: float):
    """Return a header of a time [s]."""
    nanoseconds = round(seconds * 1e9)
    time = types['builtin_interfaces/msg/Time'](*divmod(nanoseconds, 10**9))
    return types['std_msgs/msg/Header'](time, '')


def pose(seconds: float, offset: float) -> np.ndarray:
    """Return a wave of all joints from rest to rest [7] [rad]."""
    share = 0.5 - 0.5 * np.cos(np.pi * min(seconds / SECONDS, 1.0))
    return np.array([0.4, 0.3, -0.4, -0.6, 0.3, 0.4, 0.5]) * share + offset


def states(seconds: float, positions: np.ndarray):
    """Return what the driver says: a finger first, joints in its own order."""
    order = [*reversed(range(7))]
    names = ['finger', *(JOINTS[i] for i in order)]
    values = np.array([0.1, *positions[order]])
    none = np.zeros(0)
    return types[STATES](header(seconds), names, values, none, none)


def trajectory(seconds: float, positions: np.ndarray):
    """Return a command to be at some positions 40 ms later."""
    none = np.zeros(0)
    soon = types['builtin_interfaces/msg/Duration'](0, 40_000_000)
    point = types['trajectory_msgs/msg/JointTrajectoryPoint'](positions, none, none, none, soon)
    return types[TRAJECTORY](header(seconds), JOINTS, [point])


def record(path: Path, offset: float) -> None:
    """Write one recording of both arms."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {
            name: writer.add_connection(name, kind, typestore=store)
            for name, kind in (
                ('/leader/joint_states', STATES),
                ('/gen3/joint_states', STATES),
                ('/gen3/joint_trajectory_controller/joint_trajectory', TRAJECTORY),
            )
        }
        leader, follower, command = topics.values()
        for tick in range(round(SECONDS * RATE)):
            now = 1.7e9 + tick / RATE
            here, there = pose(tick / RATE, offset), pose((tick + 1) / RATE, offset)
            for connection, message, late in (
                (leader, states(now, there + 0.5), 0.0),
                (follower, states(now, here), 0.001),
                (command, trajectory(now, there), 0.002),
            ):
                data = store.serialize_cdr(message, connection.msgtype)
                writer.write(connection, round((now + late) * 1e9), data)


if __name__ == '__main__':
    folder = Path(sys.argv[1])
    for number in range(BAGS):
        record(folder / f'wave_{number}', 0.02 * number)
    print(f'{folder}: {BAGS} bags')
