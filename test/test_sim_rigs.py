# SPDX-License-Identifier: Apache-2.0
"""Plants and slaloms of the other rigs: kinematics, what drivers refuse, experts that succeed."""

from __future__ import annotations

import subprocess
import sys

import mujoco
import numpy as np
import pytest

from async_chunking.robot.embodiment import load
from async_chunking.sim import make_task
from async_chunking.sim.episodes import record
from async_chunking.sim.franka_catch import CLOSED, OPEN, FrankaPlant, build_model
from async_chunking.sim.humanoid_place import CLEARANCE, GRIP, RELEASED
from async_chunking.sim.plant import load_model
from async_chunking.sim.reach import Reach
from async_chunking.sim.viperx_bimanual_carry import LET_GO

TASKS = ('viperx_bimanual_carry', 'franka_catch', 'panda_catch', 'humanoid_place')


@pytest.fixture(scope='module', params=TASKS)
def task(request):
    return make_task(request.param)


def test_franka_kinematics_known_answer():
    """At the usual home pose the flange is where the published kinematics put it."""
    model = load_model('franka')
    data = mujoco.MjData(model)
    home = [0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4]
    data.qpos[:7] = home
    mujoco.mj_kinematics(model, data)
    # Fingers 0.1034 m below the flange, which is 0.306891 m forward, 0.590282 m up.
    np.testing.assert_allclose(data.site('tip').xpos, [0.306891, 0.0, 0.486882], atol=2e-4)
    np.testing.assert_allclose(data.site('tip').xmat.reshape(3, 3)[:, 2], [0, 0, -1], atol=1e-6)


def test_a_panda_has_its_own_names_and_ranges():
    panda, franka = (build_model(load(name)) for name in ('panda', 'franka'))
    np.testing.assert_allclose(panda.joint('panda_joint4').range, [-3.0718, -0.0698])
    np.testing.assert_allclose(franka.joint('fr3_joint4').range, [-2.7714, -0.4226])
    assert panda.nu == franka.nu == 8


def test_gr1_arm_length():
    """At zero the arm hangs down: shoulder to wrist is the sum of the published offsets."""
    model = load_model('gr1_arm')
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    shoulder = data.body('right_upper_arm_roll_link').xpos
    wrist = data.body('right_hand_pitch_link').xpos
    expected = [0.0, -0.04 - 0.0010503, -0.0709 - 0.1786 - 0.05945 - 0.19115]
    np.testing.assert_allclose(wrist - shoulder, expected, atol=1e-5)


def test_models_keep_the_limits_of_the_description(task):
    robot, model = load(task.embodiment), task.plant.model
    for joint in robot.joints:
        if joint.upper == 1.0 and 'gripper' in joint.name:
            continue  # A share of the finger's range.
        low, high = model.joint(joint.name).range
        assert low <= joint.lower + 1e-3, joint.name
        assert high >= joint.upper - 1e-3, joint.name


def test_reach_finds_points_and_keeps_the_orientation():
    model = load_model('franka')
    rest = np.array([0.0, -0.2, 0.0, -2.5, 0.0, 2.3, np.pi / 4])
    names = [f'joint{i}' for i in range(1, 8)]
    reach = Reach(model, 'tip', names, rest, upright=True)
    data = mujoco.MjData(model)
    for point in ([0.48, -0.3, 0.06], [0.52, 0.3, 0.1], [0.4, 0.0, 0.3]):
        data.qpos[:7] = reach(np.array(point))
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.site('tip').xpos, point, atol=1e-4)
        down = data.site('tip').xmat.reshape(3, 3)[2, 2]
        assert down < -0.99


def test_experts_succeed(task):
    solved = [record(task, 7, attempt, 0.0) is not None for attempt in range(12)]
    assert np.mean(solved) > 0.9


def test_experts_stay_within_the_limits(task):
    limits = load(task.embodiment).limits
    episode = record(task, 0, 0, 0.0)
    speed = np.abs(np.diff(episode.actions, axis=0)) * task.policy_rate_hz
    assert (speed <= limits.velocity).all()
    assert (episode.actions >= limits.lower).all()
    assert (episode.actions <= limits.upper).all()


