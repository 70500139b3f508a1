# SPDX-License-Identifier: Apache-2.0
"""Where the sender publishes: commands, ControlSteps and ChunkRequests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile

from async_chunking.chunk import ChunkRequest
from async_chunking.executor import Step
from async_chunking.msg import ChunkRequest as ChunkRequestMsg
from async_chunking.msg import ControlStep
from async_chunking.nodes import convert
from async_chunking.nodes.command_loop import CommandLoop
from async_chunking.nodes.control_step import ControlStepWriter
from async_chunking.nodes.pacing import Pace
from async_chunking.nodes.sender.values import Setup
from async_chunking.nodes.sinks import Sink, sink_class

_LONGEST = 500  # Characters of a reason, as what is sent has a size [characters].


class SenderOutput:
    """Publishers of one setup; an error of one is counted, and the others go on.

    Args:
        node: Publishes.
        setup: What to publish on.
        pace: Clock that stamps the messages of a simulation.

    Attributes:
        errors: Publications that failed.
        reason: Why the last of them did.
    """

    def __init__(self, node: Node, setup: Setup, pace: Pace) -> None:
        names = setup.config.joint_names
        self.errors, self.reason = 0, ''
        self._unmade = np.zeros(len(names), dtype=bool)  # Joints whose message is not ready.
        self._config = setup.config
        self._stamp_ns = pace.now_ns if setup.simulated else time.time_ns
        self._sinks: list[Sink] = []
        self._telling: list[tuple[int, Sink]] = []
        for number, command in enumerate(setup.commands):
            kind = sink_class(command.sink)
            if not kind.asks:
                self._sinks.append(kind(node, command, names, setup.config.control_period))
                self._telling.append((number, self._sinks[-1]))
        self._writer = ControlStepWriter(names)
        self._steps = node.create_publisher(ControlStep, setup.steps, QoSProfile(depth=100))
        self._requests = node.create_publisher(
            ChunkRequestMsg, setup.requests, QoSProfile(depth=2)
        )

    def hear(self, reported: tuple[float, ...]) -> None:
        """Pass on what drivers report, one number for each command topic."""
        for number, sink in self._telling:
            if number < len(reported) and reported[number] == reported[number]:  # Not NaN.
                sink.hear(reported[number])

    def prepare(self, step: Step) -> None:
        """See `braking.Output`."""
        stamp_ns = self._stamp_ns()
        for sink in self._sinks:
            with sink.publisher.hold():
                made = self._try(lambda sink=sink: sink.send(step.command, stamp_ns))
            self._unmade[sink.index] = not made

    def command(self, step: Step) -> np.ndarray | None:
        """See `braking.Output`."""
        del step  # It is ready.
        lost = self._unmade.copy()
        for sink in self._sinks:
            lost[sink.index] |= not self._try(sink.publisher.let_go)
        return lost if lost.any() else None

    def report(self, step: Step, deadline_ns: int, emitted_ns: int, loop: CommandLoop) -> None:
        """Publish what was done on a tick."""
        assert loop.executor is not None  # It made the step.
        message = self._writer.write(step, loop.executor, loop.known.measured, emitted_ns)
        message.deadline_ns, message.emitted_ns = deadline_ns, emitted_ns
        convert.set_time(message.header.stamp, self._stamp_ns())
        self._try(lambda: self._steps.publish(message))

    def ask(self, request: ChunkRequest) -> None:
        """Publish a request."""
        message = convert.request_message(request, self._config, self._stamp_ns())
        self._try(lambda: self._requests.publish(message))

    def release(self) -> None:
        """Let go of the robot, which is at rest."""
        for sink in self._sinks:
            self._try(sink.release)

    def counters(self) -> Counter[str]:
        """Return what went wrong."""
        return Counter(publish_errors=self.errors) if self.errors else Counter()

    def _try(self, publish: Callable[[], None]) -> bool:
        try:
            publish()
            return True
        except Exception as error:  # Whatever it is, the next command must be sent.
            self.errors += 1
            self.reason = f'{error!r}'[:_LONGEST]
            return False
