# SPDX-License-Identifier: Apache-2.0
"""What drivers were told is read from their own topics, and held against the limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rosbags')

from driver_messages import (
    CLASSES,
    Look,
    TimedMessage,
    control_step,
    joint_state,
    numbers,
    record,
    trajectory,
)

from async_chunking.bags import alignment, wire, wire_limits
from async_chunking.bags.files import Bag
from async_chunking.bags.overview import overview
from async_chunking.bags.wire import joint_values, of_command, read
from async_chunking.bags.wire_messages import KINDS
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.robot.wiring import SINKS, SOURCES

PERIOD = 0.02
SPEED, ACCELERATION = 1.0, 5.0
REACH = ACCELERATION * PERIOD**2  # In the first period from rest.


def toy(**changes: Any) -> Embodiment:
    joint = {'lower': -1.0, 'upper': 1.0, 'velocity': SPEED, 'acceleration': ACCELERATION}
    content = {
        'name': 'toy',
        'control_rate_hz': 1.0 / PERIOD,
        'joints': [{'name': 'a', **joint}, {'name': 'b', **joint, 'jerk': 400.0}],
        'observations': {'observation.state': {'kind': 'measured', 'size': 2}},
        'commands': [
            {'topic': 'one', 'sink': 'float64_multi_array', 'joints': ['a']},
            {'topic': 'arm/two', 'sink': 'float64_multi_array', 'joints': ['b']},
        ],
        'policy': {'path': 'toy', 'policy_rate_hz': 50.0, 'execution_horizon': 4},
    }
    return Embodiment.model_validate(content | changes)


def told(positions: Mapping[str, np.ndarray], begin: float = 0.0) -> list[TimedMessage]:
    """Return commands for each topic, a period apart."""
    return [
        (begin + index * PERIOD, f'/toy/{topic}', numbers(position))
        for topic, column in positions.items()
        for index, position in enumerate(column)
    ]


def ramp(begin: float, speed: float, ticks: int) -> np.ndarray:
    """Return positions from rest to a speed and back to rest, with `ACCELERATION`."""
    up = np.arange(1, round(speed / ACCELERATION / PERIOD) + 1) * REACH
    steps = np.concatenate(([0.0, 0.0], up, [up[-1]] * ticks, up[::-1], [0.0, 0.0]))
    return begin + np.cumsum(steps)


def motors(kind: str, count: int, **at: float) -> list[Look]:
    return [CLASSES[kind](q=at.get(f'm{index}', 9.0)) for index in range(count)]


HG, GO = 'unitree_hg/msg', 'unitree_go/msg'
MESSAGES = {
    'float64_multi_array': numbers(0.25, -0.5),
    'joint_state': joint_state(y=-0.5, other=9.0, x=0.25),
    'joint_trajectory': trajectory(y=-0.5, x=0.25),
    'interbotix_group': CLASSES['interbotix_xs_msgs/msg/JointGroupCommand'](cmd=[0.25, -0.5]),
    'unitree_arm_sdk': CLASSES[f'{HG}/LowCmd'](
        motor_cmd=motors(f'{HG}/MotorCmd', 35, m5=0.25, m2=-0.5)
    ),
    'unitree_hand': CLASSES[f'{HG}/HandCmd'](
        motor_cmd=motors(f'{HG}/MotorCmd', 2, m1=0.25, m0=-0.5)
    ),
    'unitree_motor_cmds': CLASSES[f'{GO}/MotorCmds'](
        cmds=motors(f'{GO}/MotorCmd', 6, m5=0.25, m2=-0.5)
    ),
    'unitree_low_state': CLASSES[f'{HG}/LowState'](
        motor_state=motors(f'{HG}/MotorState', 35, m5=0.25, m2=-0.5)
    ),
    'unitree_hand_state': CLASSES[f'{HG}/HandState'](
        motor_state=motors(f'{HG}/MotorState', 7, m5=0.25, m2=-0.5)
    ),
    'unitree_motor_states': CLASSES[f'{GO}/MotorStates'](
        states=motors(f'{GO}/MotorState', 12, m5=0.25, m2=-0.5)
    ),
}  # fmt: skip


@pytest.mark.parametrize('kind', MESSAGES)
def test_every_kind_of_topic_is_read(tmp_path: Path, kind: str):
    bag = record(tmp_path / 'bag', [(0.0, '/ns/t', MESSAGES[kind])] * 3)
    wanted = wire.Wanted('t', kind, ('x', 'y'), (5, 2))
    ((key, series),) = read(bag, {'key': wanted})
    assert key == 'key'
    np.testing.assert_array_equal(series.values, [[0.25, -0.5]] * 3)
    assert series.stamps.tolist() == [10**18] * 3
    assert bag.problems == []


@pytest.mark.parametrize('place', [0, 1, 2])
@pytest.mark.parametrize('strange', [(9.0,), (9.0, 9.0, 9.0), ()])
def test_a_command_of_another_size_is_named_and_the_others_are_read(
    tmp_path: Path, strange: tuple[float, ...], place: int
):
    said = [(0.0, '/ns/t', numbers(0.25, -0.5))] * 2
    bag = record(
        tmp_path / 'bag', [*said[:place], (0.0, '/ns/t', numbers(*strange)), *said[place:]]
    )
    ((_, series),) = read(bag, {'key': wire.Wanted('t', 'float64_multi_array', size=2)})
    np.testing.assert_array_equal(series.values, [[0.25, -0.5]] * 2)
    (problem,) = bag.problems
    assert f'/ns/t: 1 of 3 messages left out: has {len(strange)} numbers for 2 joints' in problem


def test_a_single_joint_is_read_in_our_units(tmp_path: Path):
    robot = load('viperx_bimanual_puppet')
    (command,) = [c for c in robot.commands if 'left_gripper' in c.joints]
    message = CLASSES['interbotix_xs_msgs/msg/JointSingleCommand'](name='gripper', cmd=1.4910)
    bag = record(tmp_path / 'bag', [(0.0, f'/{command.topic}', message)])
    ((_, series),) = read(bag, {'gripper': of_command(command)})
    np.testing.assert_allclose(joint_values(series.values, command), [[1.0]], atol=1e-6)


def test_only_actions_have_no_topic_to_read():
    assert {*SINKS, *SOURCES} - set(KINDS) == {'gripper_command'}


def test_topics_are_told_apart_by_their_longest_name(tmp_path: Path):
    said = [
        (0.0, '/r/t', numbers(1.0)),
        (0.1, '/r/gripper/t', numbers(2.0)),
        (0.2, '/r/at', numbers(3.0)),
    ]
    bag = record(tmp_path / 'bag', said)
    kind = 'float64_multi_array'
    messages = dict(
        read(bag, {'arm': wire.Wanted('t', kind), 'hand': wire.Wanted('gripper/t', kind)})
    )
    assert {key: series.values.tolist() for key, series in messages.items()} == {
        'arm': [[1.0]], 'hand': [[2.0]],
    }  # fmt: skip


def test_another_type_on_a_topic_is_named(tmp_path: Path):
    bag = record(tmp_path / 'bag', [(0.0, '/one', joint_state(a=1.0))])
    assert list(read(bag, {'one': wire.Wanted('one', 'float64_multi_array')})) == []
    (problem,) = bag.problems
    assert 'topic /one: 1 of 1 messages left out: holds sensor_msgs/msg/JointState' in problem


@pytest.mark.parametrize('broken', ['empty', 'cut'])
def test_one_bad_message_does_not_spoil_the_others(tmp_path: Path, monkeypatch, broken: str):
    said = [(i * PERIOD, '/ns/t', joint_state(x=float(i))) for i in range(9)]
    if broken == 'empty':  # Another publisher may send names alone.
        said[4][2].position = np.empty(0)
    bag = record(tmp_path / 'bag', said)
    messages = list(bag.messages(lambda _: True))
    if broken == 'cut':
        messages[4] = messages[4]._replace(data=messages[4].data[:30])
    wanted = {'x': wire.Wanted('t', 'joint_state', ('x',))}
    monkeypatch.setattr(Bag, 'messages', lambda *_: iter(messages))
    ((_, series),) = read(bag, wanted, 'ns')
    assert series.values[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0]
    assert len(bag.problems) == 1


# --- limits -------------------------------------------------------------------------------------


def test_a_known_motion_has_known_shares(tmp_path: Path):
    still = np.zeros(60)
    bag = record(tmp_path / 'bag', told({'one': ramp(0.0, 0.5, 30), 'arm/two': still}))
    use = wire_limits.wire_use(bag, toy())
    np.testing.assert_allclose(use.use.velocity, [0.5, 0.0], atol=1e-9)
    np.testing.assert_allclose(use.use.acceleration, [1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(use.use.jerk, [np.nan, 0.0])
    assert use.figures()['exceeded'] == 0
    assert use.restarts.tolist() == [0, 0]
    assert use.commands.tolist() == [len(ramp(0.0, 0.5, 30)), 60]
    assert use.silent == ()


@pytest.mark.parametrize('piece', [7, 4096])
def test_each_limit_counts_from_one_command_to_the_next(tmp_path: Path, monkeypatch, piece: int):
    monkeypatch.setattr(wire, '_PIECE', piece)
    monkeypatch.setattr(wire_limits, '_PIECE', piece)
    good = ramp(0.0, 0.5, 30)
    broken = {
        'position': ramp(0.9, 0.3, 30),
        'velocity': np.cumsum(np.minimum(np.arange(40), 25) * REACH) - 0.9,
        'acceleration': np.concatenate((good[:20], good[20:] + 2.0 * REACH)),
        'jump': np.concatenate((good, good + 0.1)),  # As a new run would that begins elsewhere.
    }
    for name, positions in broken.items():
        bag = record(tmp_path / name, told({'one': positions, 'arm/two': np.zeros(9)}))
        figures = wire_limits.wire_use(bag, toy()).figures()
        assert figures['exceeded'] >= 1, name
    jump = good[-1] - 0.1
    assert figures['velocity_use'] == pytest.approx(jump / PERIOD / SPEED)
    assert figures['acceleration_use'] == pytest.approx(jump / PERIOD**2 / ACCELERATION)


def test_a_recording_may_begin_while_a_joint_moves(tmp_path: Path):
    whole = ramp(0.0, 0.5, 30)
    bag = record(tmp_path / 'bag', told({'one': whole[4:], 'arm/two': np.zeros(9)}))
    assert whole[5] - whole[4] > 1.5 * REACH
    assert wire_limits.wire_use(bag, toy()).figures()['exceeded'] == 0


def test_jerk_counts_where_its_limit_is_known(tmp_path: Path):
    steps = np.array([0, 0, 1, 0, 0, 0]) * 0.9 * REACH
    bag = record(tmp_path / 'bag', told({'one': np.cumsum(steps), 'arm/two': np.cumsum(steps)}))
    use = wire_limits.wire_use(bag, toy())
    np.testing.assert_allclose(use.use.acceleration, 0.9)
    assert use.use.jerk[1] == pytest.approx(1.8 * ACCELERATION / PERIOD / 400.0)
    assert use.figures()['exceeded'] == 1  # The jerk of joint b.


def steps(
    positions: np.ndarray,
    missed: Collection[int] = (),
    teleported: Collection[int] = (),
    delay: float = 0.001,
    first: int = 0,
) -> list[TimedMessage]:
    """Return what an executor says of joint a at each tick; joint b rests."""
    messages, sent = [], np.nan
    for tick, position in enumerate(positions):
        sent = sent if tick in missed else position
        step = control_step(
            run_id=7, tick=first + tick, deadline_ns=round((first + tick) * PERIOD * 1e9),
            joint_names=['a', 'b'], command=np.array([sent, 0.0], np.float32),
            missed=tick in missed, teleported=tick in teleported,
        )  # fmt: skip
        messages.append(((first + tick) * PERIOD + delay, '/toy/control_step', step))
    return messages


def test_only_a_marked_simulation_may_go_on_from_where_it_put_a_joint(tmp_path: Path):
    first = ramp(0.0, 0.5, 30)
    both = np.concatenate((first, ramp(-0.4, 0.5, 30)))
    begin = len(first)
    at = begin * PERIOD
    measured = [(at - 0.1, '/toy/joint_states', joint_state(b=0.0, a=-0.4))]
    said = told({'one': both, 'arm/two': np.zeros(9)})
    marked = steps(both, teleported=[begin])
    use = wire_limits.wire_use(record(tmp_path / 'one', said + measured + marked), toy())
    assert use.figures()['exceeded'] == 0
    assert use.restarts.tolist() == [1, 0]
    # Without the mark, at another tick, elsewhere, too early, thereafter (a servo obeys), or while
    # it moves, the same jump is one.
    elsewhere = [(at - 0.1, '/toy/joint_states', joint_state(b=0.0, a=-0.4 + 2.0 * REACH))]
    early = [(at - 1.1, *measured[0][1:])]
    late = [(at + 0.1, *measured[0][1:])]
    moving = np.concatenate((first[:20], ramp(-0.4, 0.5, 30)))
    for name, messages in {
        'unmarked': said + measured,
        'said to be none': said + measured + steps(both),
        'marked later': said + measured + steps(both, teleported=[begin + 3]),
        'elsewhere': said + elsewhere + marked,
        'early': said + early + marked,
        'late': said + late + marked,
        'moving': told({'one': moving}) + measured + steps(moving, teleported=[20]),
    }.items():
        use = wire_limits.wire_use(record(tmp_path / name, messages), toy())
        assert use.figures()['exceeded'] >= 1, name
        assert use.restarts.tolist() == [0, 0]


def test_ticks_say_what_receive_times_cannot(tmp_path: Path):
    """A robot brakes on missed ticks; a busy recorder stamps commands as if there were none."""
    whole = np.cumsum(np.concatenate((np.arange(1, 11), np.full(30, 10))) * REACH) - 0.9
    silence = 4
    slower = np.arange(10 - silence, 11)  # The first command after it, and back to full speed.
    after = whole[-1] + np.cumsum(np.concatenate((slower, np.full(30, 10))) * REACH)
    positions = np.concatenate((whole, np.full(silence, np.nan), after))
    missed = range(len(whole), len(whole) + silence)
    stamps = np.arange(len(positions)) * PERIOD
    stamps[len(whole) - 9 : len(whole)] += silence * PERIOD  # Late, so that no gap is seen.
    sent = [
        (stamps[i], '/toy/one', numbers(p)) for i, p in enumerate(positions) if i not in missed
    ]
    for name, said, exceeded in (
        ('with steps', steps(positions, missed, delay=0.3), 0),
        ('by receive times', [], 1),
        ('no tick missed', steps(np.delete(positions, missed), delay=0.3), 1),
    ):
        use = wire_limits.wire_use(record(tmp_path / name, sent + said), toy())
        assert use.figures()['exceeded'] == exceeded, name


def test_a_long_pause_that_no_tick_was_counted_for_is_one(tmp_path: Path):
    """After it the executor's deadlines lie on another grid; then receive times must do."""
    positions = np.cumsum(np.concatenate((np.arange(1, 11), np.full(60, 10))) * REACH) - 0.9
    said = steps(positions)
    for _, _, step in said[40:]:
        step.deadline_ns += 2 * 10**9 + 1
    both = told({'one': positions}) + said
    paused = [(at + 2.0 * (at >= 40 * PERIOD), *rest) for at, *rest in both]
    figures = wire_limits.wire_use(record(tmp_path / 'bag', paused), toy()).figures()
    assert figures['exceeded'] == 1


