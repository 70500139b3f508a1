# SPDX-License-Identifier: Apache-2.0
"""Quality of service that a parameter file overrides, as `qos_overrides.TOPIC.publisher.depth`."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions

PREFIX = 'qos_overrides.'


class QosOverriding(Node):
    """What a node inherits from, before its kind of node."""

    def create_publisher(self, kind: Any, topic: str, qos: Any, **options: Any) -> Any:
        """Create a publisher whose QoS a parameter file may override."""
        return super().create_publisher(
            kind, topic, qos, **{**self._overriding(topic, 'publisher'), **options}
        )

    def create_subscription(
        self, kind: Any, topic: str, callback: Any, qos: Any, **options: Any
    ) -> Any:
        """Create a subscription whose QoS a parameter file may override."""
        return super().create_subscription(
            kind, topic, callback, qos, **{**self._overriding(topic, 'subscription'), **options}
        )

    def _overriding(self, topic: str, entity: str) -> dict[str, Any]:
        """Return options that let QoS be overridden, where that was asked for."""
        asked = f'{PREFIX}{self.resolve_topic_name(topic)}.{entity}.'
        if not any(key.startswith(asked) for key in self._parameter_overrides):
            return {}  # Three parameters for every topic would hide the node's own.
        return {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}


def qos_overrides(node: Node) -> tuple[Parameter, ...]:
    """Return the overrides that a node was started with, for another node in its place."""
    given = node._parameter_overrides.items()
    return tuple(parameter for name, parameter in given if name.startswith(PREFIX))
