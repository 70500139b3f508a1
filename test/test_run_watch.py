# SPDX-License-Identifier: Apache-2.0
"""Joints are watched from where a run began until its first chunk takes over, and no longer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.executor import ExecutorConfig, Phase
from async_chunking.nodes.run_watch import RunWatch
from async_chunking.safety import Limits

BEGIN, ELSEWHERE = np.array([0.1, 0.1]), np.array([0.1, 0.6])


LIMITS = Limits(np.full(2, -1.0), np.full(2, 1.0), np.full(2, 2.0), np.full(2, 10.0))
CONFIG = ExecutorConfig(LIMITS, ('a', 'b'), 16, 8)


@pytest.fixture
def watch() -> RunWatch:
    watch = RunWatch(CONFIG, ExecutorParameters())
    watch.activate(np.empty(0))
    watch.wait(BEGIN)
    return watch


def measured(watch: RunWatch, pose: np.ndarray, phase: Phase, times: int = 5) -> list[bool]:
    return [watch.departed(pose, phase) for _ in range(times)]


def test_a_pose_that_was_false_stops_the_run_before_its_first_chunk(watch: RunWatch) -> None:
    assert not any(measured(watch, BEGIN, Phase.WAITING_FIRST))
    assert measured(watch, ELSEWHERE, Phase.WAITING_FIRST) == [False, False, True, False, False]
    assert watch.left.startswith('joints left the pose at which the run began: b by +0.5')


def test_who_waits_again_after_a_clock_was_set_may_be_elsewhere(watch: RunWatch) -> None:
    measured(watch, BEGIN, Phase.WAITING_FIRST)
    assert not any(measured(watch, ELSEWHERE, Phase.EXECUTING))
    assert not any(measured(watch, ELSEWHERE, Phase.WAITING_FIRST))
    assert watch.left == ''


def test_a_reset_begins_to_watch_anew(watch: RunWatch) -> None:
    measured(watch, ELSEWHERE, Phase.EXECUTING)
    watch.begin(ELSEWHERE)
    assert not any(measured(watch, ELSEWHERE, Phase.WAITING_FIRST))
    assert any(measured(watch, BEGIN, Phase.WAITING_FIRST))


def test_once_a_run_began_the_last_command_of_before_is_of_no_account(watch: RunWatch) -> None:
    watch.activate(BEGIN)
    for k in range(500):
        watch.poses.add(ELSEWHERE, 0.01 * k)
    assert watch.poses.pose is None
    assert watch.poses.reason.startswith('not where they were last told to be: b by +0.5')
    measured(watch, ELSEWHERE, Phase.EXECUTING, times=1)
    assert watch.poses.pose.tolist() == ELSEWHERE.tolist()


def test_joints_that_are_followed_may_be_elsewhere() -> None:
    watch = RunWatch(CONFIG, ExecutorParameters(if_displaced='follow'))
    watch.activate(np.empty(0))
    watch.wait(BEGIN)
    assert not any(measured(watch, ELSEWHERE, Phase.WAITING_FIRST))
    assert watch.left == ''
