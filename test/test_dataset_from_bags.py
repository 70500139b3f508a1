# SPDX-License-Identifier: Apache-2.0
"""Demonstrations from recordings: the right message at the right frame, and nothing made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('pyarrow')

from driver_messages import CLASSES, HEADER, STORE, joint_state, numbers, trajectory
from driver_messages import record as bag_of

from async_chunking.bags.definitions import BagError, own_store
from async_chunking.bags.writer import BagWriter
from async_chunking.dataset.from_bags import convert
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.dataset.writing import DatasetError
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.robot.wiring import Wire

PERIOD = 20_000_000
JOINT = {'lower': -30.0, 'upper': 30.0, 'velocity': 100.0, 'acceleration': 1.0}
ROBOT = Embodiment.model_validate(
    {
        'name': 'toy',
        'control_rate_hz': 50.0,
        'joints': [{'name': 'left', **JOINT}, {'name': 'right', **JOINT}],
        'observations': {
            'observation.state': {'topic': 'joint_states', 'kind': 'joint_state', 'size': 2},
            'observation.scene': {'topic': 'scene', 'kind': 'float64_multi_array', 'size': 1},
        },
        'commands': [{'topic': 'go', 'sink': 'float64_multi_array', 'joints': ['left', 'right']}],
        'policy': {'path': 'toy', 'policy_rate_hz': 50.0, 'execution_horizon': 4},
    }
)


def record(
    path: Path,
    ticks: int = 20,
    silent: range = range(0),
    episodes=(),
    begin: int = 10**9,
    scale: float = 1.0,
) -> Path:
    """
    Write a recording: at tick k joints read (k, -k), the scene k + 0.5, the command k + 1.

    All that times `scale`.

    Observations come 5 ms before their tick's command; joints are listed in the other order.
    """
    store = own_store()
    types = store.types
    header = types['std_msgs/msg/Header'](types['builtin_interfaces/msg/Time'](0, 0), '')
    layout = types['std_msgs/msg/MultiArrayLayout']([], 0)

    def numbers(*values: float):
        return types['std_msgs/msg/Float64MultiArray'](
            layout, scale * np.array(values, dtype=float)
        )

    def joints(k: int):
        position, empty = scale * np.array([-float(k), float(k)]), np.array([])
        kind = types['sensor_msgs/msg/JointState']
        return kind(header, ['right', 'left'], position, empty, empty)

    messages = []
    for k in range(ticks):
        stamp = begin + k * PERIOD
        if k not in silent:
            messages.append((stamp - 5_000_000, '/toy/joint_states', joints(k)))
        messages.append((stamp - 5_000_000, '/toy/scene', numbers(k + 0.5)))
        messages.append((stamp, '/toy/go', numbers(k + 1.0, -k - 1.0)))
    for tick, content in episodes:
        stamp = begin + tick * PERIOD
        text = types['std_msgs/msg/String'](json.dumps(content))
        messages.append((stamp, '/toy/episode', text))
    with BagWriter(path) as writer:
        for topic, message in {topic: m for _, topic, m in messages}.items():
            writer.add(topic, message.__msgtype__)
        for stamp, topic, message in sorted(messages, key=lambda m: m[0]):
            data = bytes(store.serialize_cdr(message, message.__msgtype__))
            writer.write(topic, stamp, data)
    return path


def test_a_frame_holds_what_was_seen_and_then_commanded(tmp_path: Path):
    record(tmp_path / 'bag')
    count, problems = convert([tmp_path / 'bag'], ROBOT, tmp_path / 'data', 'wave')
    data = read_demonstrations(tmp_path / 'data')
    assert (count, problems) == (1, [])
    assert (data.robot, data.fps, data.joint_names) == ('toy', 50.0, ('left', 'right'))
    frames = np.arange(len(data.actions))
    assert len(frames) == 20
    np.testing.assert_array_equal(
        data.observations['observation.state'], np.stack([frames, -frames], 1)
    )
    np.testing.assert_array_equal(data.observations['observation.scene'][:, 0], frames + 0.5)
    np.testing.assert_array_equal(data.actions[:, 0] - frames, 1.0)


def test_every_recording_is_a_demonstration(tmp_path: Path):
    for begin, name in enumerate(('one', 'two'), start=1):
        record(tmp_path / 'bags' / name, begin=begin * 10**9, scale=float(begin))
    count, _ = convert([tmp_path / 'bags'], ROBOT, tmp_path / 'data', '')
    assert count == 2
    assert read_demonstrations(tmp_path / 'data').ends.tolist() == [20, 40]


def test_episodes_that_failed_are_left_out(tmp_path: Path):
    told = [
        (10, {'success': False, 'duration_s': 0.2}),
        (18, {'success': True, 'duration_s': 0.1}),
    ]
    record(tmp_path / 'bag', episodes=told)
    count, problems = convert([tmp_path / 'bag'], ROBOT, tmp_path / 'data', '')
    assert count == 1
    assert problems == [f'{tmp_path / "bag"}: 1 episodes failed']
    data = read_demonstrations(tmp_path / 'data')
    assert data.observations['observation.state'][:, 0].tolist() == [13, 14, 15, 16, 17, 18]


@pytest.mark.parametrize(
    ('recording', 'message'),
    [
        ({'silent': range(0, 90), 'ticks': 90}, 'nothing was recorded of observation.state'),
        (
            {'silent': range(10, 60), 'ticks': 90},
            'observation.state said nothing for 0.5 s until 0.7 s',
        ),
        ({'ticks': 1}, 'only 1 frames'),
    ],
)
def test_a_recording_that_shows_nothing_is_refused(tmp_path: Path, recording, message: str):
    record(tmp_path / 'bag', **recording)
    with pytest.raises(DatasetError, match=message):
        convert([tmp_path / 'bag'], ROBOT, tmp_path / 'data', '')
    assert not (tmp_path / 'data').exists()


def test_joints_of_a_stream_are_held_to_their_range_as_measured_ones(tmp_path: Path):
    record(tmp_path / 'bag', scale=1000.0)
    with pytest.raises(DatasetError, match=r'observation\.state of (left|right) is') as refused:
        convert([tmp_path / 'bag'], ROBOT, tmp_path / 'data', '')
    assert 'frames are beyond' in str(refused.value)


def test_what_was_thrown_away_is_no_recording(tmp_path: Path):
    record(tmp_path / 'bags' / 'one')
    record(tmp_path / 'bags' / '.Trash-1000' / 'two', begin=10**12, scale=2.0)
    count, _ = convert([tmp_path / 'bags'], ROBOT, tmp_path / 'data', '')
    assert count == 1


def test_nothing_is_overwritten(tmp_path: Path):
    record(tmp_path / 'bag')
    with pytest.raises(DatasetError, match='is not empty; name a new folder'):
        convert([tmp_path / 'bag'], ROBOT, tmp_path, '')
    with pytest.raises(BagError, match='does not exist'):
        convert([tmp_path / 'nothing'], ROBOT, tmp_path / 'data', '')


def test_joints_of_several_drivers_are_joined_in_our_units(tmp_path: Path):
    record(tmp_path / 'bag')
    half = {'right': {'joint': (0.0, 1.0), 'driver': (0.0, -2.0)}}
    content = ROBOT.model_dump() | {
        'observations': {'observation.state': {'kind': 'measured', 'size': 2}},
        'joint_states': [
            {'topic': '/toy/joint_states', 'joints': ['left'], 'names': ['left']},
            {'topic': 'scene2', 'joints': ['right']},
        ],
        'commands': [
            {'topic': 'go', 'sink': 'float64_multi_array', 'joints': ['left', 'right'],
             'scales': half},
        ],
    }  # fmt: skip
    robot = Embodiment.model_validate(content)
    with pytest.raises(DatasetError, match='nothing was recorded of scene2'):
        convert([tmp_path / 'bag'], robot, tmp_path / 'none', '')
    content['joint_states'] = [
        {'topic': 'joint_states', 'joints': ['right', 'left'], 'scales': half}
    ]
    convert([tmp_path / 'bag'], Embodiment.model_validate(content), tmp_path / 'data', '')
    data = read_demonstrations(tmp_path / 'data')
    np.testing.assert_allclose(data.observations['observation.state'][3], [3.0, 1.5])
    np.testing.assert_allclose(data.actions[3], [4.0, 2.0])


# --- robots of which only the executor's own topic, or only the driver's, can be read ------------

HARDWARE = ('franka', 'panda', 'g1', 'g1_inspire', 'viperx_bimanual', 'humanoid')
HG, GO = 'unitree_hg/msg', 'unitree_go/msg'
BY_MOTOR = {  # Kind -> message, its list of motors, their type, how many.
    'unitree_low_state': (f'{HG}/LowState', 'motor_state', f'{HG}/MotorState', 35),
    'unitree_hand_state': (f'{HG}/HandState', 'motor_state', f'{HG}/MotorState', 7),
    'unitree_motor_states': (f'{GO}/MotorStates', 'states', f'{GO}/MotorState', 12),
    'unitree_arm_sdk': (f'{HG}/LowCmd', 'motor_cmd', f'{HG}/MotorCmd', 35),
    'unitree_hand': (f'{HG}/HandCmd', 'motor_cmd', f'{HG}/MotorCmd', 7),
    'unitree_motor_cmds': (f'{GO}/MotorCmds', 'cmds', f'{GO}/MotorCmd', 12),
}
INTERBOTIX = 'interbotix_xs_msgs/msg'


def words(kind: str, wire: Wire, positions: dict[str, float]):
    """Return what a driver would say, or hear, of some joints."""
    gain, bias = wire.affine
    values = gain * [positions[name] for name in wire.joints] + bias
    named = dict(zip(wire.driver_names, values.tolist(), strict=True))
    if kind in BY_MOTOR:
        name, field, motor, count = BY_MOTOR[kind]
        places = dict(zip(wire.motors, values.tolist(), strict=True))
        motors = [CLASSES[motor](q=places.get(index, 0.0)) for index in range(count)]
        return CLASSES[name](**{field: motors})
    return {
        'joint_state': lambda: joint_state(**named),
        'joint_trajectory': lambda: trajectory(**named),
        'float64_multi_array': lambda: numbers(*values),
        'interbotix_group': lambda: CLASSES[f'{INTERBOTIX}/JointGroupCommand'](
            name='arm', cmd=[*values]
        ),
        'interbotix_single': lambda: CLASSES[f'{INTERBOTIX}/JointSingleCommand'](
            name=wire.driver_names[0], cmd=values[0]
        ),
    }[kind]()


def step(positions: dict[str, float]):
    """Return what the executor tells of a command."""
    kind = STORE.types['async_chunking/msg/ControlStep']
    given = {'header': HEADER, 'strategy': '', 'joint_names': [*positions]}
    given['command'] = np.array([*positions.values()], dtype=np.float32)
    empty = np.zeros(0, np.float32)
    names = [name for name, _ in STORE.fielddefs['async_chunking/msg/ControlStep'][1]]
    given |= {name: empty for name in ('planned', 'measured')}
    return kind(**{name: given.get(name, 0) for name in names})


def at(robot: Embodiment, k: int) -> dict[str, float]:
    """Return where the joints are at tick k, within their limits."""
    shares = 0.5 + 0.4 * np.sin(0.02 * k + np.arange(len(robot.joints)))
    lower, upper = robot.limits.lower, robot.limits.upper
    return dict(zip(robot.joint_names, (lower + shares * (upper - lower)).tolist(), strict=True))


def drive(path: Path, robot: Embodiment, own: bool, drivers: bool) -> None:
    """Record half a second: the executor's own topic, the drivers' commands, or both."""
    said = []
    for k in range(26):
        now, then = at(robot, k), at(robot, k + 1)
        before = 0.02 * k - 0.005
        said += [(before, f'/r/{s.topic}', words(s.kind, s, now)) for s in robot.sources]
        said += [
            (before, f'/r/{s.topic}', numbers(*[float(k)] * s.size))
            for s in robot.observations.values()
            if s.topic
        ]
        said += [(0.02 * k, '/r/control_step', step(then))] * own
        said += [
            (0.02 * k, f'/r/{c.topic}', words(c.sink, c, then))
            for c in robot.commands
            if drivers and c.sink != 'gripper_command'
        ]
    bag_of(path, said)


@pytest.mark.parametrize('own', [True, False], ids=['control_step', 'drivers'])
@pytest.mark.parametrize('name', HARDWARE)
def test_every_robot_becomes_demonstrations(tmp_path: Path, name: str, own: bool):
    robot = load(name)
    drive(tmp_path / 'bag', robot, own=own, drivers=not own)
    if not own and any(c.sink == 'gripper_command' for c in robot.commands):
        with pytest.raises(DatasetError, match=r'gripper_action .gripper_command. is an action'):
            convert([tmp_path / 'bag'], robot, tmp_path / 'data', '')
        return
    assert convert([tmp_path / 'bag'], robot, tmp_path / 'data', '') == (1, [])
    data = read_demonstrations(tmp_path / 'data')
    ticks = np.arange(len(data.actions)) * 50.0 / robot.policy.policy_rate_hz
    # The newest one half a frame later.
    newest = np.floor(ticks + 25.0 / robot.policy.policy_rate_hz + 1e-6).astype(int)
    expected = [[*at(robot, min(k, 25) + 1).values()] for k in newest]
    np.testing.assert_allclose(data.actions, expected, atol=1e-5)
    measured = [[*at(robot, min(int(k + 1e-6), 25)).values()] for k in ticks]
    state = data.observations['observation.state']
    np.testing.assert_allclose(state, measured, atol=1e-5)


def test_what_the_executor_tells_goes_before_the_drivers_topics(tmp_path: Path):
    robot = load('franka')
    drive(tmp_path / 'bag', robot, own=True, drivers=True)
    assert convert([tmp_path / 'bag'], robot, tmp_path / 'data', '') == (1, [])
    assert not np.isnan(read_demonstrations(tmp_path / 'data').actions).any()


def test_steps_of_another_robot_are_refused(tmp_path: Path):
    robot = load('franka')
    drive(tmp_path / 'bag', robot, own=True, drivers=False)
    fields = robot.model_dump()
    fields['joints'][-1]['name'] = 'claw'
    fields['groups'] = ()
    fields['commands'][-1]['joints'] = fields['joint_states'][-1]['joints'] = ['claw']
    fields['joint_states'][-1]['names'] = ['fr3_finger_joint1']
    other = Embodiment.model_validate(fields)
    with pytest.raises(DatasetError, match='control_step lacks claw; is it of another robot'):
        convert([tmp_path / 'bag'], other, tmp_path / 'data', '')
