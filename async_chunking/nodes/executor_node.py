# SPDX-License-Identifier: Apache-2.0
"""The executor node: what users and peers see of the stream of commands.

It listens, checks, and says how it goes; a process of its own sends (`nodes.sender`).
"""

from __future__ import annotations

import time

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.clock import ClockListener
from async_chunking.nodes.executor_setup import (
    behaviour,
    check_strategy,
    make_config,
    sender_setup,
)
from async_chunking.nodes.executor_state import ExecutorState, Situation
from async_chunking.nodes.intake import MEASURED, Intake
from async_chunking.nodes.process import run
from async_chunking.nodes.rivals import rivals, wait_for_rivals
from async_chunking.nodes.run_services import RunServices
from async_chunking.nodes.run_watch import RunWatch
from async_chunking.nodes.sender.handle import SenderHandle
from async_chunking.nodes.sinks import sink_class
from async_chunking.nodes.succession import Succession

_POLLS = 100.0  # Looks a second at what is measured, at most [Hz].
_NEWCOMER_S = 3.0  # Who finds others so soon after it began came after them [s].
_ASKING_S = 0.05  # How often a sink that waits for answers looks at the command [s].


class ExecutorNode(RobotNode):
    """Wires an intake, a sender, parameters and services."""

    Parameters = ExecutorParameters

    def __init__(self) -> None:
        super().__init__('executor')
        self._sender = SenderHandle()
        self._active = False

    # --- lifecycle ------------------------------------------------------------------------------

    def check(self, parameters: ExecutorParameters) -> None:
        """Refuse a strategy that the policy cannot serve, and numbers that do not fit together."""
        check_strategy(parameters, self.embodiment, f'node {self.get_name()}')

    def configure(self) -> None:
        """Create topics and services, here and in the sender; nothing moves yet."""
        robot, parameters = self.embodiment, self.parameters
        config = make_config(parameters, robot)
        self._watch = RunWatch(config, parameters)
        simulated = self.get_parameter('use_sim_time').value
        reads = 'corrector:' in parameters.offers
        streams = {n: s for n, s in robot.observations.items() if s.is_numeric and reads}
        kinds = [sink_class(command.sink) for command in robot.commands]
        topics = [kind.listens(c) for kind, c in zip(kinds, robot.commands, strict=True)]
        self._topics = [
            self.resolve_topic_name(command.topic)
            for kind, command in zip(kinds, robot.commands, strict=True)
            if not kind.asks
        ]
        sizes = {n: s.size for n, s in streams.items() if s.size is not None}  # All have one.
        self._sender.open(sender_setup(self, self.embodiment, config, sizes))
        self._simulation = ClockListener(self, self._sender.tell_time) if simulated else None
        self._asking = [
            kind(self, command, robot.joint_names, config.control_period)
            for kind, command in zip(kinds, robot.commands, strict=True)
            if kind.asks
        ]
        self._succession = Succession(self, self._sender, parameters.strategy, self._use)
        self._intake = Intake(
            self, robot, config, streams, topics, self._now_ns, parameters.stale_s,
            self._watch.poses, self._sender, self._succession.on_chunk,
        )  # fmt: skip
        self._intake.believe(behaviour(parameters))
        self._runs = RunServices(self, parameters, self._sender, self._intake, self._watch)
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self._state = ExecutorState(config, self._runs.names, parameters.stale_s)
        self.create_timer(1.0, self._diagnose)
        self.create_timer(1.0 / min(config.control_rate_hz, _POLLS), self._poll)
        if self._asking:
            self.create_timer(_ASKING_S, self._ask)

    def _now_ns(self) -> int:
        return time.monotonic_ns() if self._simulation is None else self._simulation.now_ns

    def activate(self) -> None:
        """Let the sender begin to send when the joints were measured, if no one else does."""
        if others := wait_for_rivals(self, self._topics):
            msg = f'node {self.get_name()}: {others}; end the others first'
            raise AsyncChunkingError(msg)
        self._succession.hurry()  # Nothing moves, so nothing is lost by a slow first answer.
        self._watch.activate(self._sender.status.command)
        self._intake.forget()
        self._intake.poll()
        if not self._sender.start(behaviour(self.parameters), self.parameters.if_displaced):
            msg = f'node {self.get_name()}: the sender does not answer'
            raise AsyncChunkingError(msg)
        self._active, self._since = True, time.monotonic()
        self._runs.activate()
        for sentence in self._sender.status.denied:
            self.get_logger().warning(sentence)

    def deactivate(self) -> None:
        """Bring the robot to rest and stop sending."""
        self._active = False
        self._runs.deactivate()
        if not self._sender.rest():
            self.get_logger().error('the sender did not bring the robot to rest in time')
        for sink in self._asking:
            sink.release()
        values = self._state.values(self._sender.status, self._intake)
        self._diagnostics.publish(diagnostics.OK, 'inactive', values)

    def cleanup(self) -> None:
        """Stop listening to a clock, and let the sender forget its topics."""
        if self._simulation is not None:
            self._simulation.close()
        self._sender.close()

    def end(self) -> None:
        """End the sender too."""
        super().end()
        self._sender.end()

    def apply(self, parameters: ExecutorParameters) -> None:
        """Change the strategy as soon as the policy is ready for it."""
        self._succession.follow(behaviour(parameters))

    def _use(self, chosen: Behaviour) -> None:
        """Ask with another strategy from the next request on."""
        self._intake.believe(chosen)
        self._sender.behave(chosen)

    def _poll(self) -> None:
        """Tell the sender the newest; stop if joints leave the pose at which a run began."""
        self._intake.poll()
        status, measured = self._sender.status, self._intake.observations.latest(MEASURED)
        if not (self._active and status.run_id) or measured is None:
            self._watch.wait(self._intake.pose)
        elif self._watch.departed(measured.values, status.phase):
            self._sender.brake()

    def _ask(self) -> None:
        """Let sinks that wait for answers see the last command that was sent."""
        command = self._sender.status.command
        if self._active and len(command) and command[0] == command[0]:  # Not NaN.
            for sink in self._asking:
                sink.send(command, self.get_clock().now().nanoseconds)

    # --- diagnostics ----------------------------------------------------------------------------

    def _diagnose(self) -> None:
        if not self._active:
            self._diagnostics.publish(diagnostics.OK, 'inactive', {})
            return
        status = self._sender.status
        if self._sender.ended or status.error:
            self.failure = status.error or 'the sender ended'
            self.get_logger().fatal(f'no more commands are sent: {self.failure}')
        clock = None if self._simulation is None else self._simulation.now_ns > 0
        trouble = next((sink.trouble for sink in self._asking if sink.trouble), '')
        situation = Situation(
            self._runs.stopped_at, self._succession.refusals.last, clock, trouble
        )
        level, message = self._state.judge(status, self._intake, situation)
        others = rivals(self, self._topics)
        if others or self._watch.left:
            level, message = diagnostics.ERROR, others or self._watch.left
        if others and time.monotonic() - self._since < _NEWCOMER_S:
            self.failure = f'{others}; end the others first'  # They were there before.
        values = self._state.values(status, self._intake) | self._succession.values()
        self._diagnostics.publish(level, message, values)
        if level != diagnostics.OK:
            self.get_logger().warning(message, throttle_duration_sec=5.0)


def main() -> int:
    """Run the node."""
    return run(ExecutorNode)


if __name__ == '__main__':
    raise SystemExit(main())
