# SPDX-License-Identifier: Apache-2.0
"""The executor node in this process: what its lifecycle and its parameters must not let happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.parameter import Parameter  # noqa: E402

from async_chunking.msg import ActionChunk  # noqa: E402
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


def test_a_strategy_with_a_wrong_constant_is_refused_and_changes_nothing(node) -> None:
    node.trigger_activate()
    (result,) = node.set_parameters([Parameter('strategy', value='ensemble:decay=abc')])
    assert not result.successful
    assert 'decay' in result.reason
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
