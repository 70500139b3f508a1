# SPDX-License-Identifier: Apache-2.0
"""The clock of a simulation, heard on /clock."""

from __future__ import annotations

import threading
from collections.abc import Callable

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from async_chunking.nodes.bounded import Bounded

# Reliable, since a lost tick would be a missed command; best-effort listeners hear it too.
CLOCK_QOS = QoSProfile(depth=100)
_MOST_BYTES = 64


class ClockListener:
    """Hears /clock in a thread of its own, so that ticks go on while the node's thread is busy.

    Args:
        node: Lends its context and its name.
        tell: Is given every time [ns].

    Attributes:
        now_ns: The newest time [ns]; 0 before the first.
    """

    def __init__(self, node: Node, tell: Callable[[int], None]) -> None:
        self.now_ns = 0
        self._tell = tell
        self._listener = rclpy.create_node(
            f'{node.get_name()}_clock', namespace=node.get_namespace(), context=node.context,
            use_global_arguments=False, start_parameter_services=False, enable_rosout=False,
        )  # fmt: skip
        Bounded(
            self._listener, Clock, '/clock', _MOST_BYTES, self._heard, lambda _: None, CLOCK_QOS
        )
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._listener)
        self._open = True
        self._thread = threading.Thread(target=self._listen, name='clock', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._open = False
        self._thread.join()
        self._executor.shutdown()
        self._listener.destroy_node()

    def _listen(self) -> None:
        while self._open:
            self._executor.spin_once(timeout_sec=0.1)

    def _heard(self, message: Clock) -> None:
        self.now_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec
        self._tell(self.now_ns)
