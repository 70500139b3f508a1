# SPDX-License-Identifier: Apache-2.0
"""Joints that turn without end: a wrist goes on through π and does not spin back."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.chunk import ActionChunk
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Phase
from async_chunking.executor.turns import apart, moved, smooth
from async_chunking.mergers import MERGERS
from async_chunking.robot.embodiment import Embodiment

# Kinova Gen3 with 7 joints, as kortex_description has it: every second one turns without end.
LARGE, SMALL = (
    {'velocity': 1.3963, 'acceleration': 5.2},
    {'velocity': 1.2218, 'acceleration': 10.0},
)
GEN3 = [
    {'name': 'joint_1', 'continuous': True, **LARGE},
    {'name': 'joint_2', 'lower': -2.41, 'upper': 2.41, **LARGE},
    {'name': 'joint_3', 'continuous': True, **LARGE},
    {'name': 'joint_4', 'lower': -2.66, 'upper': 2.66, **LARGE},
    {'name': 'joint_5', 'continuous': True, **SMALL},
    {'name': 'joint_6', 'lower': -2.23, 'upper': 2.23, **SMALL},
    {'name': 'joint_7', 'continuous': True, **SMALL},
]
NAMES = [joint['name'] for joint in GEN3]


def gen3(**changes) -> Embodiment:
    content = {
        'name': 'gen3', 'control_rate_hz': 50.0, 'joints': GEN3,
        'observations': {'observation.state': {'kind': 'measured', 'size': 7}},
        'commands': [{
            'topic': 'joint_trajectory_controller/joint_trajectory', 'sink': 'joint_trajectory',
            'joints': NAMES,
        }],
        'policy': {'path': 'mine', 'policy_rate_hz': 50.0, 'execution_horizon': 8},
    }  # fmt: skip
    return Embodiment.model_validate(content | changes)


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


@pytest.mark.parametrize('merger', ['switch', 'ensemble', 'wait', 'bspline'])
def test_a_wrist_turns_on_through_pi(merger: str):
    """Twice round at half a radian a second; the policy tells angles between -π and π."""
    robot = gen3()
    config = ExecutorConfig(
        robot.limits, robot.joint_names, 16, 8, blend_s=0.0, continuous=robot.continuous
    )
    executor = Executor(config, Behaviour(merger, MERGERS[merger](), Corrector()), 1, np.zeros(7))
    commands, due = [], {}
    for tick in range(1400):
        for chunk in due.pop(tick, ()):
            executor.push(chunk)
        request = executor.poll()
        if request is not None:
            previous = request.boundary.previous
            assert (np.abs(previous[:1]) <= np.pi + 1e-9).all()  # As the policy knows angles.
            begin = commands[-1][6] if commands else 0.0
            angles = begin + 0.01 * np.arange(1, 17)
            actions = np.zeros((16, 7))
            actions[:, 6] = wrapped(angles)
            chunk = ActionChunk(1, request.request_id, tick, actions, 2)
            due.setdefault(tick + 2, []).append(chunk)
        step = executor.step()
        commands.append(step.command)
    wrist = np.array(commands)[:, 6]
    moving = np.diff(wrist)
    assert wrist[-1] > 2 * np.pi
    assert moving.min() >= -1e-9  # It never spins back.
    assert np.abs(np.array(commands)[:, :6]).max() == 0.0
    assert executor.phase in (Phase.EXECUTING, Phase.WAITING)


def test_the_shorter_way_round():
    endless = np.array([True, False])
    distance = apart(np.array([-3.1, -3.1]), np.array([3.1, 3.1]), endless)
    np.testing.assert_allclose(distance, [2 * np.pi - 6.2, -6.2])
    rows = np.array([[3.0, 3.0], [-3.2, -3.2]])
    np.testing.assert_allclose(smooth(rows, endless)[:, 0], [3.0, 2 * np.pi - 3.2])
    np.testing.assert_allclose(smooth(rows, endless)[:, 1], [3.0, -3.2])
    near = moved(rows, rows[0], np.array([16.0, 16.0]), endless)
    np.testing.assert_allclose(near[0], [3.0 + 4 * np.pi, 3.0])


@pytest.mark.parametrize(
    ('joint', 'message'),
    [
        (
            {'name': 'j', 'lower': -1.0, 'upper': 1.0, 'continuous': True},
            'has no limits, but lowe',
        ),
        (
            {'name': 'j'},
            r'lower and upper are missing; for none, -\.inf and \.inf',
        ),
        ({'name': 'j', 'lower': -1.0}, 'lower and upper are missing'),
    ],
)
def test_limits_are_left_out_on_purpose_only(joint, message):
    joint |= {'velocity': 1.0, 'acceleration': 1.0}
    with pytest.raises(ValueError, match=message):
        gen3(joints=[joint, *GEN3[1:]])


def test_a_joint_may_have_no_limits_and_not_turn():
    rail = {'name': 'joint_1', 'lower': -np.inf, 'upper': np.inf, **LARGE}
    robot = gen3(joints=[rail, *GEN3[1:]])
    assert robot.continuous == (False, False, True, False, True, False, True)
    assert robot.limits.upper[0] == np.inf


@pytest.mark.parametrize(
    ('rate', 'command', 'message'),
    [
        (15.0, {'sink': 'joint_trajectory', 'options': {'lead_s': 0.04}},
         r'lead_s 0\.04 is less than the 66\.7 ms between two commands at control_rate_hz 15'),
        (50.0, {'sink': 'unitree_arm_sdk', 'options': {'rate_hz': 100.0}, 'motors': [*range(7)]},
         'rate_hz 100 differs from control_rate_hz 50'),
    ],
)  # fmt: skip
def test_times_of_a_sink_go_with_the_control_rate(rate, command, message):
    policy = {'path': 'mine', 'policy_rate_hz': 10.0, 'execution_horizon': 8}
    changes = {'control_rate_hz': rate, 'policy': policy}
    with pytest.raises(ValueError, match=message):
        gen3(commands=[{'topic': 't', 'joints': NAMES, **command}], **changes)
    command['options'] = {'lead_s': 0.07} if 'lead_s' in command['options'] else {'rate_hz': 50.0}
    gen3(commands=[{'topic': 't', 'joints': NAMES, **command}], **changes)