def test_what_the_recorder_lost_is_known_by_the_steps(tmp_path: Path):
    positions = ramp(-0.5, 0.5, 40)
    lost = {20, 21, 22, 40}
    jump = positions + 0.1 * (np.arange(len(positions)) == 21)
    for name, said, exceeded in (('right', positions, 0), ('jump', jump, 2)):
        sent = [(i * PERIOD, '/toy/one', numbers(p)) for i, p in enumerate(said) if i not in lost]
        use = wire_limits.wire_use(record(tmp_path / name, sent + steps(said)), toy())
        assert use.figures()['exceeded'] == exceeded, name
        assert use.commands.tolist() == [len(positions) - len(lost), 0]


def test_steps_that_were_lost_or_began_later_spoil_nothing(tmp_path: Path):
    positions = ramp(-0.5, 0.5, 40)
    said = steps(positions)
    for name, kept in (('hole', said[:20] + said[30:]), ('late', said[25:]), ('end', said[:25])):
        messages = told({'one': positions}) + kept
        use = wire_limits.wire_use(record(tmp_path / name, messages), toy())
        assert use.figures()['exceeded'] == 0, name
        jumping = told({'one': positions + 0.1 * (np.arange(len(positions)) > 24)}) + kept
        use = wire_limits.wire_use(record(tmp_path / f'{name}, jump', jumping), toy())
        assert use.figures()['exceeded'] >= 2, name


