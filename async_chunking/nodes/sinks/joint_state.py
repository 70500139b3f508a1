# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/JointState as a target, for drivers such as crisp_controllers."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from async_chunking.nodes.convert import set_time
from async_chunking.nodes.sinks.base import Sink, named
from async_chunking.robot.embodiment import Command


class JointStateSink(Sink):
    """Stamped positions with their joint names."""

    message_type = JointState

    def __init__(
        self, node: Node, command: Command, joint_names: tuple[str, ...], period_s: float
    ) -> None:
        super().__init__(node, command, joint_names, period_s)
        position = array('d', bytes(8 * len(self.index)))
        self._message = JointState(name=list(command.driver_names), position=position)
        self._data = np.frombuffer(self._message.position)

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        set_time(self._message.header.stamp, stamp_ns)
        self._values(command, out=self._data)
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray | None:
        """See `Sink.positions`."""
        return named(message.name, message.position, command)
