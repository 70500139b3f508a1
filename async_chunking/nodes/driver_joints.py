# SPDX-License-Identifier: Apache-2.0
"""Measured joints as a robot's drivers publish them: their topics, names, motors and units."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState

from async_chunking.nodes import convert
from async_chunking.nodes.observations.measured import MOTORS, message_type, motor_type
from async_chunking.robot.embodiment import Embodiment, Source

_DEPTH = QoSProfile(depth=10)


class DriverJoints:
    """Publishes one message for each topic on which joints are measured.

    Args:
        node: Publishes.
        robot: Whose joints.

    Raises:
        AsyncChunkingError: A driver's messages are not installed.
    """

    def __init__(self, node: Node, robot: Embodiment) -> None:
        self._names = robot.joint_names
        sources: dict[str, list[Source]] = {}
        for source in robot.sources:
            sources.setdefault(source.topic, []).append(source)
        self._topics = [
            (parts, node.create_publisher(message_type(parts[0]), topic, _DEPTH))
            for topic, parts in list(sources.items())[::-1]  # The first sets the pace: last.
        ]

    def publish(self, positions: np.ndarray, velocities: np.ndarray, stamp_ns: int) -> None:
        """Publish all joints, positions [D] [rad, m] and velocities [D], in the drivers' units."""
        for sources, publisher in self._topics:
            publisher.publish(self._message(sources, positions, velocities, stamp_ns))

    def _message(
        self, sources: list[Source], positions: np.ndarray, velocities: np.ndarray, stamp_ns: int
    ) -> Any:
        values, rates = [], []
        for source in sources:
            gain, bias = source.affine
            index = [self._names.index(name) for name in source.joints]
            values += (gain * positions[index] + bias).tolist()
            rates += (gain * velocities[index]).tolist()
        if sources[0].kind == 'joint_state':
            names = [name for source in sources for name in source.driver_names]
            message = JointState(
                name=names, position=array('d', values), velocity=array('d', rates)
            )
            convert.set_time(message.header.stamp, stamp_ns)
            return message
        motors = [motor for source in sources for motor in source.driver_motors]
        return _by_motor(sources[0], motors, values, rates)


def _by_motor(source: Source, motors: list[int], values: list[float], rates: list[float]) -> Any:
    """Return a message that counts motors; those of no joint are at zero."""
    message, field = message_type(source)(), MOTORS[source.kind][1]
    if not len(getattr(message, field)):  # As many as the hand has.
        setattr(message, field, [motor_type(source)() for _ in range(max(motors) + 1)])
    for motor, value, rate in zip(motors, values, rates, strict=True):
        entry = getattr(message, field)[motor]
        entry.q, entry.dq = value, rate
    return message
