# SPDX-License-Identifier: Apache-2.0
"""The executor node in this process: what its lifecycle and its parameters must not let happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.parameter import Parameter  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from async_chunking.bringup.parameters import DelayMonitorParameters  # noqa: E402
from async_chunking.executor import Phase  # noqa: E402
from async_chunking.msg import ActionChunk, DelayEstimate  # noqa: E402
from async_chunking.nodes import diagnostics  # noqa: E402
from async_chunking.nodes.descriptors import descriptor  # noqa: E402
from async_chunking.nodes.executor_node import ExecutorNode  # noqa: E402


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


def test_a_shutdown_of_an_active_node_ends_the_stream(node: ExecutorNode) -> None:
    node.trigger_activate()
    node._inputs.measured = np.full(7, 0.03)
    loop = node._loop
    until(lambda: loop.executor is not None and loop.executor.tick > 3)
    node.trigger_shutdown()
    assert not loop._thread.is_alive()


def test_a_pose_from_before_the_activation_is_not_believed(node: ExecutorNode) -> None:
    node._inputs.measured = np.full(7, 0.03)
    node._inputs.observation = {'observation.state': np.full(7, 0.03)}
    node.trigger_activate()
    time.sleep(0.2)
    assert node._loop.executor is None
    assert node._inputs.observation is None


def test_one_wrong_pose_moves_no_robot_that_rests(node: ExecutorNode) -> None:
    node.trigger_activate()
    home = np.full(7, 0.03)
    for _ in range(3):
        node._on_sample('measured', home)
    loop = node._loop
    until(lambda: loop.executor is not None and loop.executor.tick > 3)
    displaced = 0.01 * np.ones(7)
    node._on_sample('measured', home + 1.0)
    assert loop.reset(displaced) is not None
    until(lambda: loop.executor.tick > 3)
    np.testing.assert_array_equal(loop._last, home)
    for _ in range(2):  # It was moved indeed.
        node._on_sample('measured', home + 1.0)
    assert loop.reset(displaced) is not None
    until(lambda: loop.executor.tick > 3)
    np.testing.assert_array_equal(loop._last, home + 1.0)


def test_parameters_are_described_with_range_choices_and_whether_they_may_change(node) -> None:
    horizon, strategy, hold = node.describe_parameters(['horizon', 'strategy', 'hold_timeout_s'])
    assert horizon.read_only
    assert (horizon.integer_range[0].from_value, horizon.integer_range[0].to_value) == (
        1,
        2**63 - 1,
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
    node.trigger_activate()
    for _ in range(3):
        node._on_sample('measured', np.full(7, 0.03))
    until(lambda: node._loop.executor is not None and node._loop.executor.tick > 3)
    assert node._on_stop(Trigger.Request(), Trigger.Response()).success
    until(lambda: node._loop.executor.phase is Phase.STOPPED)
    monkey_age = node._measured_age
    node._measured_age = lambda: 0.0
    node._diagnose()
    node._stopped_ns -= int(6e9)
    node._diagnose()
    node._measured_age = monkey_age
    levels = [level for level, _ in diagnosed]
    assert levels == [diagnostics.OK, diagnostics.WARN]
    assert diagnosed[1][1] == 'stopped by /executor/stop; call /executor/reset'


def test_a_parameter_file_overrides_the_qos_of_a_topic(ros_domain_id) -> None:
    override = 'qos_overrides./control_step.publisher.depth:=5'
    rclpy.init(args=['--ros-args', '-p', override])
    node = ExecutorNode()
    try:
        for _ in range(2):  # Also when it is configured anew.
            node.trigger_configure()
            depth = next(p for p in node.publishers if p.topic_name == '/control_step')
            assert depth.qos_profile.depth == 5
            node.trigger_cleanup()
        assert not any('chunk_request' in name for name in node.get_parameters_by_prefix('qos_o'))
    finally:
        node.end()
        rclpy.shutdown()


def test_a_strategy_with_a_wrong_constant_is_refused_and_changes_nothing(node) -> None:
    node.trigger_activate()
    (result,) = node.set_parameters([Parameter('strategy', value='ensemble:decay=abc')])
    assert not result.successful
    assert 'decay' in result.reason
    (result,) = node.set_parameters([Parameter('strategy', value='naive:foo=1')])
    assert result.reason.startswith("strategy 'naive:foo=1' has no constant 'foo'")
    assert node.get_parameter('strategy').value == 'naive'
    assert node._inputs.behaviour.name == 'naive'


def test_a_strategy_that_is_refused_twice_gives_way_to_the_last_that_was_served(node) -> None:
    node.trigger_activate()
    for _ in range(3):
        node._on_sample('measured', np.full(7, 0.03))
    until(lambda: node._loop.executor is not None)
    node._served = 'naive'
    node.set_parameters([Parameter('strategy', value='ensemble')])
    node._loop.reset(np.ones(7))  # An episode ended: the new run has executed nothing yet.
    run_id = node._loop.executor.run_id
    no = ActionChunk(run_id=run_id, strategy='ensemble', refusal='no such constant')
    node._refused(ActionChunk(run_id=run_id + 1, strategy='ensemble', refusal='another run'))
    node._refused(no)
    assert node.get_parameter('strategy').value == 'ensemble'  # It may pass.
    node._refused(no)
    assert node.get_parameter('strategy').value == 'naive'
    assert node._inputs.behaviour.name == 'naive'


def test_a_stream_that_went_silent_corrects_nothing(node: ExecutorNode) -> None:
    """The corrector of a robot is given what its streams say, while they say it."""
    now = {'ns': 0}
    sample = SimpleNamespace(received_ns=0)
    node._pace = SimpleNamespace(now_ns=lambda: now['ns'], close=node._pace.close)
    node._observations = SimpleNamespace(latest=lambda name: sample)
    seen = {'observation.state': np.zeros(7)}
    node._inputs.observation = seen
    now['ns'] = round(node.parameters.stale_s * 1e9)
    node._forget_stale()
    assert node._inputs.observation is seen  # As old as allowed.
    now['ns'] += 1_000_000
    node._forget_stale()
    assert node._inputs.observation is None


def test_poses_from_before_a_silence_do_not_count_with_those_after(node: ExecutorNode) -> None:
    home, moved = np.full(7, 0.03), np.full(7, 0.05)
    for _ in range(3):
        node._on_sample('measured', home)
    assert node._inputs.measured.tolist() == home.tolist()
    node._pose_ns -= round(2e9 * node.parameters.stale_s)  # The driver was gone meanwhile.
    node._on_sample('measured', moved)
    node._on_sample('measured', moved)
    assert node._inputs.measured.tolist() == home.tolist()  # Two are not enough to believe.
    node._on_sample('measured', moved)
    assert node._inputs.measured.tolist() == moved.tolist()


def test_a_reset_waits_for_a_driver_that_is_up(node: ExecutorNode) -> None:
    node.trigger_activate()
    for _ in range(3):
        node._on_sample('measured', np.full(7, 0.03))
    until(lambda: node._loop.executor is not None)
    age = {'s': 0.0}
    node._measured_age = lambda: age['s']
    age['s'] = node.parameters.stale_s + 0.01
    answer = node._on_reset(Trigger.Request(), Trigger.Response())
    assert not answer.success
    assert 'is the driver up?' in answer.message
    age['s'] = float('nan')
    assert not node._on_reset(Trigger.Request(), Trigger.Response()).success
    age['s'] = node.parameters.stale_s
    assert node._on_reset(Trigger.Request(), Trigger.Response()).success


def test_an_answer_between_two_refusals_lets_a_strategy_stay(node: ExecutorNode) -> None:
    node.trigger_activate()
    for _ in range(3):
        node._on_sample('measured', np.full(7, 0.03))
    until(lambda: node._loop.executor is not None)
    node._served = 'naive'
    node.set_parameters([Parameter('strategy', value='ensemble')])
    run_id = node._loop.executor.run_id
    no = ActionChunk(run_id=run_id, strategy='ensemble', refusal='the camera is late')
    node._on_chunk(serialize_message(no))
    node._on_chunk(serialize_message(ActionChunk(run_id=run_id, strategy='ensemble')))
    node._on_chunk(serialize_message(no))
    assert node.get_parameter('strategy').value == 'ensemble'


def test_a_delay_beyond_the_horizon_is_cut_to_it(node: ExecutorNode) -> None:
    node._on_delay(DelayEstimate(delay=2**31))
    assert node._inputs.delay == node._config.horizon
