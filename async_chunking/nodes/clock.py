# SPDX-License-Identifier: Apache-2.0
"""The clock of a simulation, heard on /clock."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from async_chunking.nodes.pacing import SimPace

# Reliable, since a lost tick would be a missed command; best-effort listeners hear it too.
CLOCK_QOS = QoSProfile(depth=10)


def sim_pace(node: Node, period_ns: int) -> SimPace:
    """Return a pace that follows /clock."""
    pace = SimPace(period_ns)

    def feed(message: Clock) -> None:
        pace.feed(message.clock.sec * 1_000_000_000 + message.clock.nanosec)

    node.create_subscription(Clock, '/clock', feed, CLOCK_QOS)
    return pace
