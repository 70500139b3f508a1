# SPDX-License-Identifier: Apache-2.0
"""What a node has on the graph: created with this package's defaults, and destroyed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy._rclpy_pybind11 import RCLError
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.timer import Timer

from async_chunking.nodes.overriding import QosOverriding

_KINDS = ('publisher', 'subscription', 'timer', 'service', 'client')


class LastingPublisher(Publisher):
    """A publisher that tells of a message which could not be sent, and lasts.

    The middleware refuses every message while the wall clock is beyond 2038, or while it has no
    memory; what publishes next second must be there next second.

    Attributes:
        failed: Called with the error.
    """

    failed: Callable[[Exception], None]

    def publish(self, message: Any) -> None:
        """Send a message, if that can be done."""
        try:
            super().publish(message)
        except RCLError as error:
            self.failed(error)


class EntityNode(QosOverriding, LifecycleNode):
    """A lifecycle node that can undo what it created since its constructor.

    Args:
        name: Name of the node, unless remapped.

    Attributes:
        publish_errors: Messages that could not be sent.
    """

    publish_errors = 0

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._permanent = set(self._entities())

    def create_publisher(self, kind: Any, topic: str, qos: Any, **options: Any) -> Any:
        """Create a publisher that counts what cannot be sent."""
        options.setdefault('publisher_class', LastingPublisher)
        publisher = super().create_publisher(kind, topic, qos, **options)
        publisher.failed = self._not_published
        return publisher

    def _not_published(self, error: Exception) -> None:
        self.publish_errors += 1
        self.get_logger().error(f'not published: {error}', throttle_duration_sec=10.0)

    def create_timer(self, *arguments: Any, **options: Any) -> Timer:
        """Create a timer as every node does, but on the steady clock.

        On the wall clock, which is the default, it would be silent for as long as somebody set
        that clock back.
        """
        return super().create_timer(*arguments, **{'clock': self._steady, **options})

    def _entities(self) -> list[Any]:
        return [*self.publishers, *self.subscriptions, *self.timers, *self.services, *self.clients]

    def destroy_entities(self) -> None:
        """Destroy every topic, service and timer that was created since the constructor."""
        for made in self._entities():
            if made not in self._permanent:
                for kind in _KINDS:
                    if getattr(self, f'destroy_{kind}')(made):
                        break
