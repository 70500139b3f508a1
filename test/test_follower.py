# SPDX-License-Identifier: Apache-2.0
"""Joints without physics: how far they go in a time, and where they do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from async_chunking.robot.follower import Follower, home
from async_chunking.safety import Limits

INF = math.inf


def follower(lower: float = -1.0, upper: float = 1.0, velocity: float = 100.0) -> Follower:
    return Follower(Limits(*(np.array([v]) for v in (lower, upper, velocity, 1.0))), lag_s=0.02)


def test_a_lag_later_63_per_cent_of_the_way_are_done_whatever_the_steps() -> None:
    for steps in (1, 4):
        joint = follower()
        joint.command(np.array([0.5]))
        for _ in range(steps):
            joint.step(0.02 / steps)
        assert joint.positions[0] == pytest.approx(0.5 * (1.0 - math.exp(-1.0)))


def test_velocity_and_position_stay_within_their_limits() -> None:
    joint = follower(velocity=2.0)
    joint.command(np.array([5.0]))
    speeds = []
    for _ in range(200):
        joint.step(0.01)
        speeds.append(joint.velocities[0])
    assert max(speeds) == pytest.approx(2.0)
    assert joint.positions[0] == pytest.approx(1.0)  # As far as it can go.
    assert joint.positions[0] <= 1.0


def test_joints_stand_where_they_can() -> None:
    lower = np.array([-1.0, 0.5, -2.0, -INF, 1.0, 0.0])
    upper = np.array([1.0, 1.5, -1.0, INF, INF, 1.0])
    limits = Limits(lower, upper, np.ones(6), np.ones(6))
    np.testing.assert_array_equal(home(limits), [0.0, 1.0, -1.5, 0.0, 1.0, 0.5])
