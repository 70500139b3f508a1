# SPDX-License-Identifier: Apache-2.0
"""The URDF of each robot moves as its MuJoCo model does, and so do its frames."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip('mujoco')

from scipy.spatial.transform import Rotation

from async_chunking.sim import TASKS, make_task
from async_chunking.sim.urdf import WORLD, frames, tips, urdf


def numbers(element: ElementTree.Element, name: str) -> np.ndarray:
    return np.array([float(word) for word in element.get(name).split()])


def placed(robot: ElementTree.Element, positions: dict[str, float]) -> dict[str, np.ndarray]:
    """Return link -> where it is [4, 4], by the rules of URDF alone."""
    poses = {WORLD: np.eye(4)}
    for joint in robot.iter('joint'):  # Parents come first.
        origin, moved, name = joint.find('origin'), np.eye(4), joint.get('name')
        moved[:3, :3] = Rotation.from_euler('xyz', numbers(origin, 'rpy')).as_matrix()
        moved[:3, 3] = numbers(origin, 'xyz')
        turn = np.eye(4)
        mimic = joint.find('mimic')
        if mimic is not None:
            leader = positions[mimic.get('joint')]
            positions[name] = numbers(mimic, 'multiplier')[0] * leader
            positions[name] += numbers(mimic, 'offset')[0]
        if joint.get('type') == 'revolute':
            axis = numbers(joint.find('axis'), 'xyz')
            turn[:3, :3] = Rotation.from_rotvec(axis * positions[name]).as_matrix()
        elif joint.get('type') == 'prismatic':
            turn[:3, 3] = numbers(joint.find('axis'), 'xyz') * positions[name]
        poses[joint.find('child').get('link')] = (
            poses[joint.find('parent').get('link')] @ moved @ turn
        )
    return poses


@pytest.mark.parametrize('task', TASKS)
def test_a_robot_and_its_frames_move_as_its_model(task: str) -> None:
    plant = make_task(task).plant
    plant.reset(plant.positions)  # Which places what follows another joint.
    robot = ElementTree.fromstring(urdf(plant, task))
    rng = np.random.default_rng(0)
    driven = plant.model.actuator_trnid[plant._actuators, 0]
    low, high = plant.model.jnt_range[driven].T
    for _ in range(3):
        plant.reset(rng.uniform(low, high))
        named = {
            plant.model.joint(j).name: float(plant.data.qpos[plant.model.jnt_qposadr[j]])
            for j in driven
        }
        links = placed(robot, named)
        assert len(links) > len(plant.joints)
        told = {WORLD: np.eye(4)}
        for parent, child, position, quaternion in frames(plant):
            step = np.eye(4)
            step[:3, :3], step[:3, 3] = Rotation.from_quat(quaternion).as_matrix(), position
            told[child] = told[parent] @ step
        for name, place in links.items():
            if name != WORLD:
                body = plant.data.body(name)
                np.testing.assert_allclose(place[:3, 3], body.xpos, atol=1e-6)
                np.testing.assert_allclose(place[:3, :3], body.xmat.reshape(3, 3), atol=1e-6)
                np.testing.assert_allclose(told[name], place, atol=1e-6)
        forward = told['front_optical'][:3, 2]
        np.testing.assert_allclose(forward, -plant.data.camera('front').xmat[2::3], atol=1e-9)


def test_the_hands_of_each_robot() -> None:
    assert {task: tips(make_task(task).plant) for task in TASKS} == {
        'viperx_slalom': ['tip'], 'viperx_bimanual_carry': ['left_tip', 'right_tip'],
        'franka_catch': ['tip'], 'panda_catch': ['tip'], 'humanoid_place': ['part'],
    }  # fmt: skip


def test_every_link_is_seen_and_has_a_mass() -> None:
    robot = ElementTree.fromstring(urdf(make_task('viperx_slalom').plant, 'viperx'))
    for link in robot.iter('link'):
        if link.get('name') != WORLD:
            assert link.find('visual') is not None, link.get('name')
            assert float(link.find('inertial/mass').get('value')) > 0
