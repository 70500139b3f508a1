# SPDX-License-Identifier: Apache-2.0
"""What a node has on the graph: created with this package's defaults, and destroyed together."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.timer import Timer

from async_chunking.nodes.overriding import QosOverriding

_KINDS = ('publisher', 'subscription', 'timer', 'service', 'client')


class EntityNode(QosOverriding, LifecycleNode):
    """A lifecycle node that can undo what it created since its constructor.

    Args:
        name: Name of the node, unless remapped.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._permanent = set(self._entities())

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
