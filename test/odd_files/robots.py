# SPDX-License-Identifier: Apache-2.0
"""Which joints, of which robot: names that are shared, topics that are shared, two in one bag."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from async_chunking.dataset.from_bags import convert
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.robot.embodiment import load
from odd_files import Case
from odd_files.asking import LIMITS, first_frame, robot
from odd_files.writing import JOINTS, SINGLE, Line, joints, numbers, record, step, text

ARM = robot(['j1', 'j2'])
FRAMES = 20
RIGHT = 'state 0.5 -0.5, action 0.5 -0.5'


def _leader_and_follower(own: bool, deep: str = ''):
    def make(folder: Path) -> None:
        lines: list[Line] = []
        for k in range(FRAMES):
            t = 0.02 * k
            lines.append(joints(t, f'{deep}/leader/joint_states', j1=1.0, j2=-1.0))
            lines.append(joints(t, f'{deep}/follower/joint_states', j1=0.5, j2=-0.5))
            lines.append(
                step(t + 0.001, f'{deep}/follower/control_step', k, j1=0.5, j2=-0.5)
                if own
                else numbers(t + 0.001, f'{deep}/follower/go', 0.5, -0.5)
            )
        record(folder / 'bag', lines)

    return make


GRIPPER = robot(
    ['j1', 'j2', 'finger'],
    joint_states=[
        {'topic': 'joint_states', 'joints': ['j1', 'j2']},
        {'topic': 'joint_states', 'joints': ['finger']},
    ],
)


def _arm_and_gripper(apart: bool):
    def make(folder: Path) -> None:
        lines = []
        for k in range(FRAMES):
            t = 0.02 * k
            arm, finger = {'j1': 0.5, 'j2': -0.5}, {'finger': 0.03}
            if apart:
                lines += [joints(t, '/joint_states', **arm), joints(t, '/joint_states', **finger)]
            else:
                lines.append(joints(t, '/joint_states', **arm, **finger))
            lines.append(numbers(t + 0.001, '/go', 0.5, -0.5, 0.03))
        record(folder / 'bag', lines)

    return make


PAN_TILT = robot(
    ['pan', 'tilt'],
    commands=[
        {'topic': 'commands/joint_single', 'sink': 'interbotix_single', 'joints': [name]}
        for name in ('pan', 'tilt')
    ],
)


def _pan_and_tilt(folder: Path) -> None:
    lines = []
    for k in range(FRAMES):
        t = 0.02 * k
        lines.append(joints(t, '/joint_states', pan=0.5, tilt=-0.5))
        for name, value in (('pan', 0.5), ('tilt', -0.5)):
            values = {'name': name, 'cmd': value}
            lines.append(Line(t + 0.001, '/commands/joint_single', SINGLE, values))
    record(folder / 'bag', lines)


def _velocity_use(folder: Path) -> str:
    from async_chunking.bags.files import find
    from async_chunking.bags.wire_limits import wire_use

    (bag,) = find([folder / 'bag'])
    return f'{wire_use(bag, PAN_TILT).figures()["velocity_use"]:.0%} of the velocity limit'


MOTORS = robot(
    ['hip', 'knee'],
    joint_states=[
        {'topic': 'lowstate', 'kind': 'unitree_low_state', 'joints': ['hip'], 'motors': [3]},
        {'topic': 'lowstate', 'kind': 'unitree_low_state', 'joints': ['knee'], 'motors': [4]},
    ],
)


def _motors(folder: Path) -> None:
    lines = []
    for k in range(FRAMES):
        states = [{'q': 0.1 * motor} for motor in range(35)]
        kind = 'unitree_hg/msg/LowState'
        lines.append(Line(0.02 * k, '/lowstate', kind, {'motor_state': states}))
        lines.append(numbers(0.02 * k + 0.001, '/go', 0.3, 0.4))
    record(folder / 'bag', lines)


def _snapshot(velocity: float) -> str:
    names = ('lower', 'upper', 'velocity', 'acceleration')
    limits = {**LIMITS, 'velocity': velocity}
    return json.dumps({'limits': {name: [limits[name]] * 2 for name in names}})


def _two_cells(folder: Path) -> None:
    """Both move by 0.01 a tick, half a radian a second; one may do one, the other two."""
    lines = []
    for cell, velocity, run_id in (('left_cell', 1.0, 1), ('right_cell', 2.0, 2)):
        lines.append(text(0.0, f'/{cell}/snapshot', _snapshot(velocity)))
        for k in range(FRAMES):
            at = 0.01 * k
            lines.append(step(0.02 * k, f'/{cell}/control_step', k, run_id, j1=at, j2=at))
    record(folder / 'bag', lines)


def _each_limit(folder: Path) -> str:
    from async_chunking.bags.files import find
    from async_chunking.bags.summary import summarize_bag

    (bag,) = find([folder / 'bag'])
    uses = {
        run.key.topic.split('/')[1]: run.figures['limits']['velocity_use']
        for run in summarize_bag(bag).runs
    }
    return ', '.join(f'{cell} {use:.0%}' for cell, use in sorted(uses.items()))


def _rows_of_the_report(folder: Path) -> str:
    from async_chunking.bags.compare import by_strategy
    from async_chunking.bags.files import find
    from async_chunking.bags.summary import summarize_bag

    (bag,) = find([folder / 'bag'])
    return ', '.join(sorted(group.strategy for group in by_strategy(summarize_bag(bag).runs)))


def _one_cell(folder: Path) -> str:
    from async_chunking.cli import application

    words = ['report', str(folder / 'bag'), '--namespace', 'right_cell']
    words += ['--csv', str(folder / 'rows.csv')]
    result = CliRunner().invoke(application('report'), words)
    rows = (folder / 'rows.csv').read_text().splitlines()[1:] if not result.exception else []
    return f'{len(rows)} run' if result.exit_code in (0, 1) else f'status {result.exit_code}'


def _two_runs(change: dict[str, Any]) -> Callable[[Path], None]:
    """Record runs that move half a radian a second; what the robot is was changed between."""

    def make(folder: Path) -> None:
        said = []
        for run_id, velocity in ((1, 1.0), (2, 2.0)):
            begin = 10.0 * run_id
            told = json.loads(_snapshot(velocity)) | (change if run_id == 2 else {})
            said.append(text(begin, '/snapshot', json.dumps(told)))
            for k in range(FRAMES):
                said.append(
                    step(begin + 0.02 * k + 0.001, '/control_step', k, run_id, j1=0.01 * k, j2=0.0)
                )
        record(folder / 'bag', said)

    return make


def _late_snapshot(folder: Path) -> None:
    """Record a run, another, and only while that runs what the robot is."""
    said = [
        step(1.0 * run_id + 0.02 * k, '/control_step', k, run_id, j1=0.01 * k, j2=0.0)
        for run_id in (1, 2)
        for k in range(FRAMES)
    ]
    record(folder / 'bag', [*said, text(2.1, '/snapshot', _snapshot(1.0))])


def _each_run(folder: Path) -> str:
    from async_chunking.bags.files import find
    from async_chunking.bags.summary import summarize_bag

    (bag,) = find([folder / 'bag'])
    report = summarize_bag(bag)
    uses = [run.figures['limits'] for run in report.runs]
    reasons = ' '.join(problem.rpartition(': ')[2] for problem in report.problems)
    said = ', '.join(f'{use["velocity_use"]:.0%}' if use else 'unknown' for use in uses)
    return f'{said}{f" ({reasons})" * bool(reasons)}'


def _doubled(folder: Path) -> None:
    said = []
    for k in range(FRAMES):
        values = {'name': ['j1', 'j2', 'j2'], 'position': [0.5, 0.01, 0.04]}
        said.append(Line(0.02 * k, '/joint_states', JOINTS, values))
        said.append(numbers(0.02 * k + 0.001, '/go', 0.5, -0.5))
    record(folder / 'bag', said)


def _described(**changes: Any) -> Callable[[Path], str]:
    """Return what asks whether a description of two joints can be used."""

    def ask(folder: Path) -> str:
        content = robot(['j1', 'j2']).model_dump(mode='json', exclude_defaults=True) | changes
        file = folder / 'robot.yaml'
        file.write_text(yaml.safe_dump(content))
        return load(str(file)).name

    return ask


TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
BY_POINTS = robot(
    ['j1', 'j2'], commands=[{'topic': 'go', 'sink': 'joint_trajectory', 'joints': ['j1', 'j2']}]
)


def _points(*seconds: float, every: int = 1) -> Callable[[Path], None]:
    """Record trajectories of points that are to be reached after so many seconds."""

    def make(folder: Path) -> None:
        said = []
        for k in range(FRAMES):
            said.append(joints(0.02 * k, '/joint_states', j1=0.5, j2=-0.5))
            points = [
                {'positions': [0.5 + t, -0.5],
                 'time_from_start': {'sec': int(t), 'nanosec': round(t % 1 * 1e9)}}
                for t in (seconds if k % every == 0 else (0.04,))
            ]  # fmt: skip
            values = {'joint_names': ['j1', 'j2'], 'points': points}
            said.append(Line(0.02 * k + 0.001, '/go', TRAJECTORY, values))
        record(folder / 'bag', said)

    return make


def _one_source_of_two(folder: Path) -> None:
    """Arm and gripper tell each of its own joints, on one topic."""
    said = []
    for k in range(FRAMES):
        t = 0.02 * k
        said += [joints(t, '/joint_states', j1=0.5, j2=-0.5), joints(t, '/joint_states', finger=0)]
        said.append(numbers(t + 0.001, '/go', 0.5, -0.5, 0.03))
    record(folder / 'bag', said)


def _once(at: int, side: str = 'command', **wrong: float) -> Callable[[Path], None]:
    """Record joints that rest; once a number is wrong."""

    def make(folder: Path) -> None:
        said = []
        for k in range(FRAMES):
            rest = {'j1': 0.5, 'j2': -0.5}
            seen, sent = (
                rest | wrong if k == at and side == which else rest
                for which in ('seen', 'command')
            )
            said.append(joints(0.02 * k, '/joint_states', **seen))
            said.append(step(0.02 * k + 0.001, '/control_step', k, **sent))
        record(folder / 'bag', said)

    return make


def _zeroed(folder: Path) -> None:
    """Record ticks of which one is nothing but zeros, as a disk leaves a block."""
    said = []
    for k in range(FRAMES):
        said.append(joints(0.02 * k, '/joint_states', j1=0.5, j2=-0.5))
        said.append(step(0.02 * k + 0.001, '/control_step', k, j1=0.5, j2=-0.5))
    record(folder / 'bag', said, change=lambda n, data: bytes(len(data)) if n == 21 else data)


def _in_degrees(folder: Path) -> None:
    said = []
    for k in range(FRAMES):
        said.append(joints(0.02 * k, '/joint_states', j1=0.5, j2=-0.5))
        said.append(numbers(0.02 * k + 0.001, '/go', 28.6, -28.6))
    record(folder / 'bag', said)


def _lost_later(folder: Path) -> None:
    said = []
    for k in range(3 * FRAMES):
        seen = {'j1': 0.5} | ({'j2': -0.5} if k < FRAMES else {})
        said += [joints(0.02 * k, '/joint_states', **seen), numbers(0.02 * k, '/go', 0.5, -0.5)]
    record(folder / 'bag', said)


def _lost_ticks(folder: Path) -> None:
    said = []
    for k in range(2 * FRAMES):
        said.append(joints(0.02 * k, '/joint_states', j1=0.5, j2=-0.5))
        if not 10 < k < 21:
            said.append(step(0.02 * k + 0.001, '/control_step', k, j1=0.5, j2=-0.5))
    record(folder / 'bag', said)


def _elsewhere(folder: Path) -> None:
    said = []
    for k in range(2 * FRAMES):
        at = 0.5 - (k >= FRAMES)
        said.append(joints(0.02 * k, '/joint_states', j1=at, j2=0))
        said.append(step(0.02 * k + 0.001, '/control_step', k, 1 + (k >= FRAMES), j1=at, j2=0.0))
    record(folder / 'bag', said)


def _told(described: Any) -> Callable[[Path], str]:
    """Return what asks for the frames, and for what is said of them."""

    def ask(folder: Path) -> str:
        count, problems = convert([folder / 'bag'], described, folder / 'data', '')
        data = read_demonstrations(folder / 'data')
        said = '; '.join(problems).replace(f'{folder}/', '')
        return f'{count} of {len(data.actions)} frames{f": {said}" * bool(said)}'

    return ask


def _nothing(folder: Path) -> None:
    del folder


CASES = [
    Case('leader and follower, one executor', _leader_and_follower(own=True),
         first_frame(ARM), RIGHT),
    Case('leader and follower, one asked for', _leader_and_follower(own=False),
         first_frame(ARM, namespace='follower'), RIGHT),
    Case('leader and follower, none asked for', _leader_and_follower(own=False),
         first_frame(ARM),
         ('/follower/joint_states', '/leader/joint_states', '--namespace')),
    Case('leader and follower, one executor, deep names', _leader_and_follower(True, '/lab/a'),
         first_frame(ARM), RIGHT),
    Case('leader asked for, which commands nothing', _leader_and_follower(own=True),
         first_frame(ARM, namespace='leader'), ('nothing was recorded of go',)),
    Case('arm and gripper on one topic', _arm_and_gripper(apart=False),
         first_frame(GRIPPER), 'state 0.5 -0.5 0.03, action 0.5 -0.5 0.03'),
    Case('arm and gripper on one topic, each for itself', _arm_and_gripper(apart=True),
         first_frame(GRIPPER), 'state 0.5 -0.5 0.03, action 0.5 -0.5 0.03'),
    Case('two single commands on one topic', _pan_and_tilt, first_frame(PAN_TILT), RIGHT),
    Case('two single commands at rest', _pan_and_tilt, _velocity_use,
         '0% of the velocity limit'),
    Case('two groups of motors on one topic', _motors, first_frame(MOTORS),
         'state 0.3 0.4, action 0.3 0.4'),
    Case('two cells with other limits', _two_cells, _each_limit,
         'left_cell 50%, right_cell 25%'),
    Case('two cells, one strategy', _two_cells, _rows_of_the_report,
         '/left_cell naive, /right_cell naive'),
    Case('two cells, a report of one', _two_cells, _one_cell, '1 run'),
    Case('limits changed between two runs', _two_runs({}), _each_run, '50%, 25%'),
    Case('limits of joints in another order',
         _two_runs({'joint_names': ['j2', 'j1'], 'limits': {
             'lower': [-3.0] * 2, 'upper': [3.0] * 2, 'velocity': [9.0, 1.0],
             'acceleration': [1000.0] * 2}}), _each_run, '50%, 50%'),
    Case('limits of other joints', _two_runs({'joint_names': ['k1', 'k2']}), _each_run,
         "50%, unknown (the limits are of ['k1', 'k2'], the commands of j1, j2; "
         'margins are left out)'),
    Case('limits that are no limits', _two_runs({'limits': 3}), _each_run,
         "50%, unknown ('int' object has no attribute 'items'; margins are left out)"),
    Case('limits told while the second run ran', _late_snapshot, _each_run,
         'unknown, 50% (it ended before the limits were told; margins are left out)'),
    Case('a message that names a joint twice', _doubled, first_frame(ARM),
         ('topic /joint_states', 'has the joint j2 twice: j1, j2, j2')),
    Case('trajectories of one point each', _points(0.04), first_frame(BY_POINTS),
         'state 0.5 -0.5, action 0.54 -0.5'),
    Case('trajectories of many points', _points(0.1, 0.2, 0.3), _told(BY_POINTS),
         ('20 of 20 messages left out', 'a path of several points', 'nothing was recorded of go')),
    Case('trajectories of many points now and then', _points(0.1, 0.2, every=10),
         _told(BY_POINTS), '1 of 19 frames: bag: topic /go: 2 of 20 messages left out: is a path '
         'of several points, none of which is a command for now'),
    Case('trajectories of one point for later', _points(2.0), _told(BY_POINTS),
         ('20 of 20 messages left out', 'a goal, no command for now')),
    Case('arm and gripper on one topic, described as one', _one_source_of_two,
         _told(robot(['j1', 'j2', 'finger'])),
         ('no message of joint_states has all of j1, j2, finger', 'a source of its own')),
    Case('a robot in another namespace than asked for', _leader_and_follower(own=False),
         first_frame(ARM, namespace='folower'),
         ('nothing was recorded of joint_states', 'in namespace /folower')),
    Case('commands that are lost for a while', _lost_ticks, _told(ARM),
         '1 of 40 frames: bag: control_step (j1, j2) said nothing for 0.22 s after 0.2 s; what '
         'came before is held as long'),
    Case('two runs in one recording, the robot elsewhere', _elsewhere, _told(ARM),
         '1 of 40 frames: ' + '; '.join(
             f'bag: {name} of j1 goes by 1 in a frame at 0.38 s, more than 3 times what its '
             'velocity limit allows, as in 1 frames: several recordings in one, or noise?'
             for name in ('observation.state', 'action'))),
    Case('limits with true for a number', _two_runs({'limits': {
         **json.loads(_snapshot(2.0))['limits'], 'velocity': [True, True]}}), _each_run,
         '50%, unknown (velocity has True, which is no number; margins are left out)'),
    Case('limits in quotes', _two_runs({'limits': {
         **json.loads(_snapshot(2.0))['limits'], 'velocity': ['1.0', '1.0']}}), _each_run,
         "50%, unknown (velocity has '1.0', which is no number; margins are left out)"),
    Case('a joint that is not measured', _in_degrees, _told(robot(['j1', 'j3'])),
         ('joint_states lacks j3',)),
    Case('a joint that is measured no longer', _lost_later, _told(ARM),
         ('40 of 60 messages of joint_states have no number for j2', 'said nothing for 0.5 s')),
    Case('a command that is no number', _once(9, j2=float('nan')), _told(ARM),
         '1 of 20 frames: bag: 1 of 20 messages of control_step have no number for j2; they are '
         'left out'),
    Case('a measurement that is no number', _once(9, 'seen', j2=float('nan')), _told(ARM),
         '1 of 20 frames: bag: 1 of 20 messages of joint_states have no number for j2; they are '
         'left out'),
    Case('a tick of zeros', _zeroed, _told(ARM),
         '1 of 20 frames: bag: topic /control_step: 1 of 20 messages left out: has no command'),
    Case('a command of 1e30', _once(9, j2=1e30), _told(ARM),
         ('action of j2 is 1e+30 at 0.18 s', 'beyond -9 to 9')),
    Case('a measurement of 1e30', _once(9, 'seen', j1=1e30), _told(ARM),
         ('observation.state of j1 is 1e+30 at 0.18 s', 'beyond -9 to 9')),
    Case('commands in degrees', _in_degrees, _told(ARM),
         ('action of j1 is 28.6 at 0.00 s', '20 frames are beyond -9 to 9')),
    Case('two sources of one joint of the driver', _nothing, _described(joint_states=[
         {'topic': 'joint_states', 'joints': [n], 'names': ['finger']} for n in ('j1', 'j2')]),
         ('joint finger on joint_states is told twice', 'of j1', 'of j2')),
    Case('two commands to one joint of the driver', _nothing, _described(commands=[
         {'topic': 'c', 'sink': 'interbotix_single', 'joints': [n], 'names': ['grip']}
         for n in ('j1', 'j2')]), ('joint grip on c is told twice', 'of j1', 'of j2')),
    Case('two sources of one motor', _nothing, _described(joint_states=[
         {'topic': 's', 'kind': 'unitree_low_state', 'joints': [n], 'motors': [3]}
         for n in ('j1', 'j2')]), ('motor 3 on s is told twice',)),
]  # fmt: skip
