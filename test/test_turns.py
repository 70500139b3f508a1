# SPDX-License-Identifier: Apache-2.0
"""Joints that turn without end: a wrist goes on through π and does not spin back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scripted import scripted_run

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.errors import StrategyError
from async_chunking.executor import (
    Admission,
    Behaviour,
    Executor,
    ExecutorConfig,
    Outcome,
    Phase,
)
from async_chunking.executor.content import ContentCheck
from async_chunking.executor.turns import apart, moved, smooth
from async_chunking.mergers import MERGERS
from async_chunking.metrics import summarize
from async_chunking.metrics.seams import prefix_mismatch
from async_chunking.policies.fit import Facts, FitError, check_fit
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.pose import PoseWatch
from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import Embodiment
from async_chunking.safety import Limits
from async_chunking.strategies import resolve

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
        (50.0, {'sink': 'joint_trajectory', 'options': {'lead_s': 40}},
         'lead_s is 40 s, at most 2'),
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


def test_an_option_that_a_sink_does_not_have_is_refused():
    command = {'topic': 't', 'joints': NAMES, 'sink': 'joint_trajectory', 'options': {'lead': 0.1}}
    with pytest.raises(ValueError, match=r"has no option 'lead'. Choices: lead_s"):
        gen3(commands=[command])


@pytest.mark.parametrize('sink', ['joint_trajectory', 'unitree_arm_sdk'])
@pytest.mark.parametrize('value', ['0.04', [1], True, float('nan'), None])
def test_times_of_a_sink_are_numbers(sink: str, value):
    """YAML has quotes, lists and nothing as well."""
    key, motors = ('lead_s', None) if sink == 'joint_trajectory' else ('rate_hz', [*range(7)])
    command = {'topic': 't', 'joints': NAMES, 'sink': sink, 'motors': motors}
    command['options'] = {key: value}
    if value is None:
        gen3(commands=[command])
        return
    with pytest.raises(ValueError, match=rf't: {key} is .*, not a number'):
        gen3(commands=[command])


# --- where a turn between two numbers would be taken for a way ----------------------------------


PAST = np.array([[3.10, 1.0], [3.13, 1.0], [-3.12, 1.0], [-3.09, 1.0]])  # A wrist goes past π.
SMOOTH = np.add(PAST, [[0.0, 0.0], [0.0, 0.0], [2 * np.pi, 0.0], [2 * np.pi, 0.0]])


def two_joints(**changes) -> ExecutorConfig:
    limits = Limits(*(np.array(pair) for pair in ((-np.inf, -2.0), (np.inf, 2.0), (9.0, 9.0),
                                                  (99.0, 99.0))))  # fmt: skip
    settings = {'horizon': 4, 'execution_horizon': 2, 'continuous': (True, False), 'blend_s': 0.0}
    return ExecutorConfig(limits, ('wrist', 'elbow'), **{**settings, **changes})


@pytest.mark.parametrize('merger', ['switch', 'ensemble', 'bspline'])
def test_a_merger_refines_what_does_not_jump(merger: str):
    admission = Admission(two_joints())
    behaviour = Behaviour(merger, MERGERS[merger](), Corrector())
    admitted = admission.admit(ActionChunk(1, 1, 0, PAST), behaviour)
    assert np.abs(admitted.rows - SMOOTH).max() < 0.05


def test_a_joint_with_one_limit_is_held_to_it():
    """A rail that ends on one side: no range, of which the tolerance would be a share."""
    limits = Limits(*(np.array(pair) for pair in ((-np.inf, -0.5), (np.inf, np.inf), (9.0, 9.0),
                                                  (99.0, 99.0))))  # fmt: skip
    for tolerance in (0.1, 0.0):
        config = ExecutorConfig(limits, ('wrist', 'rail'), 4, 2, limit_tolerance=tolerance)
        outcome, reason = ContentCheck(config).judge(ActionChunk(1, 1, 0, np.zeros((4, 2))))
        assert outcome is Outcome.ACCEPTED
        below = np.array([[0.0, 0.0], [0.0, -5.0]])
        outcome, reason = ContentCheck(config).judge(ActionChunk(1, 1, 0, below))
        assert outcome is Outcome.OVER_LIMITS
        assert reason == 'row 1 has rail at -5, its limits are -0.5 to inf'


class Noted(Corrector):
    """Notes what it is given, and adds a hundredth."""

    def __init__(self) -> None:
        self.given: list[np.ndarray] = []

    def correct(self, action, row, horizon, observation):
        del row, horizon, observation
        self.given.append(action)
        return action + 0.01


@pytest.mark.parametrize(
    ('observation', 'turn'), [({'observation.state': np.array([-3.1, 1.0])}, -1), (None, 0)]
)
def test_a_corrector_gets_actions_in_the_turn_of_what_is_measured(observation, turn):
    """The executor went on past π twice; the driver and the corrector's training did not."""
    noted, begin = Noted(), np.array([4 * np.pi + 3.1, 1.0])
    executor = Executor(two_joints(), Behaviour('naive', MERGERS['switch'](), noted), 1, begin)
    request = executor.poll()
    executor.push(ActionChunk(1, request.request_id, 0, np.tile(PAST[0], (4, 1))))
    step = executor.step(observation)
    np.testing.assert_allclose(noted.given[0], [3.1 + 2 * np.pi * turn, 1.0], atol=1e-9)
    assert abs(step.command[0] - begin[0]) < 0.05  # And not a turn away.


