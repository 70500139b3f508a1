# SPDX-License-Identifier: Apache-2.0
"""One status of a node on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSProfile

from async_chunking.bringup.nodes import full_name

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


class Diagnostics:
    """Publishes a node's state.

    Args:
        node: Whose state; its full name is the status's name.
        hardware: The robot; with the namespace it says which of several.
    """

    def __init__(self, node: Node, hardware: str) -> None:
        self._node = node
        self._hardware = full_name(node.get_namespace(), hardware).lstrip('/')
        self._publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics', QoSProfile(depth=1)
        )

    def publish(self, level: bytes, message: str, values: Mapping[str, object]) -> None:
        """Publish one status; numbers are written with as many digits as they need."""
        if errors := getattr(self._node, 'publish_errors', 0):
            values = {
                **values,
                'publish_errors': errors + int(str(values.get('publish_errors', 0))),
            }
        status = DiagnosticStatus(
            level=level,
            name=self._node.get_fully_qualified_name().lstrip('/'),
            message=message,
            hardware_id=self._hardware,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
