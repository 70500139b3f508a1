# SPDX-License-Identifier: Apache-2.0
"""The measured joints of a robot, put together from the topics of its drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from async_chunking.errors import StreamError
from async_chunking.nodes.messages import message_class
from async_chunking.nodes.observations.streams import JointReader
from async_chunking.robot.embodiment import Source

MOST_BYTES = 1 << 16  # Of a message; a driver may tell more than the joints of the robot [bytes].

# Kind -> message type, and the field that holds one entry a motor.
MOTORS: dict[str, tuple[str, str]] = {
    'unitree_low_state': ('unitree_hg/msg/LowState', 'motor_state'),
    'unitree_hand_state': ('unitree_hg/msg/HandState', 'motor_state'),
    'unitree_motor_states': ('unitree_go/msg/MotorStates', 'states'),
}


def message_type(source: Source) -> type:
    """Return the type of a source's messages.

    Raises:
        AsyncChunkingError: It is not installed.
    """
    return JointState if source.kind == 'joint_state' else message_class(MOTORS[source.kind][0])


def motor_type(source: Source) -> type:
    """Return the type of one motor's entry in a source's messages."""
    package = MOTORS[source.kind][0].partition('/')[0]
    return message_class(f'{package}/msg/MotorState')


class Measured:
    """Reads the messages of all sources.

    Args:
        sources: Sources of the robot; the first one sets the pace.
        joint_names: In command order [D].
    """

    def __init__(self, sources: tuple[Source, ...], joint_names: tuple[str, ...]) -> None:
        self._sources = sources
        self._readers = [_reader(source) for source in sources]
        self._affine = [source.affine for source in sources]
        self._index = [
            np.array([joint_names.index(name) for name in source.joints]) for source in sources
        ]
        self._values = np.full(len(joint_names), np.nan)
        self._received_ns: list[int | None] = [None] * len(sources)

    def read(self, number: int, message: Any, now_ns: int) -> np.ndarray | None:
        """Return all joints [D] [rad, m] if the message is of the source that sets the pace.

        Args:
            number: Index of the source.
            message: From it.
            now_ns: Time at which it was received.

        Raises:
            StreamError: It lacks a joint or holds no number, or another source is silent.
        """
        gain, bias = self._affine[number]
        self._values[self._index[number]] = (self._readers[number](message) - bias) / gain
        self._received_ns[number] = now_ns
        if number:
            return None
        for source, received_ns in zip(self._sources[1:], self._received_ns[1:], strict=True):
            if received_ns is None:
                msg = f'{source.topic} was not received yet'
                raise StreamError(msg)
            age = (now_ns - received_ns) * 1e-9
            if age > source.max_age_s:
                msg = f'{source.topic} has been silent for {age:.2f} s'
                raise StreamError(msg)
        return self._values.copy()


def _reader(source: Source) -> Callable[[Any], np.ndarray]:
    if source.kind == 'joint_state':
        return JointReader(source.driver_names, source.topic)
    field, motors = MOTORS[source.kind][1], source.driver_motors

    def read(message: Any) -> np.ndarray:
        states = getattr(message, field)
        if len(states) <= max(motors):
            msg = f'{source.topic} has {len(states)} motors, motor {max(motors)} is needed'
            raise StreamError(msg)
        values = np.array([states[motor].q for motor in motors], dtype=np.float64)
        if not np.isfinite(values).all():
            msg = f'{source.topic} holds NaN or infinity'
            raise StreamError(msg)
        return values

    return read