class RepeatingSource:
    """A policy of positions that repeats what was planned, between -π and π; notes the plan."""

    title, horizon, action_dim, observation_steps = 'told', 4, 2, 1
    offers, expects, joint_names, policy_rate_hz, delays = frozenset(), {}, (), 0.0, {}
    resizing, anchored = 'openpi', False

    def digest(self, _strategy):
        return ''

    def policy_for(self, _strategy, _device):
        chunk_policy = pytest.importorskip('async_chunking.policies.base').ChunkPolicy
        torch = pytest.importorskip('torch')

        class Repeat(chunk_policy):
            horizon, action_dim = 4, 2

            def chunk(self, observation, generator):
                del observation, generator
                return torch.from_numpy(PAST)[None]

            def networks(self):
                return ()

        return Repeat()


@pytest.mark.parametrize('measured', [3.09, -3.12])
def test_an_answer_is_in_the_turn_of_the_plan(measured: float):
    """So that what is compared with the plan, in reports too, differs by no turn."""
    pytest.importorskip('torch')
    from async_chunking.policies.responder import Responder

    modes = ActionModes(('absolute', 'absolute'), 0.02, (), (True, False))
    responder = Responder(RepeatingSource(), modes=modes)
    for turns in (0.0, 2 * np.pi, -4 * np.pi):
        plan = np.add(SMOOTH, [turns, 0.0])
        request = ChunkRequest(1, 1, 0, 'naive', Boundary(plan, 1, 2))
        answer = responder.answer(request, {}, np.array([measured, 1.0]))
        np.testing.assert_allclose(answer.actions, plan, atol=1e-6)
        exchange = SimpleNamespace(previous=plan, actions=answer.actions)
        assert prefix_mismatch(exchange, 4).max() < 1e-6  # CON.


def test_a_policy_is_told_the_plan_in_the_turn_of_what_is_measured():
    """Else a plan at π, of a wrist that is measured just past it, is nearly a turn off."""
    modes = gen3().action_modes
    assert modes.needs_pose
    assert modes.trivial
    plan = np.zeros((2, 7))
    plan[:, 6] = 3.13, 3.15
    at = np.zeros(7)
    at[6] = -3.12
    endless = np.array(modes.continuous)
    told = modes.to_actions(moved(plan, plan[0], at, endless), at)
    np.testing.assert_allclose(told[:, 6], np.array([3.13, 3.15]) - 2 * np.pi)


def test_a_pose_at_pi_is_believed_where_it_is():
    """The middle of two measurements on both sides of π is not 0."""
    limits = Limits(np.array([-np.inf]), np.array([np.inf]), np.ones(1), np.ones(1))
    poses = PoseWatch(limits, ('wrist',), np.array([True]), 0.3, 0.05, 0.5)
    for number, angle in enumerate((3.14, -3.14)):
        poses.add(np.array([angle]), 0.4 * number)
    assert poses.pose is not None
    assert abs(wrapped(poses.pose[0] - np.pi)) < 0.01


