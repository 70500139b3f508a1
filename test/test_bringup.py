# SPDX-License-Identifier: Apache-2.0
"""A robot is described as data, and what cannot work is refused before anything starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from async_chunking.bringup.arguments import declared
from async_chunking.bringup.describe import Arguments, describe, parse
from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.parameters import PARAMETERS
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.fit import Facts
from async_chunking.policies.strategy_fit import Timing, first_served
from async_chunking.settings import validated
from async_chunking.sim.franka_catch import STEP_S


def nodes(robot: str = 'viperx', **given: object) -> dict[str, NodeSpec]:
    return {node.name: node for node in describe(robot, given).nodes}


def test_a_simulated_robot_is_four_nodes_each_a_process() -> None:
    described = nodes(strategy='naive', latency_ms='120')
    assert sorted(described) == ['delay_monitor', 'executor', 'policy', 'sim']
    assert described['executor'].parameters['strategy'] == 'naive'
    assert described['policy'].parameters['latency_ms'] == '120'
    # Only what may die without harm to the stream is started again.
    assert {name for name, node in described.items() if node.respawn} == {
        'policy',
        'delay_monitor',
    }


def test_every_parameter_is_one_that_its_node_declares() -> None:
    for node in nodes(record='/tmp/never').values():
        known = PARAMETERS[node.executable]
        values = {k: v for k, v in node.parameters.items() if k != 'use_sim_time'}
        assert set(values) <= set(known.model_fields)
        validated(known, values, node.name)


@pytest.mark.parametrize(
    ('robot', 'preset'), [('franka', 'panda'), ('viperx_bimanual', 'viperx_bimanual_puppet')]
)
def test_a_preset_is_simulated_as_its_robot_is(robot: str, preset: str) -> None:
    described = describe(robot, {'embodiment': preset})
    assert described.robot.name == preset
    assert {node.name for node in described.nodes} >= {'sim', 'executor', 'policy'}
    assert all(node.parameters['embodiment'] == preset for node in described.nodes)


@pytest.mark.parametrize('robot', ['franka', 'panda'])
def test_a_run_of_a_simulation_begins_where_its_driver_takes_it(robot: str) -> None:
    """A joint is displaced between two episodes; what it may be off must be no jump."""
    described = describe(robot, {})
    (executor,) = [node for node in described.nodes if node.name == 'executor']
    limits = described.robot.limits
    off = executor.parameters['displaced'] * (limits.upper - limits.lower)
    assert (off < STEP_S * limits.velocity).all()


def test_two_hosts_share_the_nodes_of_one(tmp_path: Path) -> None:
    params = tmp_path / 'params.yaml'
    params.write_text('policy: {ros__parameters: {threads: 2}}')
    given = {'strategy': 'paint', 'record': str(tmp_path / 'bag'), 'params_file': str(params)}
    whole, robot, policy = (nodes(**given, only=side) for side in ('', 'robot', 'policy'))
    assert sorted(robot) == ['delay_monitor', 'executor', 'recorder', 'sim']
    assert sorted(policy) == ['policy']
    assert robot | policy == whole  # With all their parameters.
    with pytest.raises(AsyncChunkingError, match="only = 'gpu': Input should be '', 'robot' or"):
        describe('viperx', {'only': 'gpu'})


def test_the_robots_host_needs_no_torch() -> None:
    """What the policy offers is in the JSON files of its folder."""
    script = (
        "import sys; sys.modules['torch'] = None\n"
        'from async_chunking.bringup.describe import describe\n'
        "print(describe('viperx', {'strategy': 'paint', 'only': 'robot'}).policy.horizon)"
    )
    done = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == '16', done.stderr


def test_hardware_has_no_simulation_node() -> None:
    described = nodes(sim='false')
    assert 'sim' not in described
    assert described['executor'].parameters['sim'] is False
    assert {'displaced', 'if_displaced'}.isdisjoint(described['executor'].parameters)


def test_a_robot_without_driver_follows_and_moves_at_once() -> None:
    described = nodes(sim='follow', camera_hz='10')
    assert sorted(described) == ['delay_monitor', 'executor', 'follow', 'policy']
    assert described['follow'].parameters['camera_hz'] == 10.0
    executor = described['executor'].parameters
    assert 'activate' not in executor  # Its joints are nobody's to be careful of,
    assert {'displaced', 'if_displaced'}.isdisjoint(executor)  # and nothing puts them elsewhere.
    # Its topics are those of the simulation, where it has one, since their messages can be had.
    assert all(node.parameters['sim'] is True for node in described.values())


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (
            {'episodes': '3'},
            'episodes = 3: sim:=follow has no episodes; duration:=SECONDS ends it',
        ),
        ({'use_sim_time': 'true'}, 'use_sim_time = True: sim:=follow has the wall clock'),
        ({'real_time_factor': '2'}, 'real_time_factor = 2.0: sim:=follow has the wall clock'),
        ({'sim': 'perhaps'}, "sim = 'perhaps': must be true, false or follow"),
    ],
)
def test_what_needs_a_simulation_is_refused_without(given: dict, message: str) -> None:
    with pytest.raises(AsyncChunkingError) as error:
        describe('viperx', {'sim': 'follow', **given})
    assert str(error.value).removeprefix('arguments: ') == message


def test_sim_is_true_false_or_follow_for_launch_files_too() -> None:
    (sim,) = [argument for argument in declared() if argument['name'] == 'sim']
    assert (sim['default'], set(sim['choices'])) == (
        'true', {'true', 'false', 'True', 'False', 'follow'},
    )  # fmt: skip
    (autostart,) = [argument for argument in declared() if argument['name'] == 'autostart']
    assert set(autostart['choices']) == {'', 'true', 'false', 'True', 'False'}


def test_recording_adds_a_recorder_that_starts_first(tmp_path: Path) -> None:
    described = describe('viperx', {'record': str(tmp_path / 'bag')})
    assert described.nodes[0].name == 'recorder'
    assert described.nodes[0].parameters['path'] == str(tmp_path / 'bag')


def test_words_become_arguments() -> None:
    assert parse(['strategy:=paint+a2c2', 'namespace:=']) == {
        'strategy': 'paint+a2c2', 'namespace': '',
    }  # fmt: skip


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--strategy', 'paint'], "'--strategy' is no option: write strategy:=VALUE"),
        (['--latency-ms=120'], "'--latency-ms=120' is no option: write latency_ms:=VALUE"),
        (['strategy=naive'], "'strategy=naive' is not name:=value. Names: policy, policy_path"),
        (['seed:=1', 'seed:=2'], "argument 'seed' is given twice: 1 and 2"),
    ],
)
def test_words_that_are_no_arguments_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(AsyncChunkingError) as error:
        parse(words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ('robot', 'given', 'message'),
    [
        ('viperz', {}, "unknown robot 'viperz'. Did you mean 'viperx'?"),
        ('viperx', {'strategi': 'naive'}, "unknown key 'strategi'. Did you mean 'strategy'?"),
        ('viperx', {'strategy': 'naiv'}, "unknown strategy 'naiv'. Did you mean 'naive'?"),
        ('viperx', {'strategy': 'sync+ensemble'}, 'sets the merger twice: wait and ensemble'),
        (
            'viperx',
            {'strategy': 'ensemble:decay=abc'},
            "decay must be a number from 0 to 10000, not 'abc'",
        ),
        ('viperx', {'strategy': 'paint:grd=x'}, "has no constant 'grd'; it has "),
        ('viperx', {'strategy': 'rtc:schedule=cosine'}, 'cosine'),
        ('viperx', {'strategy': 'vlash:mode=delta'}, 'absolute positions here'),
        ('viperx', {'latency_ms': 'soon'}, 'latency_ms'),
        ('viperx', {'latency_ms': '-5'}, 'latency_ms'),
        ('viperx', {'duration': '-1'}, 'duration'),
        ('viperx', {'sim': 'perhaps'}, 'sim'),
        ('viperx', {'log_level': 'loud'}, 'log_level'),
        ('viperx', {'policy_path': '/nowhere'}, "unknown policy '/nowhere'"),
        ('viperx', {'execution_horizon': '17'}, 'execution_horizon must be 1 to the horizon 16'),
        ('viperx', {'params_file': '/no.yaml'}, '/no.yaml: No such file or directory'),
        (
            'humanoid',
            {'embodiment': 'g1'},
            'robot g1 has no simulation; without physics: embodiment:=g1 sim:=follow',
        ),
        ('humanoid', {'embodiment': 'g1_inspire'}, 'embodiment:=g1_inspire sim:=false; policy_p'),
        (
            'g1',
            {'sim': 'follow', 'view': 'true'},
            'view: robot g1 has no model to show',
        ),
        ('humanoid', {'embodiment': 'g1', 'sim': 'false'}, "unknown policy 'path/to/your/policy'"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(
    robot: str, given: dict[str, str], message: str
) -> None:
    with pytest.raises(AsyncChunkingError) as error:
        describe(robot, given)
    assert message in str(error.value)


def test_a_policy_of_another_robot_is_refused_with_both_numbers() -> None:
    with pytest.raises(AsyncChunkingError, match='7 action dimensions, robot franka has 8 joints'):
        describe('franka', {'policy_path': 'viperx_slalom'})


def test_a_parameter_file_overrides_and_is_checked(tmp_path: Path) -> None:
    path = tmp_path / 'params.yaml'
    path.write_text('executor: {ros__parameters: {hold_timeout_s: 2}}')
    assert nodes(params_file=str(path))['executor'].parameters['hold_timeout_s'] == 2

    for text, message in (
        ('executr: {ros__parameters: {}}', "unknown node 'executr'. Did you mean 'executor'?"),
        ('executor: {hold_timeout_s: 2}', 'executor/hold_timeout_s = 2: expected ros__parameters'),
        (
            'executor: {ros__parameters: {hold_timeout: 2}}',
            "unknown parameter 'hold_timeout'. Did you mean 'hold_timeout_s'?",
        ),
        ('executor: {ros__parameters: {hold_timeout_s: -2}}', 'hold_timeout_s = -2'),
        ('[1, 2]', 'expected node names with ros__parameters below them'),
        ('a: [', 'this is not YAML'),
    ):
        path.write_text(text)
        with pytest.raises(AsyncChunkingError) as error:
            nodes(params_file=str(path))
        assert message in str(error.value)
        assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ('text', 'left', 'right'),
    [
        ('/left/executor: {ros__parameters: {stale_s: 2.0}}', 2.0, 0.5),
        ('left: {executor: {ros__parameters: {stale_s: 2.0}}}', 2.0, 0.5),
        ('/left: {executor: {ros__parameters: {stale_s: 2.0}}}', 2.0, 0.5),
        ('/executor: {ros__parameters: {stale_s: 2.0}}', 0.5, 0.5),
        ('executor: {ros__parameters: {stale_s: 2.0}}', 2.0, 2.0),
        ('/**: {ros__parameters: {stale_s: 2.0}}', 2.0, 2.0),
        ('/**/executor: {ros__parameters: {stale_s: 2.0}}', 2.0, 2.0),
        ('/*/executor: {ros__parameters: {stale_s: 2.0}}', 2.0, 2.0),
        ('/left/*: {ros__parameters: {stale_s: 2.0}}', 2.0, 0.5),
        (
            '/left/executor: {ros__parameters: {stale_s: 3.0}}\n'
            '/**: {ros__parameters: {stale_s: 2.0, of_another_package: 1}}\n'
            '/controller_manager: {ros__parameters: {update_rate: 100}}\n'
            'recorder: {ros__parameters: {images: true}}',
            3.0, 2.0,
        ),
    ],
)  # fmt: skip
def test_a_parameter_file_serves_several_robots_and_other_packages(
    tmp_path: Path, text: str, left: float, right: float
) -> None:
    path = tmp_path / 'params.yaml'
    path.write_text(text)
    for namespace, value in (('left', left), ('/right', right)):
        executor = nodes(namespace=namespace, params_file=str(path))['executor']
        assert executor.parameters.get('stale_s', 0.5) == value
        assert 'of_another_package' not in executor.parameters


def test_a_parameter_file_sets_what_every_ros_node_has(tmp_path: Path) -> None:
    path = tmp_path / 'params.yaml'
    path.write_text(
        'executor:\n  ros__parameters:\n    use_sim_time: true\n'
        '    qos_overrides: {/control_step: {publisher: {depth: 5}}}\n'
    )
    parameters = nodes(params_file=str(path))['executor'].parameters
    assert parameters['use_sim_time'] is True
    assert parameters['qos_overrides./control_step.publisher.depth'] == 5


def test_a_robot_waits_to_be_activated_unless_it_is_simulated_or_told() -> None:
    for given, waits in (
        ({}, False), ({'autostart': 'false'}, True),
        ({'sim': 'false'}, True), ({'sim': 'false', 'autostart': 'true'}, False),
    ):  # fmt: skip
        described = nodes(**given)
        assert (described['executor'].parameters.get('activate') is False) is waits
        assert all(
            'activate' not in node.parameters for n, node in described.items() if n != 'executor'
        )
        assert all(node.parameters['autostart'] for node in described.values())


def test_every_argument_is_described() -> None:
    assert all(field.description for field in Arguments.model_fields.values())


def test_the_default_strategy_is_the_best_that_the_policy_can_serve() -> None:
    assert nodes()['executor'].parameters['strategy'] == 'rtc'
    described = describe('viperx', {})
    assert described.arguments.strategy == 'rtc'  # What is shown is what runs.
    policy = next(node for node in described.nodes if node.name == 'policy')
    assert policy.parameters['strategy'] == 'rtc'


@pytest.mark.parametrize(
    ('offers', 'chosen'),
    [({'velocity', 'gradients'}, 'rtc'), ({'velocity'}, 'paint'), (set(), 'sync')],
)
def test_the_default_falls_back_by_name(offers: set[str], chosen: str) -> None:
    robot = describe('viperx', {}).robot
    policy = Facts('policy', 16, 7, frozenset(offers))
    timing = Timing(execution_horizon=8, delay_s=0.12, policy_rate_hz=50.0)
    assert first_served(policy, robot.action_modes, timing).name == chosen


def test_a_delay_beyond_the_horizon_leaves_resting_alone() -> None:
    robot = describe('viperx', {}).robot
    policy = Facts('policy', 16, 7, frozenset({'velocity', 'gradients'}))
    timing = Timing(execution_horizon=8, delay_s=0.4, policy_rate_hz=50.0)
    assert first_served(policy, robot.action_modes, timing).name == 'sync'


def test_the_old_word_for_latency_is_refused_with_the_new_one() -> None:
    with pytest.raises(
        AsyncChunkingError, match=r"unknown key 'delay_ms'\. Did you mean 'latency_ms'"
    ):
        describe('viperx', {'delay_ms': '120'})
