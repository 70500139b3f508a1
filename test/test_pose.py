# SPDX-License-Identifier: Apache-2.0
"""A measured pose is believed if it is finite, inside the limits, and stays; else it is said why."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.pose import PoseWatch
from async_chunking.safety import Limits

# A waist, a finger that cannot be at 0, and a joint that turns without end.
LIMITS = Limits(
    [-3.0, 0.021, -np.inf], [3.0, 0.057, np.inf], [3.0, 1.0, 3.0], [10.0, 5.0, 10.0]
)
HOME = np.array([0.4, 0.03, 3.1])
SETTLE = 0.3


def watch() -> PoseWatch:
    return PoseWatch(
        LIMITS, ('waist', 'finger', 'wheel'), np.array([False, False, True]), SETTLE, 0.05, 0.5
    )


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
        (1, 0.0, 'finger is measured at 0, its limits are 0.021 to 0.057'),
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
    assert poses.lag(far, HOME, np.full(3, 0.01)) == ''


def test_a_lag_is_named_by_joint_and_size() -> None:
    command = HOME - np.array([0.0, 0.009, 0.0])
    lag = watch().lag(HOME, command, np.array([0.1, 0.002, 0.1]))
    assert lag == 'finger by +0.009'
