# SPDX-License-Identifier: Apache-2.0
"""The robots' descriptions: those that come with the package, and those that cannot work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import load
from async_chunking.robot.wiring import Command, Scale
from async_chunking.settings import SettingsError, load_yaml

CONFIG = Path(__file__).parent.parent / 'config'
ROBOTS = sorted(path.stem for path in CONFIG.glob('*.yaml'))

TOY = {
    'name': 'toy',
    'control_rate_hz': 50.0,
    'joints': [
        {'name': n, 'lower': -1.0, 'upper': 1.0, 'velocity': 1.0, 'acceleration': 5.0}
        for n in ('a', 'b')
    ],
    'observations': {'observation.state': {'kind': 'measured', 'size': 2}},
    'commands': [{'topic': 'c', 'sink': 'joint_state', 'joints': ['a', 'b']}],
    'policy': {'path': 'p', 'policy_rate_hz': 10.0, 'execution_horizon': 4},
}


def write(path: Path, **changes) -> str:
    path.write_text(yaml.safe_dump({**TOY, **changes}))
    return str(path)


@pytest.mark.parametrize('name', ROBOTS)
@pytest.mark.parametrize('sim', [False, True])
def test_packaged_robot(name, sim):
    robot = load(name, sim)
    names = robot.joint_names
    assert robot.name == name
    assert sorted(j for s in robot.sources for j in s.joints) == sorted(names)
    assert robot.observations['observation.state'].size == len(names)
    # All limits say where they are from.
    assert sorted(j for g in robot.groups for j in g.joints if g.source) == sorted(names)
    assert len(robot.limits) == len(names)


@pytest.mark.parametrize('name', ['viperx', 'viperx_bimanual', 'franka', 'panda', 'humanoid'])
def test_simulation_needs_no_foreign_messages(name):
    own = {'float64_multi_array', 'joint_state', 'joint_trajectory'}
    robot = load(name, sim=True)
    assert {command.sink for command in robot.commands} <= own
    assert {source.kind for source in robot.sources} == {'joint_state'}


def test_franka_is_wired_to_its_driver():
    robot = load('franka')
    assert robot.control_rate_hz == 50.0
    assert robot.policy.policy_rate_hz == 15.0
    assert robot.limits.jerk[0] == 5000.0
    assert [(c.topic, c.sink) for c in robot.commands] == [
        ('fr3_arm_controller/joint_trajectory', 'joint_trajectory'),
        ('franka_gripper/gripper_action', 'gripper_command'),
    ]
    assert robot.sources[0].topic == 'franka/joint_states'


def test_panda_extends_franka():
    panda, franka = load('panda'), load('franka')
    assert panda.policy == franka.policy
    assert panda.simulation.task == 'panda_catch'
    assert panda.joints[3].upper == -0.0698
    assert panda.limits.acceleration[1] == 7.5


@pytest.mark.parametrize(
    ('name', 'namespace'),
    [('viperx_bimanual', 'follower'), ('viperx_bimanual_puppet', 'puppet')],
)
def test_aloha_presets(name, namespace):
    robot = load(name)
    assert len(robot.joints) == 14
    assert robot.joint_names[6] == 'left_gripper'
    assert [c.topic for c in robot.commands] == [
        f'{namespace}_{side}/commands/{kind}'
        for side in ('left', 'right')
        for kind in ('joint_group', 'joint_single')
    ]
    assert robot.sources[0].driver_names[6] == 'left_finger'


def test_humanoid_has_the_order_of_groot():
    robot = load('humanoid')
    assert robot.policy.policy_rate_hz == 20.0
    assert robot.joint_names[:3] == (
        'right_shoulder_pitch_joint', 'right_shoulder_roll_joint', 'right_shoulder_yaw_joint',
    )  # fmt: skip
    assert [name.split('_')[1] for name in robot.joint_names[7:]] == [
        'pinky', 'ring', 'middle', 'index', 'thumb', 'thumb',
    ]  # fmt: skip


def test_dex3_right_hand_mirrors_left():
    joints = {joint.name: joint for joint in load('g1').joints}
    for name, joint in joints.items():
        if name.startswith('left_hand'):
            mirrored = joints[name.replace('left', 'right')]
            assert (joint.lower, joint.upper) == (-mirrored.upper, -mirrored.lower)


# What drivers call a gripper's positions, by hand from the two of each that their documentation
# gives: our number, and the driver's [rad, m].
SCALED = {
    # The motor of an Interbotix gripper, -0.6213 rad to 1.4910 rad for 0.01844 m to 0.05800 m of
    # its finger, or for a share of the way: half-way 0.43485 rad, a quarter -0.093225 rad.
    ((0.01844, 0.05800), (-0.6213, 1.4910)): [
        (0.01844, -0.6213), (0.02833, -0.093225), (0.03822, 0.43485), (0.05800, 1.4910),
    ],
    ((0, 1), (-0.6213, 1.4910)): [(0, -0.6213), (0.25, -0.093225), (0.5, 0.43485), (1, 1.4910)],
    ((0, 1), (0.01844, 0.05800)): [(0, 0.01844), (0.25, 0.02833), (1, 0.05800)],
    # The same in the constants of its newer driver: 0.6197 + 1.0017 / 4, 0.0440 + 0.0139 / 4.
    ((0, 1), (0.6197, 1.6214)): [(0, 0.6197), (0.25, 0.870125), (1, 1.6214)],
    ((0, 1), (0.0440, 0.0579)): [(0, 0.0440), (0.25, 0.047475), (1, 0.0579)],
    # The simulated finger goes from stop to stop of the description.
    ((0, 1), (0.021, 0.057)): [(0, 0.021), (0.25, 0.030), (1, 0.057)],
}  # fmt: skip
# Where which of them holds: what is commanded is the motor, what is measured is the finger.
WIRED = {
    'viperx': ('interbotix_single', (-0.6213, 1.4910)),
    'viperx_bimanual': ('interbotix_single', (0.6197, 1.6214), (0.0440, 0.0579)),
    'viperx_bimanual_puppet': ('interbotix_single', (-0.6213, 1.4910), (0.01844, 0.05800)),
}


@pytest.mark.parametrize('name', ROBOTS)
@pytest.mark.parametrize('sim', [False, True])
def test_a_joint_in_other_units_is_told_to_the_driver_in_its_own(name, sim):
    robot = load(name, sim)
    for wire in (*robot.sources, *robot.commands):
        gain, bias = wire.affine
        for index, joint in enumerate(wire.joints):
            known = [(0.3, 0.3), (-2.0, -2.0)]
            if joint in wire.scales:
                known = SCALED[wire.scales[joint].joint, wire.scales[joint].driver]
            for joint_value, driver in known:
                assert gain[index] * joint_value + bias[index] == pytest.approx(driver, abs=1e-9)


@pytest.mark.parametrize('name', WIRED)
def test_each_side_of_a_gripper_has_the_units_of_its_driver(name):
    robot = load(name)
    sink, motor, *finger = WIRED[name]
    commanded = {s.driver for c in robot.commands for s in c.scales.values() if c.sink == sink}
    measured = {s.driver for source in robot.sources for s in source.scales.values()}
    assert (commanded, measured) == ({motor}, set(finger))


def test_a_scale_counts_for_its_joint_alone():
    scale = Scale(joint=(1.0, 3.0), driver=(10.0, 4.0))  # The driver counts down, and from 13.
    command = Command(topic='t', sink='joint_state', joints=('a', 'b'), scales={'b': scale})
    gain, bias = command.affine
    np.testing.assert_allclose(gain * [0.5, 0.5] + bias, [0.5, 11.5])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'commands': [{'topic': 'c', 'sink': 'joint_state', 'joints': ['a']}]},
            r'commands must name each joint once; check b\. Joints: a, b',
        ),
        (
            {'joint_states': [{'topic': 's', 'joints': ['a', 'b'], 'qos': 'best_effort'}]},
            "qos = 'best_effort': Input should be 'sensor_data' or 'reliable'",
        ),
        (
            {'joint_states': [{'topic': 's', 'joints': ['a']}]},
            'joint_states must name each joint once; check b',
        ),
        (
            {'groups': [{'name': 'g', 'joints': ['a', 'b', 'c'], 'source': 's'}]},
            'groups must name each joint once; check c',
        ),
        (
            {'joints': [{**TOY['joints'][0], 'lower': 2.0}, TOY['joints'][1]]},
            r'lower 2\.0 must be below upper 1\.0',
        ),
        (
            {'joints': [{**TOY['joints'][0], 'velocity': 1e-300}, TOY['joints'][1]]},
            r'joints\.0 = .*limits\.velocity must be at least 1e-09',
        ),
        (
            {'control_rate_hz': 5.0},
            r'policy_rate_hz 10\.0 must be at most control_rate_hz 5\.0',
        ),
        (
            {'groups': [{'name': 'g', 'joints': ['a', 'b'], 'source': 's', 'mode': 'torque'}]},
            "'absolute', 'delta' or 'velocity'",
        ),
        (
            {'commands': [{'topic': 'c', 'sink': 'unitree_arm_sdk', 'joints': ['a', 'b']}]},
            'unitree_arm_sdk needs motors',
        ),
        (
            {'observations': {'observation.state': {'kind': 'joint_state', 'size': 2}}},
            'a stream of kind joint_state needs a topic',
        ),
    ],
)
def test_refused(tmp_path, changes, message):
    path = write(tmp_path / 'toy.yaml', **changes)
    with pytest.raises(SettingsError, match=message) as caught:
        load(path)
    assert 'toy.yaml' in str(caught.value)


def _single(joint: str, **changes) -> dict:
    return {'topic': 'c', 'sink': 'interbotix_single', 'joints': [joint], **changes}


PICTURE = {'kind': 'image', 'topic': 'camera', 'height': 4, 'width': 6}
STATES = {'topic': 's', 'joints': ['a', 'b']}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'joint_states': [{'topic': 's', 'joints': [n], 'names': ['finger']} for n in 'ab']},
            'joint finger on s is told twice, in joint_states of a and in joint_states of b',
        ),
        (
            {
                'joint_states': [
                    {'topic': topic, 'joints': [n], 'names': ['finger']}
                    for topic, n in (('s', 'a'), ('/s', 'b'))
                ]
            },
            'joint finger on s is told twice',
        ),
        (
            {'joint_states': [{**STATES, 'names': ['x', 'y', 'x']}]},
            's: names must hold 2 different values',
        ),
        (
            {
                'joint_states': [
                    {'topic': 's', 'kind': 'unitree_low_state', 'joints': [n], 'motors': [3]}
                    for n in 'ab'
                ]
            },
            'motor 3 on s is told twice',
        ),
        (
            {'commands': [_single(n, names=['gripper']) for n in 'ab']},
            'joint gripper on c is told twice, in commands of a and in commands of b',
        ),
        (
            {'commands': [_single(n, sink='interbotix_group') for n in 'ab']},
            'group arm on c is told twice',
        ),
        (
            {'commands': [_single(n, sink='float64_multi_array') for n in 'ab']},
            'the whole message on c is told twice',
        ),
        (
            {'joint_states': [{**STATES, 'topic': 'c'}]},
            'joint a on c is told twice, in joint_states of a, b and in commands of a, b',
        ),
        (
            {
                'joint_states': [
                    {'topic': 's', 'joints': ['a']},
                    {'topic': 's', 'kind': 'unitree_low_state', 'joints': ['b'], 'motors': [3]},
                ]
            },
            's is of kind joint_state in joint_states, of kind unitree_low_state in joint_states',
        ),
        (
            {'observations': {'observation.a': PICTURE, 'observation.b': PICTURE}},
            'the same picture on camera is told twice, in observations.observation.a and in',
        ),
        (
            {
                'observations': {
                    'observation.state': {'kind': 'measured', 'size': 2, 'joints': ['a', 'a']}
                }
            },
            'observations.observation.state: joint a is listed twice',
        ),
        (
            {'groups': [{'name': 'g', 'joints': [n], 'source': 's'} for n in 'ab']},
            'group g is listed twice',
        ),
    ],
)
def test_what_would_be_read_or_written_twice_is_refused(tmp_path, changes, message):
    path = write(tmp_path / 'toy.yaml', **changes)
    with pytest.raises(SettingsError, match=message):
        load(path)


def test_parts_that_share_a_topic_are_not_refused(tmp_path):
    small = {**PICTURE, 'resize': [2, 3]}
    robot = load(
        write(
            tmp_path / 'toy.yaml',
            joint_states=[{'topic': 's', 'joints': [n], 'names': [f'x{n}']} for n in 'ab'],
            commands=[_single(n) for n in 'ab'],
            observations={'observation.a': PICTURE, 'observation.b': small},
        )
    )
    assert [source.topic for source in robot.sources] == ['s', 's']


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / 'toy.yaml'
    path.write_text(yaml.safe_dump(TOY) + 'control_rate_hz: 25.0\n')
    with pytest.raises(SettingsError, match='the key control_rate_hz is there twice'):
        load(str(path))
    path.write_text('base: &b {x: 1}\none: {<<: *b, x: 2}\ntwo: {<<: *b, x: 3}\n')
    assert load_yaml(path)['two'] == {'x': 3}


def test_extends_merges_groups_and_replaces_lists(tmp_path):
    base = write(tmp_path / 'base.yaml')
    path = tmp_path / 'other.yaml'
    path.write_text(yaml.safe_dump({'extends': base, 'policy': {'execution_horizon': 2}}))
    assert load(str(path)).policy.execution_horizon == 2
    assert load(str(path)).policy.policy_rate_hz == 10.0


def test_extends_in_a_circle_is_refused(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text(yaml.safe_dump({'extends': str(path)}))
    with pytest.raises(SettingsError, match='circle'):
        load(str(path))


def test_units_of_a_policy_by_hand():
    """DROID's velocities are shares of 0.2 rad in a fifteenth of a second, 3 rad/s."""
    modes = ActionModes(('velocity', 'absolute'), period=1 / 15, units=(3.0, 1.0))
    assert not modes.trivial
    chunk = np.array([[1.0, 0.5], [-0.5, 0.5]])
    positions = modes.to_positions(chunk, np.array([0.1, 9.0]))
    np.testing.assert_allclose(positions, [[0.3, 0.5], [0.2, 0.5]])
    np.testing.assert_allclose(modes.to_actions(positions, np.array([0.1, 9.0])), chunk)
    assert ActionModes(('absolute',), 0.1, (1.0,)).trivial


def test_action_modes_by_hand():
    modes = ActionModes(('absolute', 'delta', 'velocity'), period=0.1)
    measured = np.array([9.0, 1.0, 2.0])
    actions = np.array([[0.5, 0.5, 1.0], [0.6, 0.25, -2.0]])
    positions = modes.to_positions(actions, measured)
    np.testing.assert_allclose(positions, [[0.5, 1.5, 2.1], [0.6, 1.25, 1.9]])
    np.testing.assert_allclose(modes.to_actions(positions, measured), actions)
    assert modes.to_actions(np.empty((0, 3)), measured).shape == (0, 3)
    assert not modes.trivial
