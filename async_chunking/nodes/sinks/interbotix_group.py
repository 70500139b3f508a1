# SPDX-License-Identifier: Apache-2.0
"""interbotix_xs_msgs/JointGroupCommand: the arm of an Interbotix robot. It checks no limits."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile

from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import InterbotixGroupOptions
from async_chunking.robot.topics import group_of


class InterbotixGroupSink(Sink):
    """Positions in the order of the driver's group, without names or stamp [rad]."""

    Options = InterbotixGroupOptions
    message_type = message_class('interbotix_xs_msgs/msg/JointGroupCommand')
    qos = QoSProfile(depth=10)

    def __init__(
        self, node: Node, command: Command, joint_names: tuple[str, ...], period_s: float
    ) -> None:
        super().__init__(node, command, joint_names, period_s)
        self._message = self.message_type(name=self.options.group)

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        self._message.cmd = array('f', self._values(command))
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray | None:
        """See `Sink.positions`."""
        return np.array(message.cmd) if message.name == group_of(command) else None
