# SPDX-License-Identifier: Apache-2.0
"""The executor node in this process: what its lifecycle and its parameters must not let happen."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import ReliabilityPolicy  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from async_chunking.bringup.parameters import DelayMonitorParameters  # noqa: E402
from async_chunking.errors import AsyncChunkingError  # noqa: E402
from async_chunking.executor import Phase  # noqa: E402
from async_chunking.msg import ActionChunk  # noqa: E402
from async_chunking.nodes import diagnostics  # noqa: E402
from async_chunking.nodes.descriptors import descriptor  # noqa: E402
from async_chunking.nodes.executor_node import ExecutorNode  # noqa: E402
from async_chunking.nodes.observations.sample import Sample  # noqa: E402

HOME, MOVED = np.full(7, 0.03), np.full(7, 0.05)


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def node(ros_domain_id) -> Iterator[ExecutorNode]:
    rclpy.init(args=[])
    node = ExecutorNode()
    node.trigger_configure()
    yield node
    node.end()
    rclpy.shutdown()


def measure(node: ExecutorNode, pose: np.ndarray, seconds: float = 0.5) -> None:
    """Let joint positions be measured for some time, and the sender know."""
    for k in range(round(100.0 * seconds)):
        node._watch.poses.add(pose, node._now_ns() * 1e-9 + 0.01 * (k - 100.0 * seconds))
    node._poll()


def run(node: ExecutorNode, pose: np.ndarray = HOME) -> None:
    """Let a run begin at a pose."""
    node.trigger_activate()
    measure(node, pose)
    until(lambda: node._sender.status.run_id and node._sender.status.tick > 3)


def test_a_shutdown_of_an_active_node_ends_the_stream(node: ExecutorNode) -> None:
    run(node)
    node.trigger_shutdown()
    assert not node._sender.status.active
    tick = node._sender.status.tick
    time.sleep(0.1)
    assert node._sender.status.tick == tick


def test_the_stream_may_begin_again_and_again(node: ExecutorNode) -> None:
    runs = set()
    for _ in range(3):
        run(node)
        runs.add(node._sender.status.run_id)
        node.trigger_deactivate()
    assert len(runs) == 3
    node.trigger_cleanup()
    node.trigger_configure()
    run(node)


def test_the_sender_ends_with_the_node_however_that_ends(node: ExecutorNode) -> None:
    run(node)
    node._sender._link._orders.shutdown(socket.SHUT_RDWR)  # As when the node is killed.
    assert node._sender._process.wait(timeout=20.0) == 0


def test_the_sender_minds_no_signal_of_the_terminal(node: ExecutorNode) -> None:
    run(node)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(node._sender.pid, number)
    tick = node._sender.status.tick
    until(lambda: node._sender.status.tick > tick + 10)


def test_a_sender_that_dies_ends_the_node_with_its_reason(node: ExecutorNode) -> None:
    run(node)
    os.kill(node._sender.pid, signal.SIGKILL)
    until(lambda: node._sender.ended)
    node._diagnose()
    assert node.failure == 'the sender ended'


def test_a_pose_from_before_the_activation_is_not_believed(node: ExecutorNode) -> None:
    measure(node, HOME)
    node._intake._on_sample('observation.state', HOME)
    node.trigger_activate()
    time.sleep(0.2)
    assert not node._sender.status.run_id
    assert not node._intake._observation


def test_one_wrong_pose_moves_no_robot_that_rests(node: ExecutorNode) -> None:
    run(node)
    most = 0.01 * np.ones(7)
    for seconds in (0.01, 0.5):  # Also if it was moved indeed.
        measure(node, MOVED, seconds)
        assert node._sender.begin(most) is not None
        until(lambda: node._sender.status.tick > 3)
        np.testing.assert_array_equal(node._sender.status.command, HOME)


FALSE = {
    'a million': np.full(7, 1e6), 'no number': np.full(7, np.nan),
    '2.9 rad off': HOME + 2.9 * (np.arange(7) == 0), 'zeros, outside a finger': np.zeros(7),
}  # fmt: skip


@pytest.mark.parametrize('name', FALSE)
def test_nothing_begins_at_a_false_pose(node: ExecutorNode, name: str) -> None:
    node.trigger_activate()
    measure(node, FALSE[name])
    time.sleep(0.2)
    # A waist may be at 2.9 rad; that it is not is only known after commands, as below.
    assert bool(node._sender.status.run_id) == (name == '2.9 rad off')
    assert bool(node._intake.doubt) == (name != '2.9 rad off')


@pytest.mark.parametrize('name', FALSE)
def test_no_false_pose_moves_a_robot_by_stop_and_reset_or_a_new_activation(node, name) -> None:
    run(node)
    node._runs.on_stop(Trigger.Request(), Trigger.Response())
    measure(node, FALSE[name])
    assert (node._intake.pose is None) == (name != '2.9 rad off')
    if node._intake.pose is not None:
        response = Trigger.Response()
        node._runs._begin(response, node._intake.pose)
        assert 'not where they were told to be: waist by +2.9; keep' in response.message
    time.sleep(0.1)
    np.testing.assert_array_equal(node._sender.status.command, HOME)
    node.trigger_deactivate()
    node.trigger_activate()
    measure(node, FALSE[name])
    time.sleep(0.2)
    assert not node._sender.status.run_id
    assert node._intake.doubt
    measure(node, HOME)  # It is back.
    until(lambda: node._sender.status.run_id)
    until(lambda: node._sender.status.tick > 3)
    np.testing.assert_array_equal(node._sender.status.command, HOME)


def test_a_second_publisher_of_commands_is_refused_and_later_an_error(node: ExecutorNode) -> None:
    from std_msgs.msg import Float64MultiArray

    topic = node._topics[0]
    other = rclpy.create_node('executor', namespace=node.get_namespace())  # A forgotten terminal.
    rival = other.create_publisher(Float64MultiArray, topic, 1)
    until(lambda: len(node.get_publishers_info_by_topic(topic)) > 1)
    with pytest.raises(AsyncChunkingError, match=f'{topic} has 2 publishers instead of 1'):
        node.activate()
    other.destroy_publisher(rival)
    until(lambda: len(node.get_publishers_info_by_topic(topic)) == 1)
    run(node)
    other.create_publisher(Float64MultiArray, topic, 1)
    until(lambda: len(node.get_publishers_info_by_topic(topic)) > 1)
    told = []
    node._diagnostics.publish = lambda *words: told.append(words)
    node._since -= 60.0  # It has run for long, so the others are new.
    node._diagnose()
    assert told[-1][0] == diagnostics.ERROR
    assert f'{topic} has 2 publishers' in told[-1][1]
    assert not node.failure
    node._since = time.monotonic()  # It is new itself, and discovery was slow.
    node._diagnose()
    other.destroy_node()
    assert node.failure.endswith('end the others first')


def test_joints_that_leave_where_a_run_began_stop_it(node: ExecutorNode) -> None:
    run(node)
    away = Sample(node._now_ns(), HOME + 0.5)
    node._intake.observations.latest = lambda _: away
    for _ in range(5):
        node._poll()
    until(lambda: node._sender.status.phase == Phase.STOPPED)
    assert 'joints left the pose at which the run began' in node._watch.left


def test_parameters_are_described_with_range_choices_and_whether_they_may_change(node) -> None:
    horizon, strategy, hold = node.describe_parameters(['horizon', 'strategy', 'hold_timeout_s'])
    assert horizon.read_only
    assert (horizon.integer_range[0].from_value, horizon.integer_range[0].to_value) == (
        1,
        10_000,
    )
    assert not strategy.read_only
    assert hold.floating_point_range[0].from_value == 0.0
    assert hold.floating_point_range[0].to_value == np.inf
    model = DelayMonitorParameters.model_fields
    assert descriptor(model['estimator']).additional_constraints.startswith('one of maximum, ')
    rate = descriptor(node.Parameters.model_fields['policy_rate_hz'])
    assert rate.additional_constraints == 'greater than 0'
    (result,) = node.set_parameters([Parameter('horizon', value=20)])
    assert not result.successful
    assert 'read-only' in result.reason


@pytest.fixture
def diagnosed(node: ExecutorNode, monkeypatch) -> list[tuple[bytes, str]]:
    told: list[tuple[bytes, str]] = []
    monkeypatch.setattr(node._diagnostics, 'publish', lambda *told_: told.append(told_[:2]))
    return told


def test_diagnostics_say_where_nothing_comes_from_and_also_while_inactive(
    node: ExecutorNode, diagnosed: list[tuple[bytes, str]]
) -> None:
    node._diagnose()
    node.trigger_activate()
    node._diagnose()
    assert diagnosed[0] == (diagnostics.OK, 'inactive')
    assert diagnosed[1][0] == diagnostics.ERROR
    assert diagnosed[1][1] == (
        'waiting for /joint_states: nobody publishes it on this host; '
        'for one on another host: ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET'
    )


def test_a_robot_that_is_left_stopped_is_warned_of(
    node: ExecutorNode, diagnosed: list[tuple[bytes, str]]
) -> None:
    run(node)
    assert node._runs.on_stop(Trigger.Request(), Trigger.Response()).success
    until(lambda: node._sender.status.phase == Phase.STOPPED)
    measure(node, HOME)
    node._diagnose()
    node._runs.stopped_at -= 6.0
    measure(node, HOME)
    node._diagnose()
    levels = [level for level, _ in diagnosed]
    assert levels == [diagnostics.OK, diagnostics.WARN]
    assert diagnosed[1][1] == 'stopped by /executor/stop; call /executor/reset'


def test_a_parameter_file_overrides_the_qos_of_a_topic(ros_domain_id) -> None:
    override = 'qos_overrides./control_step.publisher.reliability:=best_effort'
    rclpy.init(args=['--ros-args', '-p', override])
    node = ExecutorNode()
    try:
        for _ in range(2):  # Also when it is configured anew.
            node.trigger_configure()
            until(lambda: node.count_publishers('/control_step'))
            (info,) = node.get_publishers_info_by_topic('/control_step')
            assert info.qos_profile.reliability is ReliabilityPolicy.BEST_EFFORT
            node.trigger_cleanup()
            until(lambda: not node.count_publishers('/control_step'))
        assert not any('chunk_request' in name for name in node.get_parameters_by_prefix('qos_o'))
    finally:
        node.end()
        rclpy.shutdown()


def test_a_strategy_with_a_wrong_constant_is_refused_and_changes_nothing(node) -> None:
    run(node)
    (result,) = node.set_parameters([Parameter('strategy', value='ensemble:decay=abc')])
    assert not result.successful
    assert 'decay' in result.reason
    (result,) = node.set_parameters([Parameter('strategy', value='naive:foo=1')])
    assert result.reason.startswith("strategy 'naive:foo=1' has no constant 'foo'")
    assert node.get_parameter('strategy').value == 'naive'
    assert list(node._intake._behaviours) == ['naive']


def test_the_clock_of_a_configured_node_cannot_be_changed(node: ExecutorNode) -> None:
    (result,) = node.set_parameters([Parameter('use_sim_time', value=True)])
    assert not result.successful
    assert 'use_sim_time' in result.reason
    (same,) = node.set_parameters([Parameter('use_sim_time', value=False)])
    assert same.successful


def test_a_strategy_that_is_refused_twice_gives_way_to_the_last_that_was_served(
    node: ExecutorNode, monkeypatch
) -> None:
    run(node)
    run_id = node._sender.status.run_id
    node.set_parameters([Parameter('strategy', value='ensemble')])
    served = node._sender.status._replace(served='naive')  # In a run before this one.
    monkeypatch.setattr(type(node._sender), 'status', served)
    no = ActionChunk(run_id=run_id, strategy='ensemble', refusal='no such constant')
    hear = node._succession.on_chunk
    hear(ActionChunk(run_id=run_id + 1, strategy='ensemble', refusal='another run'))
    hear(no)
    assert node.get_parameter('strategy').value == 'ensemble'  # It may pass.
    hear(no)
    assert node.get_parameter('strategy').value == 'naive'
    monkeypatch.undo()


def test_an_answer_between_two_refusals_lets_a_strategy_stay(
    node: ExecutorNode, monkeypatch
) -> None:
    run(node)
    run_id = node._sender.status.run_id
    node.set_parameters([Parameter('strategy', value='ensemble')])
    served = node._sender.status._replace(served='naive')
    monkeypatch.setattr(type(node._sender), 'status', served)
    no = ActionChunk(run_id=run_id, strategy='ensemble', refusal='the camera is late')
    hear = node._succession.on_chunk
    hear(no)
    hear(ActionChunk(run_id=run_id, strategy='ensemble'))
    hear(no)
    assert node.get_parameter('strategy').value == 'ensemble'
    monkeypatch.undo()


def test_poses_from_before_a_silence_do_not_count_with_those_after(node: ExecutorNode) -> None:
    intake, now = node._intake, 100.0
    for k in range(50):
        node._watch.poses.add(HOME, now + 0.01 * k)
    assert intake.pose.tolist() == HOME.tolist()
    now += 2.0 + 2.0 * node.parameters.stale_s  # The driver was gone meanwhile.
    node._watch.poses.add(MOVED, now)
    assert intake.pose is None
    for k in range(50):
        node._watch.poses.add(MOVED, now + 0.01 * k)
    assert intake.pose.tolist() == MOVED.tolist()


def test_a_reset_waits_for_a_driver_that_is_up(node: ExecutorNode, monkeypatch) -> None:
    run(node)
    age = {'s': node.parameters.stale_s + 0.01}
    monkeypatch.setattr(type(node._intake), 'age', property(lambda _: age['s']))
    answer = node._runs.on_reset(Trigger.Request(), Trigger.Response())
    assert not answer.success
    assert 'is the driver up?' in answer.message
    age['s'] = float('nan')
    assert not node._runs.on_reset(Trigger.Request(), Trigger.Response()).success
    age['s'] = node.parameters.stale_s
    assert node._runs.on_reset(Trigger.Request(), Trigger.Response()).success
