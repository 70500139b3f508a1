# SPDX-License-Identifier: Apache-2.0
"""A robot as real processes over DDS, with a hostile peer, a dying policy and an operator."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from async_chunking.bringup.describe import describe
from async_chunking.executor import Outcome, Phase

pytest.importorskip('rclpy', reason='ROS 2 is not here: `make setup`')
pytest.importorskip('async_chunking.msg', reason='the messages are not built: `make setup`')

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from async_chunking.bringup.processes import Processes
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep

LIMITS = describe('viperx', {}).robot.limits
PERIOD = 0.02
PATIENCE = 90.0
# Commands travel as float32: what a rounding can add to a second difference.
SLACK = 4.0 * 2.0**-22 / PERIOD**2


class SeenRobot:
    """A running robot as a peer on the network sees it."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node('peer', context=self.context)
        self.steps: list[ControlStep] = []
        self.requests: list[ChunkRequest] = []
        self.counts: dict[str, str] = {}
        self.node.create_subscription(ControlStep, 'control_step', self.steps.append, 1000)
        self.node.create_subscription(ChunkRequest, 'chunk_request', self.requests.append, 100)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 100)
        self.chunks = self.node.create_publisher(ActionChunk, 'action_chunk', 10)
        self.transitions = self.node.create_client(ChangeState, 'executor/change_state')
        self.reset = self.node.create_client(Trigger, 'executor/reset')
        self.stop = self.node.create_client(Trigger, 'executor/stop')
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if 'executor' in status.name:
                self.counts = {item.key: item.value for item in status.values}

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Spin until a predicate holds, looking after the processes as `up` does."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f'after {PATIENCE} s still not: {what}'
            assert self.processes.look_after() == ''
            self.executor.spin_once(timeout_sec=0.05)

    def executing(self) -> bool:
        return bool(self.steps) and self.steps[-1].phase == Phase.EXECUTING

    def count(self, name: str) -> int:
        return int(self.counts.get(name, 0))

    def set(self, node: str, name: str, text: str) -> SimpleNamespace:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        client = self.node.create_client(SetParameters, f'{node}/set_parameters')
        result = self.call(client, request).results[0]
        self.node.destroy_client(client)
        return result

    def set_strategy(self, name: str) -> SimpleNamespace:
        return self.set('executor', 'strategy', name)

    def call(self, client, request):
        self.until(client.service_is_ready, f'service {client.srv_name}')
        future = client.call_async(request)
        self.until(future.done, f'an answer of {client.srv_name}')
        return future.result()


@pytest.fixture(scope='module')
def robot(ros_domain_id, tmp_path_factory) -> Iterator[SeenRobot]:
    """Run one robot for all tests of this file."""
    path = tmp_path_factory.mktemp('robot') / 'params.yaml'
    path.write_text(
        'executor: {ros__parameters: {hold_timeout_s: 0.6, request_timeout_s: 0.5}}\n'
        'sim: {ros__parameters: {pause_s: 0.1}}\n'
    )
    described = describe('viperx', {'params_file': str(path), 'log_level': 'warn'})
    with Processes(described.nodes, '', 'warn') as processes:
        robot = SeenRobot(processes)
        robot.until(robot.executing, 'a chunk is executed')
        yield robot
        robot.executor.shutdown()
        robot.node.destroy_node()
        robot.context.shutdown()


def runs(steps: list[ControlStep]) -> list[list[ControlStep]]:
    """Split steps by run."""
    by_run: dict[int, list[ControlStep]] = {}
    for step in steps:
        by_run.setdefault(step.run_id, []).append(step)
    return list(by_run.values())


