# SPDX-License-Identifier: Apache-2.0
"""The drivers of a simulated robot: hear its commands, and publish what real ones would."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from async_chunking.nodes import convert
from async_chunking.nodes.clock import CLOCK_QOS
from async_chunking.nodes.driver_joints import DriverJoints
from async_chunking.nodes.sinks import sink_class
from async_chunking.robot.embodiment import Command, Embodiment

_DEPTH = QoSProfile(depth=10)


class Joints(Protocol):
    """What has joints: a plant, or a follower."""

    @property
    def positions(self) -> np.ndarray:
        """Measured positions [D] [rad, m]."""

    @property
    def velocities(self) -> np.ndarray:
        """Measured velocities [D] [rad/s, m/s]."""


class SimulatedRobot:
    """The robot's topics, in the drivers' words and units.

    Args:
        node: Publishes and subscribes.
        robot: Whose topics.
        joints: What is shown.
        on_command: Called with [D] whenever all joints have been commanded [rad, m].
        commanded: [D] what counts as commanded before anything was; None for nothing.

    Attributes:
        bad_commands: Messages that were of the wrong length or not finite.
    """

    def __init__(
        self,
        node: Node,
        robot: Embodiment,
        joints: Joints,
        on_command: Callable[[np.ndarray], None],
        commanded: np.ndarray | None = None,
    ) -> None:
        self.bad_commands = 0
        self._node = node
        self._robot = robot
        self._joints = joints
        self._on_command = on_command
        none = np.full(len(robot.joints), np.nan)
        self._commanded = none if commanded is None else commanded
        for command in robot.commands:
            sink_class(command.sink).simulate(
                node, command, partial(self._receive, command, command.affine)
            )
        self._drivers = DriverJoints(node, robot)

    def _receive(self, command: Command, affine: Any, positions: np.ndarray) -> None:
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

    def show(self, now_ns: int | None = None) -> None:
        """Publish the joints, stamped with the node's clock unless told the time."""
        stamp = self._node.get_clock().now().nanoseconds if now_ns is None else now_ns
        self._drivers.publish(self._joints.positions, self._joints.velocities, stamp)


class SimulatedScene:
    """What a simulation tells beside its joints: the rest of the observation, and the time.

    Args:
        node: Publishes.
        names: What each number of the environment is.
        with_clock: Publish /clock.
    """

    def __init__(self, node: Node, names: Sequence[str], with_clock: bool) -> None:
        dimension = MultiArrayDimension(label=' '.join(names), size=len(names))
        self._layout = MultiArrayLayout(dim=[dimension])
        self._environment = node.create_publisher(Float64MultiArray, 'environment_state', _DEPTH)
        self._clock = node.create_publisher(Clock, '/clock', CLOCK_QOS) if with_clock else None

    def show(self, environment: np.ndarray, now_ns: int) -> None:
        """Publish the environment [n] and the clock; `now_ns` is what the clock says."""
        data = array('d', np.asarray(environment, dtype=np.float64).tobytes())
        self._environment.publish(Float64MultiArray(layout=self._layout, data=data))
        if self._clock is not None:
            clock = Clock()
            convert.set_time(clock.clock, now_ns)
            self._clock.publish(clock)