@pytest.mark.parametrize('block', [1, 4096])
def test_bad_streams_are_counted_with_steps_that_tell_of_them(tmp_path, monkeypatch, block):
    """Whatever the executor says of itself, a driver that was told too much was."""
    monkeypatch.setattr(alignment, '_BLOCK', block)
    good = ramp(-0.5, 0.5, 30)
    other = ramp(0.3, 0.5, 30)
    nan = good.copy()
    nan[20] = np.nan
    run = np.concatenate((good, good + 0.05))
    foreign = [(at + PERIOD / 2.0, *rest) for at, *rest in told({'one': other})]
    begin = len(good)
    last = [(begin * PERIOD, '/toy/joint_states', joint_state(a=float(run[begin]), b=0.0))]
    for name, messages in {
        'no number': told({'one': nan}) + steps(nan),
        'jump where a run begins': told({'one': run})
        + steps(good)
        + steps(good + 0.05, first=begin),
        'jump to where joints are': told({'one': run}) + last + steps(run),
        'at rest before the first': told({'one': np.array([0.0, 0.0, 0.2, 0.2])})
        + steps(np.array([0.0, 0.0, 0.2, 0.2])),
        'two publishers': told({'one': good}) + foreign + steps(good),
    }.items():
        use = wire_limits.wire_use(record(tmp_path / name, messages), toy())
        assert use.figures()['exceeded'] >= 1, name
        assert use.restarts.tolist() == [0, 0]