def assert_within_limits(steps: list[ControlStep]) -> None:
    """Assert the limits on the commands as they came over the wire."""
    for run in runs(steps):
        sent = [step for step in run if not step.missed]
        command = np.array([step.command for step in sent], dtype=np.float64)
        assert (command >= LIMITS.lower - 1e-6).all()
        assert (command <= LIMITS.upper + 1e-6).all()
        ticks = np.array([step.tick for step in sent])
        velocity = np.diff(command, axis=0) / PERIOD
        together = np.diff(ticks) == 1
        assert (np.abs(velocity[together]) <= LIMITS.velocity + SLACK * PERIOD).all()
        acceleration = np.diff(velocity, axis=0) / PERIOD
        together = together[1:] & together[:-1]
        assert (np.abs(acceleration[together]) <= LIMITS.acceleration + SLACK).all()


def test_the_stream_has_every_tick_once_and_keeps_the_limits(robot: SeenRobot) -> None:
    start = len(robot.steps)
    robot.until(lambda: len(robot.steps) >= start + 150, '150 more ticks')
    steps = robot.steps[start:]
    for run in runs(steps):
        assert [step.tick for step in run] == list(range(run[0].tick, run[0].tick + len(run)))
        deadlines = np.diff([step.deadline_ns for step in run])
        np.testing.assert_array_equal(deadlines, 20_000_000)  # Absolute: no drift at all.
    assert any(step.took_over for step in steps)
    assert_within_limits(steps)


@pytest.mark.parametrize(
    ('outcome', 'changes'),
    [
        (Outcome.NOT_FINITE, {'actions': [float('nan')] * 112}),
        (Outcome.OVER_LIMITS, {'actions': [50.0] * 112}),
        (Outcome.WRONG_SIZE, {'columns': 8}),
        (Outcome.WRONG_SIZE, {'rows': 3}),
        (Outcome.WRONG_JOINTS, {'joint_names': list('abcdefg')}),
        (Outcome.FUTURE, {'tick': 10**12}),
        (Outcome.UNREQUESTED, {'tick': -5}),
        (Outcome.UNREQUESTED, {'request_id': 4_000_000}),
        (Outcome.WRONG_RUN, {'run_id': 1}),
        (Outcome.REFUSED, {'refusal': 'not today'}),
    ],
)
def test_a_bad_chunk_is_counted_by_name_and_moves_nothing(
    robot: SeenRobot, outcome: Outcome, changes: dict
) -> None:
    name = outcome.name.lower()
    robot.until(lambda: name in robot.counts, 'diagnostics')
    before, start = robot.count(name), len(robot.steps)

    def attack() -> bool:
        """Answer each new request at once, before the policy can."""
        if robot.requests:
            request = robot.requests.pop()
            robot.requests.clear()
            chunk = ActionChunk(
                run_id=request.run_id, request_id=request.request_id, tick=request.tick,
                rows=16, columns=7, actions=[0.03] * 112, joint_names=request.joint_names,
            )  # fmt: skip
            for field, value in changes.items():
                setattr(chunk, field, value)
            robot.chunks.publish(chunk)
        return robot.count(name) > before

    robot.until(attack, f'{name} is counted')
    robot.until(robot.executing, 'the robot goes on')
    assert_within_limits(robot.steps[start:])


def test_a_chunk_is_taken_once_and_never_after_a_newer_one(robot: SeenRobot) -> None:
    heard: list[ActionChunk] = []
    subscription = robot.node.create_subscription(ActionChunk, 'action_chunk', heard.append, 10)

    def replayed(name: str, back: int) -> Callable[[], bool]:
        before = robot.count(name)

        def replay() -> bool:
            if len(heard) >= back and robot.executing():
                run = [chunk for chunk in heard if chunk.run_id == robot.steps[-1].run_id]
                taken = [c for c in run if c.request_id <= robot.steps[-1].request_id]
                if len(taken) >= back:
                    robot.chunks.publish(taken[-back])
            return robot.count(name) > before

        return replay

    robot.until(replayed('duplicate', 1), 'duplicate is counted')
    robot.until(replayed('out_of_order', 3), 'out_of_order is counted')
    robot.node.destroy_subscription(subscription)