def test_an_episode_is_fixed_by_its_seed(task):
    first, second = (record(task, 3, 1, 0.005) for _ in range(2))
    np.testing.assert_allclose(first.actions, second.actions, atol=1e-6)
    frames = round(first.success_s * task.policy_rate_hz)
    assert frames <= len(first.actions) <= frames + task.policy_rate_hz


def test_going_straight_on_hits_a_post(task):
    """The task cannot be solved by ignoring the posts."""
    failures = set()
    for attempt in range(6):
        task.reset(np.random.default_rng(attempt))
        expert = task.expert(np.random.default_rng(attempt))
        expert._lane = lambda y, middle=task.course.lane: middle
        done = False
        while not done:
            _, done, _ = task.step(expert.action())
        failures.add(task.failure)
    assert 'hit a post' in failures


def franka_plant(rate=50.0):
    robot = load('franka')
    plant = FrankaPlant(robot.limits, build_model(robot), robot.joint_names, rate)
    pose = np.array([0.0, -0.2, 0.0, -2.5, 0.0, 2.3, 0.785, 0.01])
    plant.reset(pose)
    return robot.limits, plant, pose


@pytest.mark.parametrize('rate', [50.0, 100.0])
def test_franka_aborts_on_a_discontinuity(rate):
    limits, plant, pose = franka_plant(rate)
    steps = round(rate / 50.0)  # How often a command is seen.
    for _ in range(20):
        pose[0] += 0.9 * limits.velocity[0] / 50.0
        for _ in range(steps):
            plant.step(pose)
    assert not plant.fault
    pose[0] += 0.1
    plant.step(pose)
    assert plant.fault == 'joint_motion_generator_velocity_discontinuity at fr3_joint1'
    stopped = plant.positions
    for _ in range(50):
        plant.step(pose)
    np.testing.assert_allclose(plant.positions, stopped, atol=0.05)


def test_franka_ends_on_velocity_alone():
    """The real one would on this acceleration, too."""
    limits, plant, pose = franka_plant()
    step = 1.4 * limits.velocity[0] / 50.0
    for count in (1, 2, 1, 0, 1):  # To and fro.
        plant.step(pose + count * step * np.eye(8)[0])
    assert 2.0 * step * 50.0**2 > 10.0 * limits.acceleration[0]
    assert plant.fault == ''


@pytest.mark.parametrize(('name', 'ticks'), [('franka_catch', 4), ('humanoid_place', 3)])
def test_a_row_is_whole_ticks_of_the_bench(name, ticks):
    task = make_task(name)
    assert task.control_rate_hz == ticks * task.policy_rate_hz
    assert load(task.embodiment).control_rate_hz == 50.0  # Live.


def test_franka_moves_again_after_a_reset():
    _, plant, pose = franka_plant()
    plant.step(pose + 0.5)
    assert plant.fault
    plant.reset(pose)
    assert not plant.fault


def test_interbotix_follows_any_command():
    task = make_task('viperx_bimanual_carry')
    task.reset(np.random.default_rng(0))
    wild = task.plant.positions
    wild[0] += 0.5
    for _ in range(60):
        task.plant.step(wild)
    assert not task.plant.fault
    assert task.plant.positions[0] == pytest.approx(wild[0], abs=0.05)


def test_grippers_count_from_closed_to_open():
    task = make_task('viperx_bimanual_carry')
    task.reset(np.random.default_rng(0))
    command = task.plant.positions
    command[[6, 13]] = 1.0, 0.0
    for _ in range(100):
        task.plant.step(command)
    assert task.plant.positions[[6, 13]] == pytest.approx([1.0, 0.0], abs=0.03)
    finger = task.plant.data.joint('left_left_finger').qpos[0]
    assert finger == pytest.approx(0.057, abs=0.002)


def end(task, command, ticks=400):
    """Hold a command until the episode is over; return why it failed."""
    for _ in range(ticks):
        _, done, _ = task.step(command)
        if done:
            return task.failure
    return 'still going on'


