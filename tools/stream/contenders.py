# SPDX-License-Identifier: Apache-2.0
"""
Other ways to send a command every 20 ms, to compare the executor node with.

Each is a process that publishes a command of as many joints at the same rate, and nothing else:
`python -m tools.stream.contenders KIND SECONDS FILE NAMESPACE NUMBER` writes the times of its
publications [ns, CLOCK_MONOTONIC] into FILE. Two kinds are no contenders: `peer` is the driver and
the policy that an executor node needs, without any work of its own, with NUMBER joint states a
second; `listen` writes when the commands of a contender, or of our node (NUMBER 1), were received.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import (
    Executor,
    ExternalShutdownException,
    MultiThreadedExecutor,
    SingleThreadedExecutor,
)
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep
from async_chunking.nodes import convert
from async_chunking.robot.embodiment import load

PERIOD = 0.02
_PATIENCE_S = 60.0  # For the executor node to start [s].
KINDS = ('single_threaded', 'multi_threaded', 'events', 'sleep', 'absolute', 'peer', 'listen')


class ContenderNode(Node):
    """Publishes and remembers when."""

    def __init__(self) -> None:
        super().__init__('contender')
        self.times: list[int] = []
        size = len(load('viperx').joints)
        self._message = Float64MultiArray(data=array('d', bytes(8 * size)))
        self._publisher = self.create_publisher(Float64MultiArray, 'contender', 1)

    def send(self) -> None:
        """Publish once."""
        self._publisher.publish(self._message)
        self.times.append(time.monotonic_ns())


def _executor(kind: str) -> Executor:
    if kind == 'events':
        from rclpy.experimental.events_executor import EventsExecutor

        return EventsExecutor()
    return MultiThreadedExecutor() if kind == 'multi_threaded' else SingleThreadedExecutor()


def timer(kind: str, seconds: float) -> list[int]:
    """Send from an rclpy timer, spun by one of rclpy's executors."""
    node = ContenderNode()
    node.create_timer(PERIOD, node.send)
    executor = _executor(kind)
    executor.add_node(node)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    return node.times


def sleep(seconds: float) -> list[int]:
    """Send, then sleep what is left of the period: the loop of many robot-learning scripts."""
    node = ContenderNode()
    end = time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        node.send()
        time.sleep(max(PERIOD - (time.monotonic() - start), 0.0))
    return node.times


def absolute(seconds: float) -> list[int]:
    """Sleep until the next deadline of a fixed grid, then send."""
    node = ContenderNode()
    start = time.monotonic()
    for k in range(1, round(seconds / PERIOD)):
        time.sleep(max(start + k * PERIOD - time.monotonic(), 0.0))
        node.send()
    return node.times


def listen(seconds: float, own_node: bool) -> list[int]:
    """Return when the middleware of a subscriber had the commands, until SIGTERM."""
    command = load('viperx', sim=True).commands[0].topic if own_node else 'contender'
    node, times = rclpy.create_node('listener'), []

    def heard(message: Float64MultiArray, info: Any = None) -> None:
        del message  # When it came is all that counts.
        times.append(info['received_timestamp'])

    node.create_subscription(Float64MultiArray, command, heard, 100)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + seconds + _PATIENCE_S
    with contextlib.suppress(ExternalShutdownException):  # SIGTERM: nothing more will come.
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
    offset = time.time_ns() - time.monotonic_ns()
    return [stamp - offset for stamp in times]


class PeerNode(Node):
    """Joint states, and a chunk that stays where the robot is for every request."""

    def __init__(self, joints_hz: float) -> None:
        super().__init__('peer')
        robot = load('viperx', sim=True)
        middle = (robot.limits.lower + robot.limits.upper) / 2.0
        self._joints = JointState(name=list(robot.joint_names), position=list(middle))
        self._rows = convert.to_array(np.tile(middle, (16, 1)))
        self._names = robot.joint_names
        self.steps: list[int] = []
        self._states = self.create_publisher(JointState, robot.sources[0].topic, 10)
        self._chunks = self.create_publisher(ActionChunk, 'action_chunk', 2)
        self.create_subscription(ChunkRequest, 'chunk_request', self._answer, 2)
        self.create_subscription(ControlStep, 'control_step', self._note, QoSProfile(depth=1000))
        self._period = 1.0 / joints_hz
        self.open = True
        threading.Thread(target=self._move, daemon=True).start()

    def _move(self) -> None:
        start, count = time.monotonic(), 0
        while self.open:
            self._states.publish(self._joints)
            count += 1
            time.sleep(max(start + count * self._period - time.monotonic(), 0.0))

    def _answer(self, request: ChunkRequest) -> None:
        message = convert.answer_message(request, self._names)
        message.rows, message.columns, message.actions = 16, len(self._names), self._rows
        self._chunks.publish(message)

    def _note(self, step: ControlStep) -> None:
        if not step.missed:
            self.steps.append(step.emitted_ns)


def peer(seconds: float, joints_hz: float) -> list[int]:
    """Return when the executor node says it sent its commands, from its first one on."""
    node = PeerNode(joints_hz)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    patience = time.monotonic() + _PATIENCE_S
    while not node.steps and time.monotonic() < patience:
        executor.spin_once(timeout_sec=0.1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    node.open = False
    return node.steps


def main() -> None:
    """Run one contender."""
    kind, seconds, path = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    rclpy.init(args=['--ros-args', '-r', f'__ns:={sys.argv[4]}'])
    number = float(sys.argv[5])
    if kind == 'peer':
        times = peer(seconds, number)
    elif kind == 'listen':
        times = listen(seconds, number > 0.0)
    elif kind in ('sleep', 'absolute'):
        times = (sleep if kind == 'sleep' else absolute)(seconds)
    else:
        times = timer(kind, seconds)
    np.save(path, np.array(times, dtype=np.int64))
    os._exit(0)  # The file is there; to take ROS apart may take seconds.


if __name__ == '__main__':
    main()
