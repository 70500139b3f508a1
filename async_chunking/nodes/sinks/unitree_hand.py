# SPDX-License-Identifier: Apache-2.0
"""unitree_hg/HandCmd: a Unitree Dex3-1 hand, seven motors."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node

from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink, by_motor
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import UnitreeHandOptions

_ENABLED = 1 << 4  # Motor number in the low four bits, status in the next three.


class UnitreeHandSink(Sink):
    """Positions by motor index [rad]."""

    Options = UnitreeHandOptions
    message_type = message_class('unitree_hg/msg/HandCmd')

    def _open(self, node: Node, command: Command) -> None:
        super()._open(node, command)
        motor_type = message_class('unitree_hg/msg/MotorCmd')
        self._order = np.argsort(command.driver_motors)
        motors = sorted(command.driver_motors)
        self._message = self.message_type(
            motor_cmd=[
                motor_type(mode=_ENABLED | motor, kp=self.options.kp, kd=self.options.kd)
                for motor in motors
            ]
        )

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        values = self._values(command)[self._order].tolist()
        for motor, value in zip(self._message.motor_cmd, values, strict=True):
            motor.q = value
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray:
        """See `Sink.positions`."""
        ranks = np.argsort(np.argsort(command.driver_motors))  # There is an entry for each motor.
        return by_motor(message.motor_cmd, ranks.tolist())
