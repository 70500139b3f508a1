# SPDX-License-Identifier: Apache-2.0
"""Looks on while a robot runs: is the stream up, which tick is it, how did the episodes end?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import String

from async_chunking.executor import Phase
from async_chunking.msg import ControlStep
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.silent import SilentNode


@dataclass
class Sight:
    """What was seen so far.

    Attributes:
        ticks: ControlSteps that were seen; not all of them need to be.
        phase: Phase of the newest one, None before the first.
        executed: Whether a chunk was ever executed.
        spans: Run -> first and last tick that was seen from its first chunk on.
        episodes: Outcomes, in the words of the simulated robot.
        reports: Node -> its newest status in /diagnostics, what it says first.
        troubles: Node -> the last trouble that it told; '' of one that told of none.
    """

    ticks: int = 0
    phase: Phase | None = None
    executed: bool = False
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    episodes: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[str, dict[str, str]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


class Watch(SilentNode):
    """Sees what becomes of a run.

    Args:
        namespace: Namespace of the robot.
        arguments: Words of the command line, for ROS.
    """

    def __init__(self, namespace: str, arguments: Sequence[str] = ()) -> None:
        super().__init__('watch', namespace, arguments)
        self.sight = Sight()
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node, few = self._node, QoSProfile(depth=10)
        listen(node, ControlStep, 'control_step', self._on_step, qos_profile_sensor_data)
        listen(node, String, 'episode', self._on_episode, latched)
        listen(node, DiagnosticArray, '/diagnostics', self._on_diagnostics, few)

    def look(self, seconds: float) -> Sight:
        """Wait up to `seconds` for something to happen and return what was seen so far."""
        self.listen(seconds)
        return self.sight

    def client(self, kind: Any, name: str) -> Any:
        """Return a client of a service; `look` takes its answers."""
        return self._node.create_client(kind, name)

    def parameter(self, name: str, default: float) -> float:
        """Declare a parameter and return its value."""
        described = ParameterDescriptor(dynamic_typing=True)
        return self._node.declare_parameter(name, default, described).value

    def tell(self, sentence: str) -> None:
        """Log something."""
        self._node.get_logger().info(sentence)

    def _on_step(self, step: ControlStep) -> None:
        self.sight.ticks += 1
        self.sight.phase = Phase(step.phase)
        executing = self.sight.phase is Phase.EXECUTING
        self.sight.executed |= executing
        if executing or step.run_id in self.sight.spans:
            first, _ = self.sight.spans.get(step.run_id, (step.tick, 0))
            self.sight.spans[step.run_id] = first, step.tick

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        space = self._node.get_namespace().strip('/')
        for status in message.status:
            parent, _, name = status.name.rpartition('/')
            if parent == space:
                values = {value.key: value.value for value in status.values}
                self.sight.reports[name] = {'says': status.message, **values}
                trouble = status.message if status.level != DiagnosticStatus.OK else ''
                self.sight.troubles[name] = trouble or self.sight.troubles.get(name, '')

    def _on_episode(self, message: String) -> None:
        try:
            content = json.loads(message.data)
        except (ValueError, RecursionError):  # Of somebody else.
            return
        if isinstance(content, dict) and 'success' in content:
            self.sight.episodes.append(content)
