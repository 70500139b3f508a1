# SPDX-License-Identifier: Apache-2.0
"""The executor node: one command per tick, whatever the policy, the network or a peer does."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

import numpy as np
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from std_srvs.srv import Trigger

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.chunk import ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Outcome, Phase, Step
from async_chunking.executor.turns import TURN
from async_chunking.msg import ActionChunk, ControlStep, DelayEstimate
from async_chunking.msg import ChunkRequest as ChunkRequestMsg
from async_chunking.nodes import convert, diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.clock import ClockPace
from async_chunking.nodes.command_loop import CommandLoop, Inputs
from async_chunking.nodes.control_step import ControlStepWriter
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.pacing import SteadyPace, raise_all_threads
from async_chunking.nodes.process import run
from async_chunking.nodes.sinks import sink_class
from async_chunking.policies.checkpoint.directory import load_corrector
from async_chunking.policies.fit import Facts
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.robot.embodiment import Stream
from async_chunking.strategies import resolve

_MEASURED = 'measured'
_LEFT_STOPPED = 5.0  # Longer than between two episodes [s].
_POSES = 3  # Of so many measured poses in a row the median counts, so that one may be wrong.


def behaviour(parameters: ExecutorParameters) -> Behaviour:
    """Return merger and corrector of a strategy; only a trained corrector reads the policy."""
    point = resolve(parameters.strategy)
    corrector = Corrector()
    if point.corrector != 'none':
        corrector = load_corrector(parameters.policy_path, point.corrector)
    return Behaviour(point.name, point.load_merger(), corrector)


class ExecutorNode(RobotNode):
    """Wires the command loop to topics, parameters and a reset service.

    The command thread calls `command`, `report` and `ask`; all other methods run in the thread
    that spins. What goes from here to there goes through `Inputs` or the loop's queue.
    """

    Parameters = ExecutorParameters

    def __init__(self) -> None:
        super().__init__('executor')
        self._loop: CommandLoop | None = None
        self._refusal = ''  # What the policy said last when it could not serve a request.

    # --- lifecycle ------------------------------------------------------------------------------

    def check(self, parameters: ExecutorParameters) -> None:
        """Refuse a strategy that the policy cannot serve, and numbers that do not fit together."""
        strategy = resolve(parameters.strategy)
        strategy.check_constants()
        policy = Facts(
            parameters.policy_path, parameters.horizon, len(self.embodiment.joints),
            frozenset(parameters.offers.split()),
        )  # fmt: skip
        check_strategy(strategy, policy, self.embodiment.action_modes)
        self._check_corrector(behaviour(parameters).corrector)
        try:
            self._make_config(parameters)
        except ValueError as error:
            msg = f'node {self.get_name()}: {error}'
            raise AsyncChunkingError(msg) from None

    def _check_corrector(self, corrector: Corrector) -> None:
        """Refuse a corrector that reads what the robot does not say."""
        streams = self.embodiment.observations
        for name, size in corrector.reads():
            stream = streams.get(name)
            if stream is None or stream.size != size:
                there = 'none' if stream is None else f'{stream.size} numbers'
                msg = (
                    f"node {self.get_name()}: the corrector reads {size} numbers of '{name}', "
                    f'{self.embodiment.name} has {there}; train it for this robot'
                )
                raise AsyncChunkingError(msg)

    def _make_config(self, parameters: ExecutorParameters) -> ExecutorConfig:
        return ExecutorConfig(
            limits=self.embodiment.limits,
            joint_names=self.embodiment.joint_names,
            control_rate_hz=self.embodiment.control_rate_hz,
            continuous=self.embodiment.continuous,
            **parameters.model_dump(
                include={
                    'horizon', 'execution_horizon', 'policy_rate_hz', 'request_timeout_s',
                    'hold_timeout_s', 'blend_s', 'limit_tolerance',
                }
            ),
        )  # fmt: skip

    def configure(self) -> None:
        """Create topics and services; nothing moves yet."""
        self._config = self._make_config(self.parameters)
        robot, names = self.embodiment, self.embodiment.joint_names
        period_ns = round(1e9 / robot.control_rate_hz)
        simulated = self.get_parameter('use_sim_time').value
        self._pace = ClockPace(self, period_ns) if simulated else SteadyPace(period_ns)
        self._wall_ns = self._pace.now_ns if simulated else time.time_ns
        self._inputs = Inputs(None, None, behaviour(self.parameters))
        self._poses: deque[np.ndarray] = deque(maxlen=_POSES)
        self._pose_ns = 0  # When the newest one came.
        self._served = ''  # The last strategy of which a chunk took over.
        self._refusals = Counter[str]()  # Strategy -> refusals in a row of what was asked with it.
        streams = {_MEASURED: Stream(kind='measured', size=len(names))}
        if 'corrector:' in self.parameters.offers:
            streams |= {n: s for n, s in robot.observations.items() if s.is_numeric}
        self._observations = Observations(
            self, streams, robot, self._pace.now_ns, on_sample=self._on_sample
        )
        period_s = 1.0 / robot.control_rate_hz
        self._sinks = [sink_class(c.sink)(self, c, names, period_s) for c in robot.commands]
        self._writer = ControlStepWriter(names)
        self._steps = self.create_publisher(ControlStep, 'control_step', QoSProfile(depth=100))
        self._requests = self.create_publisher(
            ChunkRequestMsg, 'chunk_request', QoSProfile(depth=2)
        )
        # Raw, since the middleware drops what it cannot read without a word.
        self.create_subscription(
            ActionChunk, 'action_chunk', self._on_chunk, QoSProfile(depth=2), raw=True
        )
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(DelayEstimate, 'delay_estimate', self._on_delay, latched)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_service(Trigger, '~/stop', self._on_stop)
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self._reported: Counter[str] = Counter()
        self._unreadable = 0  # What claimed to be chunks.
        self._stopped_ns = 0  # When ~/stop stopped it.
        self._faults = 0  # Of the joint measurements, those that were told of.
        self.create_timer(1.0, self._diagnose)
        self.create_timer(0.1, self._forget_stale)

    def activate(self) -> None:
        """Start the command thread; it begins to send when the joints were measured."""
        parameters = self.parameters
        # The robot may have been moved since they were measured.
        self._inputs.measured = self._inputs.observation = None
        self._poses.clear()
        self._stopped_ns = 0
        if parameters.realtime_priority > 1:
            raise_all_threads(parameters.realtime_priority - 1)
        self._loop = CommandLoop(
            self._config, self._pace, self._inputs, self,
            parameters.realtime_priority, parameters.lock_memory,
        )  # fmt: skip
        self._loop.start()

    def deactivate(self) -> None:
        """Bring the robot to rest and stop sending."""
        self._loop.stop()
        for sink in self._sinks:
            sink.release()
        self._diagnostics.publish(diagnostics.OK, 'inactive', self._values(self._loop))
        self._loop = None

    def cleanup(self) -> None:
        """Stop listening to a clock."""
        self._pace.close()

    def apply(self, parameters: ExecutorParameters) -> None:
        """Change the strategy with the next request."""
        self._inputs.behaviour = behaviour(parameters)

    # --- what arrives ---------------------------------------------------------------------------

    def _on_sample(self, name: str, values: np.ndarray) -> None:
        if name == _MEASURED:
            now_ns = self._pace.now_ns()
            if now_ns - self._pose_ns > self.parameters.stale_s * 1e9:
                self._poses.clear()  # It may have been moved meanwhile.
            self._poses.append(values)
            self._pose_ns = now_ns
            if len(self._poses) == _POSES:
                self._inputs.measured = np.median(self._poses, axis=0)
        else:
            self._inputs.observation = {**(self._inputs.observation or {}), name: values}

    def _on_chunk(self, data: bytes) -> None:
        try:
            message = deserialize_message(data, ActionChunk)
        except Exception:  # rclpy does not say which.
            self._unreadable += 1
            return
        if self._loop is not None:
            if message.refusal:
                self._refused(message)
            else:
                self._refusals.clear()
            self._loop.deliver(convert.chunk_value(message))

    def _refused(self, message: ActionChunk) -> None:
        """Go back from a strategy that the policy cannot serve to the last one that it did.

        One refusal may have another reason, such as a camera that is late; two in a row count.
        """
        self._refusal = message.refusal
        executor, wanted = self._loop.executor, self.parameters.strategy
        mine = executor is not None and message.run_id == executor.run_id
        if not mine or message.strategy != wanted:
            return
        self._refusals = Counter({wanted: self._refusals[wanted] + 1})
        if self._served not in ('', wanted) and self._refusals[wanted] > 1:
            (result,) = self.set_parameters([Parameter('strategy', value=self._served)])
            if result.successful:
                self.get_logger().error(f'strategy {wanted} is taken back: {message.refusal}')

    def _on_delay(self, message: DelayEstimate) -> None:
        self._inputs.delay = min(message.delay, self._config.horizon)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request  # Empty.
        age = self._measured_age()
        if self._loop is None or self._loop.executor is None:
            response.message = (
                'the executor is not active, or no joint positions were measured yet'
            )
        elif not age <= self.parameters.stale_s:
            response.message = f'the newest joint positions are {age:.2f} s old; is the driver up?'
        elif len(self._poses) < _POSES:
            response.message = 'the joint positions have only just come back; ask again'
        else:
            limits = self._config.limits
            span = limits.upper - limits.lower
            displaced = self.parameters.displaced * np.where(np.isfinite(span), span, TURN)
            run_id = self._loop.reset(displaced)
            response.success = run_id is not None
            self._stopped_ns *= not response.success
            response.message = (
                f'run {run_id}' if response.success else 'the command thread is stuck'
            )
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request  # Empty.
        response.success = self._loop is not None and self._loop.executor is not None
        if response.success:
            self._stopped_ns = self._pace.now_ns()
            self._loop.brake()
        response.message = 'braking' if response.success else 'the executor sends nothing'
        return response

    def _forget_stale(self) -> None:
        """Correct by nothing rather than by what has gone silent."""
        for name in self._inputs.observation or ():
            sample = self._observations.latest(name)
            age = (self._pace.now_ns() - sample.received_ns) * 1e-9
            if age > self.parameters.stale_s:
                self._inputs.observation = None
                return

    def _measured_age(self) -> float:
        sample = self._observations.latest(_MEASURED)
        return (
            float('nan') if sample is None else (self._pace.now_ns() - sample.received_ns) * 1e-9
        )

    # --- command thread -------------------------------------------------------------------------

    def command(self, step: Step) -> None:
        """Send a command."""
        stamp_ns = self._wall_ns()
        for sink in self._sinks:
            sink.send(step.command, stamp_ns)

    def report(self, step: Step, deadline_ns: int, emitted_ns: int, executor: Executor) -> None:
        """Publish what was done on a tick."""
        if step.took_over:
            self._served = executor.behaviour.name
        measured = self._observations.latest(_MEASURED)
        message = self._writer.write(step, executor, measured, emitted_ns)
        message.deadline_ns, message.emitted_ns = deadline_ns, emitted_ns
        convert.set_time(message.header.stamp, self._wall_ns())
        self._steps.publish(message)

    def ask(self, request: ChunkRequest) -> None:
        """Publish a request."""
        message = convert.request_message(request, self._config, self._wall_ns())
        self._requests.publish(message)

    def _service(self, name: str) -> str:
        return self.resolve_service_name(f'~/{name}')

    # --- diagnostics ----------------------------------------------------------------------------

    def _diagnose(self) -> None:
        loop = self._loop
        if loop is None:
            self._diagnostics.publish(diagnostics.OK, 'inactive', {})
            return
        if loop.error is not None:
            self.get_logger().fatal(f'the command thread ended: {loop.error!r}')
            self.failure = repr(loop.error)
        for sentence in loop.denied:
            self.get_logger().warning(sentence)
        loop.denied.clear()
        counters = loop.counters + Counter(unreadable=self._unreadable)
        new, self._reported = counters - self._reported, counters
        level, message = self._state(loop, new)
        self._diagnostics.publish(level, message, self._values(loop))
        if level != diagnostics.OK:
            self.get_logger().warning(message, throttle_duration_sec=5.0)

    def _values(self, loop: CommandLoop) -> dict[str, Any]:
        """Return every counter by name, and where the run is."""
        values: dict[str, Any] = {outcome.name.lower(): 0 for outcome in Outcome} | loop.counters
        executor = loop.executor
        if executor is not None:
            values |= {
                'run_id': executor.run_id,
                'tick': executor.tick,
                'phase': executor.phase.name,
            }
            values['strategy'] = executor.behaviour.name
        values['unreadable'] = self._unreadable
        values['delay'] = self._inputs.delay
        values['measured_age_s'] = round(self._measured_age(), 4)
        values['joint_states_faults'] = self._observations.faults[_MEASURED]
        return values

    def _state(self, loop: CommandLoop, new: Counter[str]) -> tuple[bytes, str]:
        """Return level and sentence for the last second."""
        executor = loop.executor
        if executor is None:
            why = self._observations.silence(_MEASURED)
            return diagnostics.ERROR, f'waiting for {self._observations.place(_MEASURED)}: {why}'
        if self._measured_age() > self.parameters.stale_s:
            faults = self._observations.faults[_MEASURED]
            broken, self._faults = faults > self._faults, faults
            why = f'{self._observations.place(_MEASURED)} has gone silent'
            return diagnostics.ERROR, self._observations.reasons[_MEASURED] if broken else why
        if executor.phase is Phase.STOPPED:
            if self._stopped_ns:
                left_so = self._pace.now_ns() - self._stopped_ns > _LEFT_STOPPED * 1e9
                level = diagnostics.WARN if left_so else diagnostics.OK
                return level, f'stopped by {self._service("stop")}; call {self._service("reset")}'
            sentence = f'safe stop: the plan ran out for too long; call {self._service("reset")}'
            return diagnostics.ERROR, sentence
        for outcome in Outcome:
            if outcome is not Outcome.ACCEPTED and new[outcome.name.lower()]:
                count = new[outcome.name.lower()]
                known = executor.reasons.get(outcome, outcome.value)
                why = self._refusal if outcome is Outcome.REFUSED else known
                return diagnostics.WARN, f'{outcome.name.lower()} ({count}): {why}'
        for sink in self._sinks:
            if sink.trouble:
                return diagnostics.WARN, sink.trouble
        if new['unreadable']:
            return diagnostics.WARN, f'unreadable ({new["unreadable"]}): bytes that are no chunk'
        if new['missed_ticks'] or new['starved_ticks']:
            return diagnostics.WARN, (
                f'{new["missed_ticks"]} ticks missed, {new["starved_ticks"]} ticks without a plan'
            )
        delay, interval = self._inputs.delay, self._config.execution_horizon
        if not delay <= interval <= self._config.horizon - delay:
            return diagnostics.WARN, (
                f'infeasible: delay {delay} <= execution_horizon {interval} <= horizon '
                f'{self._config.horizon} - delay does not hold'
            )
        return diagnostics.OK, executor.phase.name.lower()


def main() -> int:
    """Run the node."""
    return run(ExecutorNode)


if __name__ == '__main__':
    raise SystemExit(main())
