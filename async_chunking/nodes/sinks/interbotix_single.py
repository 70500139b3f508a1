# SPDX-License-Identifier: Apache-2.0
"""interbotix_xs_msgs/JointSingleCommand: the gripper of an Interbotix robot."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile

from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink, named
from async_chunking.robot.embodiment import Command


class InterbotixSingleSink(Sink):
    """One joint [rad]; a gripper's opening is converted by the description's `scales`."""

    message_type = message_class('interbotix_xs_msgs/msg/JointSingleCommand')
    qos = QoSProfile(depth=10)

    def __init__(
        self, node: Node, command: Command, joint_names: tuple[str, ...], period_s: float
    ) -> None:
        if len(command.joints) != 1:
            msg = f'{command.topic}: interbotix_single is for one joint, not {command.joints}'
            raise AsyncChunkingError(msg)
        super().__init__(node, command, joint_names, period_s)
        self._message = self.message_type(name=command.driver_names[0])

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        self._message.cmd = float(self._values(command)[0])
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray | None:
        """See `Sink.positions`."""
        return named([message.name], [message.cmd], command)
