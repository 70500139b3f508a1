# SPDX-License-Identifier: Apache-2.0
"""The clock of a simulation, heard on /clock."""

from __future__ import annotations

import threading

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from async_chunking.nodes.pacing import SimPace

# Reliable, since a lost tick would be a missed command; best-effort listeners hear it too.
CLOCK_QOS = QoSProfile(depth=100)


class ClockPace(SimPace):
    """A pace that follows /clock.

    It listens in a thread of its own, so that ticks go on while the node's thread is busy, for
    example with waiting for the command thread.

    Args:
        node: Lends its context and its name.
        period_ns: Control period [ns].
    """

    def __init__(self, node: Node, period_ns: int) -> None:
        super().__init__(period_ns)
        self._listener = rclpy.create_node(
            f'{node.get_name()}_clock', namespace=node.get_namespace(), context=node.context,
            use_global_arguments=False, start_parameter_services=False, enable_rosout=False,
        )  # fmt: skip
        self._listener.create_subscription(Clock, '/clock', self._heard, CLOCK_QOS)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._listener)
        self._open = True
        self._thread = threading.Thread(target=self._listen, name='clock', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """See `Pace.close`."""
        self._open = False
        self._thread.join()
        self._executor.shutdown()
        self._listener.destroy_node()

    def _listen(self) -> None:
        while self._open:
            self._executor.spin_once(timeout_sec=0.1)

    def _heard(self, message: Clock) -> None:
        self.feed(message.clock.sec * 1_000_000_000 + message.clock.nanosec)
