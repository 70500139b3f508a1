# SPDX-License-Identifier: Apache-2.0
"""std_msgs/Float64MultiArray, as ros2_control's forward_command_controller takes it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from std_msgs.msg import Float64MultiArray

from async_chunking.nodes.sinks.base import Sink
from async_chunking.robot.embodiment import Command


class Float64MultiArraySink(Sink):
    """Positions in the order of the description, without names or stamp."""

    message_type = Float64MultiArray

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._message = Float64MultiArray(data=array('d', bytes(8 * len(self.index))))
        self._data = np.frombuffer(self._message.data)

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        del stamp_ns  # Unused.
        self._values(command, out=self._data)
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Float64MultiArray, command: Command) -> np.ndarray:
        """See `Sink.positions`."""
        del command  # The whole message is for it.
        return np.array(message.data)
