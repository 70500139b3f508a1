# SPDX-License-Identifier: Apache-2.0
"""The drivers of a simulated robot: hear its commands, and publish what real ones would."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from async_chunking.nodes import convert
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.clock import CLOCK_QOS
from async_chunking.nodes.sinks import sink_class
from async_chunking.robot.embodiment import Command, Embodiment, Source
from async_chunking.sim.task import Task

_DEPTH = QoSProfile(depth=10)


class SimulatedRobot:
    """The robot's topics, in the drivers' words and units.

    Args:
        node: Publishes and subscribes.
        robot: Whose topics.
        task: Whose plant is shown.
        with_clock: Publish /clock, and stamp with it.
        on_command: Called with [D] whenever all joints have been commanded [rad, m].

    Attributes:
        bad_commands: Messages that were of the wrong length or not finite.
    """

    def __init__(
        self,
        node: Node,
        robot: Embodiment,
        task: Task,
        with_clock: bool,
        on_command: Callable[[np.ndarray], None],
    ) -> None:
        self.bad_commands = 0
        self._node = node
        self._robot = robot
        self._task = task
        self._on_command = on_command
        self._commanded = np.full(len(robot.joints), np.nan)
        for command in robot.commands:
            sink = sink_class(command.sink)
            callback = partial(self._receive, command, sink, command.affine)
            listen(node, sink.message_type, command.topic, callback, _DEPTH)
        self._joints = [
            (source, node.create_publisher(JointState, source.topic, _DEPTH))
            for source in robot.sources[::-1]  # The first sets the pace of measurements.
        ]
        self._environment = node.create_publisher(Float64MultiArray, 'environment_state', _DEPTH)
        self._clock = node.create_publisher(Clock, '/clock', CLOCK_QOS) if with_clock else None

    def _receive(self, command: Command, sink: Any, affine: Any, message: Any) -> None:
        positions = sink.positions(message)
        if len(positions) != len(command.joints) or not np.isfinite(positions).all():
            self.bad_commands += 1
            return
        names = self._robot.joint_names
        commanded = self._commanded.copy()
        gain, bias = affine
        commanded[[names.index(name) for name in command.joints]] = (positions - bias) / gain
        self._commanded = commanded
        if np.isfinite(commanded).all():
            self._on_command(commanded)

    def show(self, environment: np.ndarray, now_ns: int) -> None:
        """Publish joints, environment [n] and clock; `now_ns` is what the clock says."""
        stamp = self._node.get_clock().now().nanoseconds if self._clock is None else now_ns
        for source, publisher in self._joints:
            publisher.publish(self._joint_state(source, stamp))
        state = np.asarray(environment, dtype=np.float64)
        label = ' '.join(self._task.environment_names)
        layout = MultiArrayLayout(dim=[MultiArrayDimension(label=label, size=len(state))])
        data = array('d', state.tobytes())
        self._environment.publish(Float64MultiArray(layout=layout, data=data))
        if self._clock is not None:
            clock = Clock()
            convert.set_time(clock.clock, now_ns)
            self._clock.publish(clock)

    def _joint_state(self, source: Source, stamp: int) -> JointState:
        """Return some of the joints in the driver's words."""
        gain, bias = source.affine
        index = [self._robot.joint_names.index(name) for name in source.joints]
        plant = self._task.plant
        message = JointState(
            name=list(source.driver_names),
            position=array('d', (gain * plant.positions[index] + bias).tobytes()),
            velocity=array('d', (gain * plant.velocities[index]).tobytes()),
        )
        convert.set_time(message.header.stamp, stamp)
        return message
