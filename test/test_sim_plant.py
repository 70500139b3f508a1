# SPDX-License-Identifier: Apache-2.0
"""The simulated ViperX: published kinematics and limits, servos that follow smoothly."""

from __future__ import annotations

import numpy as np
import pytest

mujoco = pytest.importorskip('mujoco')

from async_chunking.gate import Gate  # noqa: E402
from async_chunking.robot import embodiment  # noqa: E402
from async_chunking.sim.plant import Plant, PlantError, load_model  # noqa: E402
from async_chunking.sim.viperx_kinematics import ReachError, pointing_down  # noqa: E402

READY = np.array([0.3, -0.2, 0.6, 0.0, 1.1, 0.3, 0.03])
RATE = 50.0


@pytest.fixture(scope='module')
def robot() -> embodiment.Embodiment:
    return embodiment.load('viperx')


@pytest.fixture
def plant(robot: embodiment.Embodiment) -> Plant:
    return Plant(load_model('viperx'), robot.joint_names, RATE)


def test_tip_at_zero_is_where_the_maker_says(plant: Plant) -> None:
    # The home matrix that Interbotix publishes for the vx300s.
    plant.reset(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03]))
    np.testing.assert_allclose(plant.site('tip'), [0.536494, 0.0, 0.42705], atol=1e-9)


@pytest.mark.parametrize('tip', [(0.3, -0.36, 0.06), (0.3, 0.0, 0.06), (0.4, 0.3, 0.1)])
def test_pointing_down_puts_the_tip_there(plant: Plant, tip: tuple) -> None:
    joints = pointing_down(np.array(tip), yaw=0.2)
    plant.reset(np.append(joints, 0.03))
    np.testing.assert_allclose(plant.site('tip'), tip, atol=1e-9)
    axes = plant.data.site('tip').xmat.reshape(3, 3)
    np.testing.assert_allclose(axes[:, 0], [0.0, 0.0, -1.0], atol=1e-9)
    fingers = axes[:, 1]
    assert np.arctan2(-fingers[0], fingers[1]) == pytest.approx(0.2)


def test_out_of_reach_is_said(plant: Plant) -> None:
    with pytest.raises(ReachError, match=r'the wrist cannot be 0\.9\d\d m from the shoulder'):
        pointing_down(np.array([0.9, 0.0, 0.1]))


def test_ranges_are_the_limits_of_the_embodiment(
    plant: Plant, robot: embodiment.Embodiment
) -> None:
    ranges = np.array([plant.model.joint(name).range for name in robot.joint_names])
    np.testing.assert_array_equal(ranges[:, 0], robot.limits.lower)
    np.testing.assert_array_equal(ranges[:, 1], robot.limits.upper)


def test_efforts_are_the_published_ones(plant: Plant) -> None:
    efforts = plant.model.actuator_forcerange[:, 1]
    np.testing.assert_array_equal(efforts, [10.0, 20.0, 15.0, 2.0, 5.0, 1.0, 5.0])


@pytest.mark.parametrize('joint', range(7))
def test_a_step_is_followed_quickly_and_without_overshoot(plant: Plant, joint: int) -> None:
    plant.reset(READY)
    size = 0.01 if plant.linear[joint] else 0.1
    command = READY.copy()
    command[joint] += size
    trace = []
    for _ in range(40):
        plant.step(command)
        trace.append((plant.positions[joint] - READY[joint]) / size)
    assert trace[4] > 0.63  # 0.1 s
    assert max(trace) < 1.02
    assert trace[-1] == pytest.approx(1.0, abs=0.01)


def test_a_smooth_motion_is_tracked_with_the_servos_lag(plant: Plant) -> None:
    plant.reset(READY)
    times = np.arange(150) / RATE
    wave = 0.2 * (1.0 - np.cos(2.0 * np.pi * 0.5 * times))
    commands = READY + np.outer(wave, [1, 1, -1, 1, 1, 1, 0.02])
    measured = []
    for command in commands:
        plant.step(command)
        measured.append(plant.positions)
    lag = 2  # Ticks: kv / kp is 36 to 40 ms.
    error = np.array(measured)[lag:, :6] - commands[1:-1, :6][: len(measured) - lag]
    assert np.abs(error).max() < 0.02
    assert np.sqrt((error**2).mean()) < 0.01


def test_the_arm_holds_its_pose_against_gravity(plant: Plant) -> None:
    plant.reset(READY)
    for _ in range(100):
        plant.step(READY)
    np.testing.assert_allclose(plant.positions, READY, atol=1e-3)
    assert np.abs(plant.velocities).max() < 1e-3


def test_limited_commands_keep_the_robot_inside_its_limits(
    plant: Plant, robot: embodiment.Embodiment
) -> None:
    rng = np.random.default_rng(0)
    limits = robot.limits
    gate = Gate(limits, 1.0 / RATE)
    plant.reset(READY)
    gate.start(plant.positions)
    worst = 0.0
    for _ in range(300):
        wild = rng.uniform(-4.0, 4.0, 7)
        command = gate.follow(wild, np.zeros(7))
        plant.step(command)
        outside = np.maximum(limits.lower - plant.positions, plant.positions - limits.upper)
        worst = max(worst, outside.max())
    assert worst < 0.01


def test_equal_commands_give_equal_motion(robot: embodiment.Embodiment) -> None:
    def run() -> np.ndarray:
        plant = Plant(load_model('viperx'), robot.joint_names, RATE)
        plant.reset(READY)
        rng = np.random.default_rng(1)
        for _ in range(50):
            plant.step(READY + rng.uniform(-0.1, 0.1, 7) * np.where(plant.linear, 0.05, 1.0))
        return plant.data.qpos.copy()

    np.testing.assert_allclose(run(), run(), atol=1e-9)


def test_reset_forgets_the_past(plant: Plant) -> None:
    plant.reset(READY)
    for _ in range(20):
        plant.step(READY + 0.01)
    plant.reset(READY)
    np.testing.assert_array_equal(plant.positions, READY)
    np.testing.assert_array_equal(plant.velocities, np.zeros(7))
    left, right = plant.data.joint('left_finger').qpos, plant.data.joint('right_finger').qpos
    assert left == right == READY[6]


def test_bad_use_is_refused_by_name(plant: Plant, robot: embodiment.Embodiment) -> None:
    with pytest.raises(PlantError, match=r"unknown model 'vyperx'\. Choices: .*viperx"):
        load_model('vyperx')
    with pytest.raises(PlantError, match=r"no actuator 'hand'\. Its actuators: waist, "):
        Plant(load_model('viperx'), ('waist', 'hand'), RATE)
    with pytest.raises(PlantError, match=r'control_rate_hz 60\.0 is not a whole number'):
        Plant(load_model('viperx'), robot.joint_names, 60.0)
    with pytest.raises(PlantError, match=r'7 finite numbers for waist, shoulder, .*got '):
        plant.step(np.zeros(6))
    with pytest.raises(PlantError, match='finite numbers'):
        plant.step(np.full(7, np.nan))