def test_a_clock_that_was_set_while_recording_changes_nothing(tmp_path: Path):
    positions, half = ramp(-0.5, 0.5, 40), 30
    said = told({'one': positions}) + steps(positions)
    ahead = [(at + 3600.0 * (at >= half * PERIOD), *rest) for at, *rest in said]
    use = wire_limits.wire_use(record(tmp_path / 'bag', ahead), toy())
    assert use.figures()['exceeded'] == 0
    use = wire_limits.wire_use(record(tmp_path / 'without', ahead[: len(positions)]), toy())
    assert use.figures()['exceeded'] >= 1


def test_after_going_on_from_elsewhere_limits_count_from_rest(tmp_path: Path):
    quick = -0.4 + np.concatenate(([0.0], np.full(5, 2.0 * REACH))).cumsum()
    said = told({'one': np.concatenate((np.zeros(10), quick))})
    measured = [(10 * PERIOD, '/toy/joint_states', joint_state(a=-0.4, b=0.0))]
    marked = steps(np.concatenate((np.zeros(10), quick)), teleported=[10])
    bag = record(tmp_path / 'bag', [*said, *measured, *marked])
    use = wire_limits.wire_use(bag, toy())
    assert use.restarts.tolist() == [1, 0]
    assert use.use.acceleration[0] == pytest.approx(2.0)


