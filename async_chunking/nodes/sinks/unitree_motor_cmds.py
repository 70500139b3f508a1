# SPDX-License-Identifier: Apache-2.0
"""unitree_go/MotorCmds: Inspire hands on a Unitree robot, both on one topic."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node

from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink, by_motor
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import UnitreeMotorsOptions


class UnitreeMotorCmdsSink(Sink):
    """Positions by motor index, 0 closed to 1 open; motors of no joint are told to be open."""

    Options = UnitreeMotorsOptions
    message_type = message_class('unitree_go/msg/MotorCmds')

    def _open(self, node: Node, command: Command) -> None:
        super()._open(node, command)
        motor_type = message_class('unitree_go/msg/MotorCmd')
        self._motors = command.driver_motors
        self._message = self.message_type(
            cmds=[motor_type(mode=1, q=1.0) for _ in range(self.options.motors)]
        )

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        for motor, value in zip(self._motors, self._values(command).tolist(), strict=True):
            self._message.cmds[motor].q = value
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray:
        """See `Sink.positions`."""
        return by_motor(message.cmds, command.driver_motors)
