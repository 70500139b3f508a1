# SPDX-License-Identifier: Apache-2.0
"""unitree_hg/LowCmd on /arm_sdk: the arms of a Unitree G1, blended with its own controller."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rclpy.node import Node

from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink, StateTopic, by_motor
from async_chunking.nodes.sinks.unitree_crc import checksum
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import UnitreeArmOptions
from async_chunking.settings import validated

_WEIGHT = 29  # This motor's q is the share of our commands, 0 to 1.


class UnitreeArmSink(Sink):
    """Positions by motor index; takes the arms over gradually and hands them back gradually.

    Nothing is sent before the robot's state told which machine it is.
    """

    Options = UnitreeArmOptions
    message_type = message_class('unitree_hg/msg/LowCmd')

    def _open(self, node: Node, command: Command) -> None:
        super()._open(node, command)
        self._message = self.message_type()
        self._motors = [self._message.motor_cmd[i] for i in command.driver_motors]
        for name in ('kp', 'kd'):
            gains = np.broadcast_to(getattr(self.options, name), len(self._motors))
            for motor, gain in zip(self._motors, gains.tolist(), strict=True):
                setattr(motor, name, gain)
        for motor in self._motors:
            motor.mode = 1
        self._ramp = round(self.options.ramp_s / self._period_s)  # Ticks.
        self._taken, self._known = 0, False

    @classmethod
    def listens(cls, command: Command) -> StateTopic:
        """See `Sink.listens`."""
        options = validated(
            UnitreeArmOptions, command.options, f'options of command {command.topic}'
        )
        state = message_class('unitree_hg/msg/LowState')
        return StateTopic(options.state_topic, state, lambda message: float(message.mode_machine))

    def hear(self, value: float) -> None:
        """See `Sink.hear`."""
        self._message.mode_machine = int(value)
        self._known = True

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        if not self._known:
            return
        for motor, value in zip(self._motors, self._values(command).tolist(), strict=True):
            motor.q = value
        self._publish(min(self._taken + 1, self._ramp))

    def release(self) -> None:
        """Hand the arms back while they rest."""
        while self._taken:
            self._publish(self._taken - 1)
            time.sleep(self._period_s)

    def _publish(self, taken: int) -> None:
        self._taken = taken
        self._message.motor_cmd[_WEIGHT].q = taken / self._ramp
        self._message.crc = checksum(self._message)
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray:
        """See `Sink.positions`."""
        return by_motor(message.motor_cmd, command.driver_motors)