def test_a_killed_policy_is_started_again_and_the_robot_goes_on(robot: SeenRobot) -> None:
    start = len(robot.steps)
    victim = robot.processes.pid('policy')
    os.kill(victim, signal.SIGKILL)
    robot.until(lambda: robot.processes.pid('policy') not in (victim, 0), 'a new policy')
    # An episode that ends just then begins a new run, which waits for its first chunk.
    rest = (Phase.HOLDING, Phase.STOPPED, Phase.WAITING_FIRST)
    robot.until(lambda: any(step.phase in rest for step in robot.steps[start:]), 'a rest')

    # The simulated robot gives its episode up and asks for a new run, or an operator resets.
    def recovered() -> bool:
        if robot.steps[-1].phase == Phase.STOPPED:
            robot.call(robot.reset, Trigger.Request())
        return robot.executing()

    robot.until(recovered, 'chunks are executed again')
    steps = robot.steps[start:]
    for run in runs(steps):
        assert [step.tick for step in run] == list(range(run[0].tick, run[0].tick + len(run)))
    assert_within_limits(steps)


def test_a_strategy_is_changed_at_run_time_and_a_wrong_one_refused(robot: SeenRobot) -> None:
    assert robot.set_strategy('ensemble').successful
    robot.until(lambda: robot.steps[-1].strategy == 'ensemble', 'the strategy in force')
    robot.until(lambda: robot.requests and robot.requests[-1].strategy == 'ensemble', 'a request')

    refused = robot.set_strategy('ensembel')
    assert not refused.successful
    assert "unknown strategy 'ensembel'. Did you mean 'ensemble'?" in refused.reason
    refused = robot.set_strategy('ensemble:decay=slow')
    assert not refused.successful
    assert "decay must be a number from 0 to 10000, not 'slow'" in refused.reason
    refused = robot.set_strategy('sync+ensemble')
    assert not refused.successful
    assert 'sets the merger twice' in refused.reason
    refused = robot.set_strategy('bid_full+remac')
    assert not refused.successful

    for name in ('paint:grid=none', 'paint:foo=1', 'bid:samples=0', 'rtc:schedule=cosine'):
        refused = robot.set_strategy(name)
        assert not refused.successful, name
        assert 'must be' in refused.reason or 'has no constant' in refused.reason
    assert robot.steps[-1].strategy == 'ensemble'  # The plan goes on.
    assert robot.set_strategy('naive').successful
    robot.until(lambda: robot.steps[-1].strategy == 'naive', 'the old strategy')


def test_a_frozen_policy_ends_in_a_safe_stop_that_a_service_resets(robot: SeenRobot) -> None:
    frozen = robot.processes.pid('policy')

    def stopped() -> bool:
        """Freeze the policy; an episode that ends just then begins a new run without a plan."""
        robot.until(robot.executing, 'chunks are executed')
        os.kill(frozen, signal.SIGSTOP)
        ended = (Phase.STOPPED, Phase.WAITING_FIRST)
        try:
            robot.until(lambda: robot.steps[-1].phase in ended, 'the end of the plan')
        finally:
            os.kill(frozen, signal.SIGCONT)
        return robot.steps[-1].phase == Phase.STOPPED

    assert any(stopped() for _ in range(10))
    still = [step for step in robot.steps[-20:] if step.phase == Phase.STOPPED]
    assert all(list(step.command) == list(still[0].command) for step in still)
    before = robot.count('stopped')
    time.sleep(0.2)
    assert robot.steps[-1].phase == Phase.STOPPED  # Latched: the policy alone does not wake it.
    assert robot.count('stopped') >= before
    robot.until(  # A reset waits for joints that rest: it says so, and is asked again.
        lambda: robot.call(robot.reset, Trigger.Request()).success, 'the reset is granted'
    )
    robot.until(robot.executing, 'chunks are executed again')


