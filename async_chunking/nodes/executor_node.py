# SPDX-License-Identifier: Apache-2.0
"""The executor node: what users and peers see of the stream of commands.

It listens, checks, and says how it goes; a process of its own sends (`nodes.sender`).
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import ExecutorConfig, Phase
from async_chunking.msg import ActionChunk
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.clock import ClockListener
from async_chunking.nodes.executor_setup import behaviour, check_strategy, make_config
from async_chunking.nodes.executor_state import ExecutorState, Situation
from async_chunking.nodes.intake import MEASURED, Intake
from async_chunking.nodes.overriding import qos_overrides
from async_chunking.nodes.process import run
from async_chunking.nodes.rivals import rivals
from async_chunking.nodes.sender.handle import SenderHandle
from async_chunking.nodes.sender.values import Setup
from async_chunking.nodes.sinks import sink_class
from async_chunking.pose import Departure, PoseWatch, lagging, span

_POLLS = 100.0  # Looks a second at what is measured, at most [Hz].
_TRUST = 'are the joint states right? call ~/reset'
_ASKING = 0.05  # How often a sink that waits for answers looks at the command [s].


class ExecutorNode(RobotNode):
    """Wires an intake, a sender, parameters and services."""

    Parameters = ExecutorParameters

    def __init__(self) -> None:
        super().__init__('executor')
        self._sender = SenderHandle()
        self._active = False
        self._departure: Departure | None = None
        self._believed: np.ndarray | None = None  # Where a run began, or is about to.
        self._left = ''  # Joints that left the pose that was believed.
        self._refusal = ''  # What the policy said last when it could not serve a request.

    # --- lifecycle ------------------------------------------------------------------------------

    def check(self, parameters: ExecutorParameters) -> None:
        """Refuse a strategy that the policy cannot serve, and numbers that do not fit together."""
        check_strategy(parameters, self.embodiment, f'node {self.get_name()}')

    def configure(self) -> None:
        """Create topics and services, here and in the sender; nothing moves yet."""
        robot, parameters = self.embodiment, self.parameters
        config = make_config(parameters, robot)
        self._config = config
        self._watch = PoseWatch(
            config.limits, config.joint_names, config.endless, parameters.settle_s,
            parameters.pose_tolerance, parameters.stale_s,
        )  # fmt: skip
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
        self._sender.open(self._setup(config, sizes))
        self._simulation = ClockListener(self, self._sender.tell_time) if simulated else None
        self._asking = [
            kind(self, command, robot.joint_names, config.control_period)
            for kind, command in zip(kinds, robot.commands, strict=True)
            if kind.asks
        ]
        self._intake = Intake(
            self, robot, config, streams, topics, self._now_ns, parameters.stale_s,
            self._watch, self._sender, self._on_chunk,
        )  # fmt: skip
        self._intake.believe(behaviour(parameters))
        self._refusals = Counter[str]()  # Strategy -> refusals in a row of what was asked with it.
        self._stopped_at = 0.0  # When ~/stop stopped it [s].
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(Trigger, '~/stop', self._on_stop)
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        services = [self.resolve_service_name(f'~/{name}') for name in ('stop', 'reset')]
        self._state = ExecutorState(config, services, parameters.stale_s)
        self.create_timer(1.0, self._diagnose)
        self.create_timer(1.0 / min(config.control_rate_hz, _POLLS), self._poll)
        if self._asking:
            self.create_timer(_ASKING, self._ask)

    def _setup(self, config: ExecutorConfig, streams: dict[str, int]) -> Setup:
        full = self.resolve_topic_name
        return Setup(
            config=config,
            commands=tuple(
                command if sink_class(command.sink).asks
                else command.model_copy(update={'topic': full(command.topic)})
                for command in self.embodiment.commands
            ),
            steps=full('control_step'),
            requests=full('chunk_request'),
            node=(self.get_name(), self.get_namespace()),
            domain=self.context.get_domain_id(),
            arguments=enclave_arguments(),
            overrides=qos_overrides(self),
            simulated=self.get_parameter('use_sim_time').value,
            streams=streams,
            priority=self.parameters.realtime_priority,
            lock_memory=self.parameters.lock_memory,
        )  # fmt: skip

    def _now_ns(self) -> int:
        return time.monotonic_ns() if self._simulation is None else self._simulation.now_ns

    def activate(self) -> None:
        """Let the sender begin to send when the joints were measured, if no one else does."""
        others = rivals(self, self._topics)
        if others:
            msg = f'node {self.get_name()}: {others}; end the others first'
            raise AsyncChunkingError(msg)
        told, how = self._sender.status.command, self.parameters.if_displaced
        most = self.parameters.displaced * span(self._config.limits)
        self._watch.anchor = (told, most) if len(told) and how != 'teleport' else None
        self._left, self._departure = '', None
        self._intake.forget()
        self._intake.poll()
        self._stopped_at = 0.0
        if not self._sender.start(behaviour(self.parameters), self.parameters.if_displaced):
            msg = f'node {self.get_name()}: the sender does not answer'
            raise AsyncChunkingError(msg)
        self._active = True
        for sentence in self._sender.status.denied:
            self.get_logger().warning(sentence)

    def deactivate(self) -> None:
        """Bring the robot to rest and stop sending."""
        self._active = False
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
        """Change the strategy with the next request."""
        chosen = behaviour(parameters)
        self._intake.believe(chosen)
        self._sender.behave(chosen)

    def _poll(self) -> None:
        """Tell the sender the newest; stop if joints leave the pose at which a run began."""
        self._intake.poll()
        status, measured = self._sender.status, self._intake.observations.latest(MEASURED)
        if not (self._active and status.run_id) or measured is None:
            self._believed = self._intake.pose
            return
        self._watch.anchor = None
        if status.phase != Phase.WAITING_FIRST or self.parameters.if_displaced == 'follow':
            self._departure = None
            return
        if self._departure is None and self._believed is not None:
            most = self.parameters.displaced * span(self._config.limits)
            config = self._config
            self._departure = Departure(self._believed, most, config.joint_names, config.endless)
        away = self._departure.add(measured.values) if self._departure else ''
        if away and not self._left:
            self._left = f'joints left the pose at which the run began: {away}; {_TRUST}'
            self._sender.brake()

    # --- answers and orders ---------------------------------------------------------------------

    def _on_chunk(self, message: ActionChunk) -> None:
        """Go back from a strategy that the policy cannot serve to the last one that it did.

        One refusal may have another reason, such as a camera that is late; two in a row count.
        """
        if not message.refusal:
            self._refusals.clear()
            return
        self._refusal = message.refusal
        status, wanted = self._sender.status, self.parameters.strategy
        if message.run_id != status.run_id or message.strategy != wanted:
            return
        self._refusals = Counter({wanted: self._refusals[wanted] + 1})
        if status.served not in ('', wanted) and self._refusals[wanted] > 1:
            (result,) = self.set_parameters([Parameter('strategy', value=status.served)])
            if result.successful:
                self.get_logger().error(f'strategy {wanted} is taken back: {message.refusal}')

    def _ask(self) -> None:
        """Let sinks that wait for answers see the last command that was sent."""
        command = self._sender.status.command
        if self._active and len(command) and command[0] == command[0]:  # Not NaN.
            for sink in self._asking:
                sink.send(command, self.get_clock().now().nanoseconds)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request  # Empty.
        age = self._intake.age
        if not self._active or not self._sender.status.run_id:
            response.message = (
                'the executor is not active, or no joint positions were measured yet'
            )
        elif not age <= self.parameters.stale_s:
            response.message = f'the newest joint positions are {age:.2f} s old; is the driver up?'
        elif self._intake.pose is None:
            response.message = f'where the joints are is not sure: {self._intake.doubt}; ask again'
        else:
            self._begin(response, self._intake.pose)
        return response

    def _begin(self, response: Trigger.Response, pose: np.ndarray) -> None:
        """Begin a run at the last command; say which joints are not where they were told to be."""
        most = self.parameters.displaced * span(self._config.limits)
        told, how = self._sender.status.command, self.parameters.if_displaced
        lag = lagging(pose, told, most, self._config.joint_names, self._config.endless)
        if lag and how == 'refuse':
            response.message = f'not where they were told to be: {lag}; if_displaced is refuse'
            return
        self._intake.poll()
        self._departure, self._left, self._believed = None, '', pose
        run_id = self._sender.begin(most, how)
        response.success = run_id is not None
        self._stopped_at *= not response.success
        note = f'; not where they were told to be: {lag}; {how}' if lag else ''
        response.message = f'run {run_id}{note}' if response.success else 'the sender is stuck'

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request  # Empty.
        sends = self._active and self._sender.status.run_id
        response.success = bool(sends) and self._sender.brake()
        if response.success:
            self._stopped_at = time.monotonic()
        response.message = 'braking' if response.success else 'the executor sends nothing'
        return response

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
        situation = Situation(self._stopped_at, self._refusal, clock, trouble)
        level, message = self._state.judge(status, self._intake, situation)
        wrong = rivals(self, self._topics) or self._left
        if wrong:
            level, message = diagnostics.ERROR, wrong
        self._diagnostics.publish(level, message, self._state.values(status, self._intake))
        if level != diagnostics.OK:
            self.get_logger().warning(message, throttle_duration_sec=5.0)


def enclave_arguments() -> tuple[str, ...]:
    """Return the security enclave of this process, as arguments for ROS."""
    words = sys.argv
    named = [words[i : i + 2] for i, word in enumerate(words[:-1]) if word in ('-e', '--enclave')]
    return ('--ros-args', *named[-1]) if named else ()


def main() -> int:
    """Run the node."""
    return run(ExecutorNode)


if __name__ == '__main__':
    raise SystemExit(main())