def test_a_report_takes_no_turn_for_a_jerk():
    """The driver's angle jumps by a turn at π; the command does not."""
    run = scripted_run()
    way = 0.01 * np.arange(len(run.tick))[:, None] * np.ones(run.command.shape[1]) + 2.5
    turning = replace(run, command=way, measured=wrapped(way - 0.02))
    assert np.abs(np.diff(turning.measured, axis=0)).max() > 6.0
    assert summarize(turning)['measured_jerk_rad_s3'] < 1.0


# --- data ---------------------------------------------------------------------------------------


def test_recorded_commands_are_near_where_each_joint_was_measured():
    """The state has the joints in another order, and not all of them."""
    from async_chunking.dataset.grid import _wrapped

    streams = {
        'observation.state': {'kind': 'measured', 'size': 2, 'joints': ['joint_7', 'joint_1']},
        'elbow': {'kind': 'joint_state', 'topic': 'e', 'size': 1, 'joints': ['joint_5']},
    }
    robot = gen3(observations=streams)
    features = {
        'observation.state': np.array([[3.1, -3.0]]), 'elbow': np.array([[9.0]]),
    }  # fmt: skip
    action = np.array([[3.1, 2.0, 7.0, 1.0, 2.8, -3.0, -3.1]])
    near = _wrapped(action, features, robot)[0]
    turn = 2 * np.pi
    expected = [3.1 - turn, 2.0, 7.0 - turn, 1.0, 2.8 + turn, -3.0, turn - 3.1]
    np.testing.assert_allclose(near, expected)


def test_a_chunk_to_learn_from_goes_on_past_pi(tmp_path):
    torch = pytest.importorskip('torch')
    for module in ('pyarrow',):
        pytest.importorskip(module)
    from async_chunking.dataset.reading import read_demonstrations
    from async_chunking.dataset.writing import Demonstration, Description, write
    from async_chunking.training.windows import Windows

    names = ('wrist', 'elbow')
    features = {'observation.state': names, 'action': names}
    for endless in ((), ('wrist',)):
        place = tmp_path / f'data{len(endless)}'
        episode = Demonstration({'observation.state': PAST, 'action': PAST})
        write(place, Description('two', 50.0, '', features, endless), [episode])
        data = read_demonstrations(place)
        assert data.continuous == tuple(name in endless for name in names)
        chunk = Windows(data, np.array([0])).chunk(torch.tensor([0, 2]), 4)
        np.testing.assert_allclose(chunk[0], SMOOTH if endless else PAST, atol=1e-6)
        np.testing.assert_allclose(chunk[1, 0], PAST[2], atol=1e-6)
        # A state told a turn further than where the chunk begins, as rolled forward or seen later.
        state = torch.tensor([[-3.1, 1.0], [3.15, 1.0]])
        near = Windows(data, np.array([0])).near(chunk, state)
        turn = 2 * np.pi if endless else 0.0
        shifts = np.array([[[-turn, 0.0]], [[turn, 0.0]]])
        np.testing.assert_allclose(near, chunk.numpy() + shifts, atol=1e-6)


def test_actions_counted_from_other_joints_are_refused():
    shuffled = {'kind': 'measured', 'size': 7, 'joints': [*reversed(NAMES)]}
    robot = gen3(observations={'observation.state': shuffled})
    facts = Facts('policy', 16, 7, expects={'observation.state': (7,)})
    check_fit(facts, robot)  # It may want that order.
    with pytest.raises(FitError, match=r'which has joint_7.*gen3 has joint_1'):
        check_fit(replace(facts, anchored=True), robot)
    check_fit(replace(facts, anchored=True), gen3())
    vlash = resolve('vlash')
    able = replace(facts, offers=frozenset(vlash.needs))
    check_strategy(vlash, able, gen3().action_modes)
    with pytest.raises(StrategyError, match='has the joints in another order'):
        check_strategy(vlash, able, robot.action_modes)