def near_goal(name, seconds=20.0):
    """Return a task that its expert has brought to the goal, just before anything is let go."""
    task = make_task(name)
    task.reset(np.random.default_rng(0))
    expert = task.expert(np.random.default_rng(0))
    while task.finish()[1] == 0.0 or task.distance > 0.05:
        task.step(expert.action())
        assert task.seconds < seconds
    return task, expert


@pytest.mark.parametrize(
    ('joint', 'turn', 'failure'),
    [
        ('left_waist', 0.3, 'lost the tray'),
        ('right_shoulder', -0.15, 'tipped the tray'),
        ('right_gripper', 0.5, 'dropped the tray'),
    ],
)
def test_the_tray_needs_both_arms(joint, turn, failure):
    task = make_task('viperx_bimanual_carry')
    task.reset(np.random.default_rng(0))
    command = task.plant.positions
    command[task.plant.joints.index(joint)] += turn
    assert end(task, command) == failure


def test_the_tray_follows_the_hands_and_stays_on_the_stand():
    task, expert = near_goal('viperx_bimanual_carry')
    data = task.plant.data
    tray = task.plant.model.body('tray').mocapid[0]
    task.step(expert.action())
    # Shown where the hands were when the step began.
    np.testing.assert_allclose(data.mocap_pos[tray], task.point, atol=0.005)
    done = False
    while not done:
        _, done, solved = task.step(expert.action())
    assert solved
    assert (task.plant.positions[[6, 13]] > LET_GO).all()
    away = expert.action()
    for _ in range(50):
        task.step(away)
    np.testing.assert_allclose(data.mocap_pos[tray, :2], task.goal, atol=0.005)


def test_the_can_is_caught_by_both_fingers_only():
    """The belt carries it on until they close; nothing else ends the episode well."""
    task = make_task('franka_catch')
    task.reset(np.random.default_rng(0))
    start = task.goal[1]
    hold = task.plant.positions
    for _ in range(60):
        task.step(hold)
    assert -0.115 < task.goal[1] - start < -0.06  # The belt's speed for a second.

    task, expert = near_goal('franka_catch')
    while task.distance > 0.010:
        task.step(expert.action())
    opened = task.plant.positions[-1]
    for _ in range(40):  # It is between the fingers, which stay open.
        command = expert.action()
        command[-1] = opened
        _, done, _ = task.step(command)
    assert not done
    done = False
    while not done:
        command = expert.action()
        opened -= 0.001
        command[-1] = max(opened, CLOSED)
        _, done, solved = task.step(command)
    assert solved
    finger = task.plant.positions[-1]
    assert CLOSED + 0.005 < finger < OPEN  # As wide as the can.
    before = task.goal
    for _ in range(60):  # The elbow takes the hand forward; the can comes with it.
        command[3] += 0.001
        task.step(command)
    assert task.goal[0] > before[0] + 0.01
    assert task.distance < 0.02


@pytest.mark.parametrize(
    ('turn', 'opened', 'failure'),
    [(0.2, 0.0, 'missed the pins'), (0.0, 1.0, 'dropped the part')],
)
def test_the_part_needs_both_holes_over_the_pins(turn, opened, failure):
    """Turned by the wrist it does not go down on the pins; let go too early it falls."""
    task = make_task('humanoid_place')
    task.reset(np.random.default_rng(0))
    expert = task.expert(np.random.default_rng(0))
    while task.off_pins > CLEARANCE / 2.0:
        task.step(expert.action())
        assert not task.failure
    done = False
    while not done:
        command = expert.action()
        command[0] += 0.3 * turn  # Down and
        command[6] += turn  # aslant.
        command[7:] = GRIP + opened * (RELEASED - GRIP)
        _, done, solved = task.step(command)
    assert not solved
    assert task.failure == failure


def test_pictures_show_the_scene(tmp_path):
    """A process of its own draws: a graphics library that fails may take the process with it."""
    image = pytest.importorskip('PIL.Image')
    words = ['franka_catch', str(tmp_path / 'a.png'), '--seconds', '0.1', '--size', '64', '48']
    command = [sys.executable, '-m', 'async_chunking.sim.picture', *words]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f'no off-screen rendering here: {done.stderr[-200:]!r}')
    picture = np.asarray(image.open(tmp_path / 'a.png'))
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 20.0
