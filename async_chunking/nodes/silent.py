# SPDX-License-Identifier: Apache-2.0
"""A node that only listens, in a context of its own, beside those of a running robot."""

from __future__ import annotations

from collections.abc import Sequence

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions


class SilentNode:
    """A node without parameter services and log topic, spun by hand.

    Args:
        name: Name of the node.
        namespace: Namespace of the robot.
        arguments: Words of the command line, for ROS.
    """

    def __init__(self, name: str, namespace: str, arguments: Sequence[str] = ()) -> None:
        self._context = rclpy.Context()
        rclpy.init(
            args=list(arguments), context=self._context,
            signal_handler_options=SignalHandlerOptions.NO,
        )  # fmt: skip
        self._node = rclpy.create_node(
            name, namespace=namespace or None, context=self._context,
            start_parameter_services=False, enable_rosout=False,
        )  # fmt: skip
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def listen(self, seconds: float) -> None:
        """Wait up to `seconds` for a message, and take it."""
        self._executor.spin_once(timeout_sec=seconds)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.shutdown()