def test_an_executor_that_was_taken_down_and_up_again_begins_a_new_run(robot: SeenRobot) -> None:
    robot.until(robot.executing, 'chunks are executed')
    begin = len(robot.steps) - 1
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
    ):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call(robot.transitions, request).success

    def at_rest() -> bool:
        """Whether the last commands of all rest: an episode that ends begins a run meanwhile."""
        last = robot.steps[-2:]
        return list(last[0].command) == list(last[1].command)

    robot.until(at_rest, 'the last commands rest')  # They may still be on their way.
    seen = {step.run_id for step in robot.steps[begin:]}
    assert_within_limits([step for step in robot.steps if step.run_id in seen])
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    assert robot.call(robot.transitions, request).success
    robot.until(lambda: robot.steps[-1].run_id not in seen and robot.executing(), 'a new run')


def test_a_simulation_that_was_taken_down_and_up_again_begins_a_new_run(robot: SeenRobot) -> None:
    robot.until(robot.executing, 'chunks are executed')
    client = robot.node.create_client(ChangeState, 'sim/change_state')
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        if transition == Transition.TRANSITION_CONFIGURE:
            robot.until(lambda: robot.steps[-1].phase == Phase.STOPPED, 'it is stopped')
        request = ChangeState.Request(transition=Transition(id=transition))
        assert robot.call(client, request).success
    robot.node.destroy_client(client)
    robot.until(robot.executing, 'chunks are executed again')


def test_the_latency_is_changed_at_run_time(robot: SeenRobot) -> None:
    def delays(since_ns: int, count: int) -> list[int]:
        """Return the delays of chunks that were asked for since then."""

        def taken() -> list[int]:
            return [
                step.delay
                for step in robot.steps
                if step.took_over and step.deadline_ns - 20_000_000 * step.delay > since_ns
            ]

        robot.until(lambda: len(taken()) >= count, f'{count} takeovers')
        return taken()

    assert robot.set('policy', 'latency_ms', '100').successful
    assert min(delays(time.monotonic_ns(), 4)) >= 5
    refused = robot.set('policy', 'latency_ms', 'quick')
    assert not refused.successful
    assert 'uniform:90:150' in refused.reason
    refused = robot.set('policy', 'latency_ms', '1000')  # As launching would be.
    assert not refused.successful
    assert 'the horizon of 16 rows is too short' in refused.reason
    refused = robot.set('executor', 'embodiment', 'franka')
    assert not refused.successful
    assert 'read-only' in refused.reason


def test_stop_on_request_lasts_until_a_reset(robot: SeenRobot) -> None:
    robot.until(robot.executing, 'a chunk is executed')
    run = robot.steps[-1].run_id
    assert robot.call(robot.stop, Trigger.Request()).success
    robot.until(lambda: robot.steps[-1].phase == Phase.STOPPED, 'it is stopped')
    robot.until(
        lambda: (
            robot.steps[-1].run_id != run
            or np.array_equal(robot.steps[-1].command, robot.steps[-2].command)
        ),
        'it is at rest',
    )
    robot.until(  # The joints come to rest after the commands.
        lambda: robot.call(robot.reset, Trigger.Request()).success, 'the reset is granted'
    )
    robot.until(lambda: robot.executing() and robot.steps[-1].run_id != run, 'a new run')


def test_a_running_robot_is_asked_and_changed_without_ros2(robot: SeenRobot) -> None:
    from async_chunking.nodes.control import Control, ControlError

    with Control('', patience_s=PATIENCE) as control:
        reports = control.sight(['executor', 'policy']).reports
        assert reports['executor']['phase'] in Phase.__members__
        with pytest.raises(ControlError, match="executor: unknown strategy 'foo'"):
            control.set('executor', 'strategy', 'foo')
        control.set('executor', 'strategy', 'naive')
    with pytest.raises(ControlError, match='no robot was found in namespace /elsewhere'):
        Control('elsewhere', patience_s=0.5).trigger('executor', 'stop')