def test_what_is_no_number_exceeds_limits(tmp_path: Path):
    positions = ramp(0.0, 0.5, 30)
    positions[20:25] = np.nan
    positions[27] = np.inf
    use = wire_limits.wire_use(record(tmp_path / 'bag', told({'one': positions})), toy())
    assert use.figures()['not_finite'] == 6
    assert use.figures()['exceeded'] >= 1


@pytest.mark.parametrize('piece', [7, 4096])
def test_after_silence_a_robot_is_slower(tmp_path: Path, monkeypatch, piece: int):
    """Full speed at once after a second of silence is a jump; late messages are no silence."""
    monkeypatch.setattr(wire, '_PIECE', piece)
    monkeypatch.setattr(wire_limits, '_PIECE', piece)
    positions = np.cumsum(np.concatenate((np.arange(1, 11), np.full(60, 10))) * REACH) - 0.9
    when = np.arange(len(positions)) * PERIOD
    paused, late = when.copy(), when.copy()
    paused[40:] += 1.0
    late[40:46] = when[46] - 0.001 * np.arange(6, 0, -1)
    for name, stamps, exceeded in (('paused', paused, 1), ('late', late, 0)):
        said = [(at, '/toy/one', numbers(p)) for at, p in zip(stamps, positions, strict=True)]
        figures = wire_limits.wire_use(record(tmp_path / name, said), toy()).figures()
        assert figures['exceeded'] == exceeded, name


