# SPDX-License-Identifier: Apache-2.0
"""A measured pose is believed if it can be and stays; else it is said why."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.gate import Gate
from async_chunking.mergers import MERGERS
from async_chunking.pose import Departure, PoseWatch, go_on, lagging, span
from async_chunking.safety import Limits

# A waist, a finger that cannot be at 0, and a joint that turns without end.
LIMITS = Limits([-3.0, 0.021, -np.inf], [3.0, 0.057, np.inf], [3.0, 1.0, 3.0], [10.0, 5.0, 10.0])
HOME = np.array([0.4, 0.03, 3.1])
SETTLE = 0.3
NAMES = ('waist', 'finger', 'wheel')
ENDLESS = np.array([False, False, True])


def watch() -> PoseWatch:
    return PoseWatch(LIMITS, NAMES, ENDLESS, SETTLE, 0.05, 0.5)


def tell(poses: PoseWatch, pose: np.ndarray, seconds: float, begin: float = 0.0) -> float:
    """Tell a pose at 100 Hz; return when that ended."""
    for k in range(round(seconds * 100.0)):
        poses.add(np.asarray(pose), begin + 0.01 * k)
    return begin + seconds


def test_a_pose_that_stays_is_believed_after_the_stated_time() -> None:
    poses = watch()
    tell(poses, HOME, 0.2)
    assert poses.pose is None
    assert poses.reason
    tell(poses, HOME, 0.2, 0.2)
    np.testing.assert_array_equal(poses.pose, HOME)
    assert poses.reason == ''


@pytest.mark.parametrize(
    ('joint', 'value', 'sentence'),
    [
        (0, np.nan, 'waist is measured at nan'),
        (1, np.inf, 'finger is measured at inf'),
        (0, 1e6, 'waist is measured at 1e+06, its limits are -3 to 3'),
        (0, 5.9, 'waist is measured at 5.9, its limits are -3 to 3'),
        (0, 3.4, 'waist is measured at 3.4, its limits are -3 to 3'),
        (1, 0.0, 'finger is measured at 0, its limits are 0.021 to 0.057'),
        (2, 1e18, 'wheel is measured at 1e+18, its limits are -1e+09 to 1e+09'),
        (2, -1.7e308, 'wheel is measured at -1.7e+308, its limits are -1e+09 to 1e+09'),
    ],
)
def test_what_no_robot_can_be_at_is_never_believed_and_named(joint, value, sentence) -> None:
    poses = watch()
    wrong = HOME.copy()
    wrong[joint] = value
    tell(poses, wrong, 2.0)
    assert (poses.pose, poses.reason) == (None, sentence)
    tell(poses, HOME, 1.0, 2.0)
    np.testing.assert_array_equal(poses.pose, HOME)
    tell(poses, wrong, 0.01, 3.0)
    assert (poses.pose, poses.reason) == (None, sentence)


def test_five_frames_of_zeros_from_a_driver_that_starts_are_not_believed() -> None:
    limits = Limits(-np.ones(2), np.ones(2), np.ones(2), np.ones(2))
    poses = PoseWatch(limits, ('a', 'b'), np.zeros(2, dtype=bool), SETTLE, 0.05, 0.5)
    home = np.array([0.5, -0.4])
    end = tell(poses, np.zeros(2), 0.05)
    for k in range(100):
        poses.add(home, end + 0.01 * k)
        assert poses.pose is None or (poses.pose == home).all()
    np.testing.assert_array_equal(poses.pose, home)


def test_a_joint_that_moves_is_not_believed_and_named() -> None:
    poses = watch()
    for k in range(100):
        poses.add(HOME + np.array([0.02 * k, 0.0, 0.0]), 0.01 * k)
        assert poses.pose is None
    assert poses.reason.startswith('waist is not at rest')


def test_a_silence_counts_as_a_move() -> None:
    poses = watch()
    tell(poses, HOME, 1.0)
    poses.add(HOME, 2.0)
    assert poses.pose is None


def test_an_angle_may_pass_the_end_of_its_turn() -> None:
    poses = watch()
    for k in range(50):
        poses.add(HOME + np.array([0.0, 0.0, -2.0 * np.pi * (k % 2)]), 0.01 * k)
    assert poses.reason == ''
    far = HOME + np.array([0.0, 0.0, 2.0 * np.pi])
    assert lagging(far, HOME, np.full(3, 0.01), NAMES, ENDLESS) == ''


def test_a_lag_is_named_by_joint_and_size() -> None:
    command = HOME - np.array([0.0, 0.009, 0.0])
    lag = lagging(HOME, command, np.array([0.1, 0.002, 0.1]), NAMES, ENDLESS)
    assert lag == 'finger by +0.009'


def told_after(displaced: str) -> tuple[Executor, np.ndarray]:
    """Return a run that follows one whose gripper was blocked, and its first commands."""
    config = ExecutorConfig(LIMITS, NAMES, 16, 8)
    behaviour = Behaviour('naive', MERGERS['switch'](), Corrector())
    gate = Gate(LIMITS, config.control_period)
    gate.start([0.4, 0.021, 3.1])  # DatasetInfo to be closed.
    measured = np.array([0.4, 0.035, 3.1 - 2.0 * np.pi])  # Holds an object.
    most = 0.05 * span(LIMITS)
    home, teleported = go_on(gate, measured, most, displaced, ENDLESS)
    run = Executor(config, behaviour, 2, measured, gate, home, teleported)
    return run, np.array([run.step().command for _ in range(60)])


def test_a_reset_in_contact_keeps_the_command() -> None:
    _, commands = told_after('keep')
    np.testing.assert_array_equal(commands, np.tile([0.4, 0.021, 3.1], (60, 1)))


def test_a_displaced_joint_is_followed_through_the_gate() -> None:
    _, commands = told_after('follow')
    np.testing.assert_allclose(commands[-1], [0.4, 0.035, 3.1])
    finger = np.concatenate([[0.021] * 3, commands[:, 1]])
    assert np.abs(np.diff(finger)).max() / 0.02 <= 1.0
    assert np.abs(np.diff(finger, n=2)).max() / 0.02**2 <= 5.0 + 1e-6


def test_only_a_simulation_begins_elsewhere_at_once_and_says_so() -> None:
    run, commands = told_after('teleport')
    np.testing.assert_array_equal(commands[0], [0.4, 0.035, 3.1])
    run = told_after('teleport')[0]
    assert not run.step().teleported  # Only on its first tick.
    for displaced in ('keep', 'follow'):
        gate = Gate(LIMITS, 0.02)
        gate.start(HOME)
        _, teleported = go_on(gate, HOME + 0.01, np.full(3, 0.001), displaced, ENDLESS)
        assert not teleported
        np.testing.assert_array_equal(gate.position, HOME)


def test_a_pose_that_is_not_where_the_last_command_was_is_not_believed() -> None:
    """A false pose after an activation, or a robot that was moved meanwhile."""
    poses, most = watch(), np.array([0.3, 0.002, 0.3])
    poses.anchor = (HOME, most)
    end = tell(poses, HOME + np.array([2.5, 0.0, 0.0]), 1.0)
    assert poses.pose is None
    assert 'waist by +2.5' in poses.reason
    end = tell(poses, HOME + np.array([0.1, 0.0, 2.0 * np.pi]), 1.0, end)
    assert poses.pose is not None
    poses.anchor = None
    tell(poses, HOME + np.array([2.5, 0.0, 0.0]), 1.0, end)
    assert poses.pose is not None


def test_joints_that_leave_a_pose_are_named_the_third_time() -> None:
    left = Departure(HOME, np.array([0.3, 0.002, 0.3]), NAMES, ENDLESS)
    away = HOME + np.array([0.5, 0.0, 0.0])
    nan = HOME * np.nan
    assert [left.add(pose) for pose in (away, away, HOME, HOME + 0.001, away, away)] == [''] * 6
    assert left.add(away) == 'waist by +0.5'
    assert [left.add(pose) for pose in (HOME, nan, nan)] == [''] * 3
    assert left.add(nan) == 'no number'


def test_a_clock_that_was_set_back_counts_as_a_move() -> None:
    poses = watch()
    tell(poses, HOME, 1.0)
    tell(poses, HOME, 0.25, 0.8)
    assert poses.pose is None
    tell(poses, HOME, 0.1, 1.05)
    np.testing.assert_array_equal(poses.pose, HOME)


def test_one_measurement_that_is_a_little_off_is_no_pose() -> None:
    poses = watch()
    end = tell(poses, HOME, 1.0)
    poses.add(HOME + np.array([0.1, 0.0, 0.0]), end)
    np.testing.assert_array_equal(poses.pose, HOME)


@pytest.mark.parametrize(('way', 'rests'), [(0.29, True), (0.31, False)])
def test_measurements_may_lie_apart_by_a_share_of_the_range(way: float, rests: bool) -> None:
    poses = watch()
    for k in range(100):
        poses.add(HOME + np.array([way * (k % 2), 0.0, 0.0]), 0.01 * k)
    assert (poses.pose is not None) == rests
    assert (lagging(HOME + way, HOME, np.full(3, 0.3), NAMES, ENDLESS) == '') == rests


def test_a_joint_in_motion_is_not_displaced() -> None:
    gate = Gate(LIMITS, 0.02)
    gate.start(HOME)
    gate.follow(HOME + 0.01, np.full(3, 0.001))
    assert gate.velocity[0] != 0.0
    for displaced in ('follow', 'teleport'):
        elsewhere = HOME - np.array([0.5, 0.0, 0.0])
        home, anew = go_on(gate, elsewhere, span(LIMITS) / 20, displaced, ENDLESS)
        assert home is None
        assert not anew