def test_what_was_not_recorded_is_named(tmp_path: Path):
    bag = record(tmp_path / 'bag', told({'one': ramp(0.0, 0.5, 30)}))
    use = wire_limits.wire_use(bag, toy())
    assert use.figures()['silent_joints'] == ['b']
    assert np.isnan(use.use.velocity[1])
    assert use.figures()['velocity_use'] == pytest.approx(0.5)
    nothing = wire_limits.wire_use(record(tmp_path / 'none', [(0.0, '/x', numbers(0.0))]), toy())
    assert nothing.figures()['silent_joints'] == ['a', 'b']
    assert np.isnan(nothing.figures()['velocity_use'])


def test_the_overview_believes_the_drivers_topics_alone(tmp_path: Path):
    record(tmp_path / 'bag', told({'one': np.array([0.0, 0.0, 0.5]), 'arm/two': np.zeros(3)}))
    assert overview(tmp_path / 'bag', toy())['limits']['velocity_use'] == pytest.approx(25.0)


def test_a_joint_that_a_message_names_twice_is_refused_by_name(tmp_path):
    record(tmp_path / 'bag', [(0.02 * k, '/s', joint_state(a=0.1, b=0.2)) for k in range(3)])
    twice = joint_state(a=0.1, b=0.2)
    twice.name[1] = 'a'
    record(tmp_path / 'twice', [(0.02 * k, '/s', twice) for k in range(3)])
    wanted = {'s': wire.Wanted('s', 'joint_state', ('a',))}
    assert [key for key, _ in read(Bag(tmp_path, [tmp_path / 'bag/bag.mcap']), wanted)] == ['s']
    bag = Bag(tmp_path, [tmp_path / 'twice/twice.mcap'])
    assert not [*read(bag, wanted)]
    assert 'topic /s: 3 of 3 messages left out: has the joint a twice: a, a' in bag.problems[0]
