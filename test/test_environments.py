# SPDX-License-Identifier: Apache-2.0
"""The door for environments: one file is enough, and what does not fit is refused by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import toy_environments
import typer
import yaml
from typer.testing import CliRunner

from async_chunking.bench.cli import app
from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import read
from async_chunking.bench.scene import Bench
from async_chunking.bench.sweep import Cell, Unit
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.environments.arena import arena_names, open_arena
from async_chunking.environments.demonstrations import Collection, collect
from async_chunking.environments.description import described, read_description
from async_chunking.environments.gym import GymEnvironment, GymError
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import ChunkPolicy
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.fit import FitError
from async_chunking.policies.named import policy_options
from async_chunking.settings import SettingsError
from async_chunking.strategies import resolve
from async_chunking.training.command import train
from async_chunking.training.recipe import TrainingError

SLIDE: dict[str, Any] = {
    'entry': 'toy_environments:slide',
    'control_rate_hz': 20,
    'success': 'there',
    'positions': False,
    'actions': [{'name': 'x', 'rest': 0.0}, {'name': 'y'}],
    'observations': {
        'observation.state': {'columns': '0:2'},
        'observation.environment_state': {'columns': [2, 3]},
    },
}


def described_in(folder: Path, **changes: Any) -> str:
    path = folder / 'slide.yaml'
    values = {**SLIDE, **changes}
    given = {k: v for k, v in values.items() if v is not None}
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return str(path)


class Push(ChunkPolicy):
    """Straight to the goal, row after row."""

    horizon, action_dim = 8, 2

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def chunk(self, observation: Any, generator: torch.Generator) -> torch.Tensor:
        self.seen.append(dict(observation))
        way = observation['observation.environment_state'] - observation['observation.state']
        return (5.0 * way).clamp(-1.0, 1.0)[:, None].repeat(1, self.horizon, 1)


def push(path: str) -> Push:
    return Push()


class Reader(Push):
    expects: ClassVar[dict[str, tuple[int, ...]]] = {'observation.state': (3,)}


def reader(path: str) -> Reader:
    return Reader()


class Wide(Push):
    action_dim = 3


def wide(path: str) -> Wide:
    return Wide()


HERE = f'torch:{Path(__file__)}'


# --- one file ------------------------------------------------------------------------------------


def test_a_file_is_all_that_a_new_environment_takes(tmp_path: Path) -> None:
    env = described_in(tmp_path, execution_horizon=4)
    words = ['delay', '--env', env, '--policy', f'{HERE}:push', '--strategies', 'sync,naive,paint']
    words += ['--delays', '0,3', '--rollouts', '16', '--rows', str(tmp_path / 'rows')]
    result = CliRunner().invoke(app, [*words, '--processes', '1'])
    assert result.exit_code == 0, result.output
    assert 'actions are no positions, so they pass the executor without limits' in result.output
    assert 'CON [1/1000 of the action]' in result.output
    assert 'skipped paint' in result.output
    rows = read(tmp_path / 'rows')
    assert len(rows) == 2 * 2 * 16
    assert all(row['success'] for row in rows if row['delay'] == 0)
    assert {row['limited_ticks'] for row in rows} == {0}


def test_our_tasks_and_described_environments_go_through_one_door() -> None:
    assert {'viperx_slalom', 'metaworld', 'pusht', 'aloha'} <= set(arena_names())
    arena = open_arena('viperx_slalom')
    assert (arena.rest, arena.note, arena.unit) == (None, '', 'rad')
    for name in described():
        variants = {'metaworld': ':push-v3', 'aloha': ':insertion'}
        assert read_description(name + variants.get(name, '')).actions


def test_at_rest_the_described_numbers_are_sent(tmp_path: Path) -> None:
    """While `sync` waits, x is at rest at 0 and y keeps what was sent last."""
    name = described_in(tmp_path)
    bench = Bench(policy=f'{HERE}:push')
    bench(Unit(Cell(name, '', 'sync', DelayModel(2), 4, 8), 0))
    scene = bench.scene(name)
    actions = np.array(scene._environments[0]._env.actions)
    resting = np.flatnonzero((actions[1:, 0] == 0.0) & (actions[1:, 1] != 0.0)) + 1
    assert len(resting) >= 2
    assert (actions[resting, 1] == actions[resting - 1, 1]).all()


def test_actions_pass_unlimited_and_are_cut_to_the_space(tmp_path: Path) -> None:
    environment = open_arena(described_in(tmp_path)).make()
    environment.reset(np.random.default_rng(0))
    environment.step(np.array([70.0, -0.5]))
    assert environment._env.actions[-1].tolist() == [1.0, -0.5]


def test_positions_begin_where_they_are_and_keep_their_limits(tmp_path: Path) -> None:
    columns = [{'name': 'x', 'lower': -2.0, 'upper': 2.0, 'velocity': 1.0}, {'name': 'y'}]
    arena = open_arena(described_in(tmp_path, positions=True, actions=columns))
    assert arena.rest is None
    assert arena.robot.limits.velocity.tolist() == [1.0, 1e9]
    assert arena.modes.trivial
    with pytest.raises(GymError, match='must have the positions of the 2 actions'):
        open_arena(
            described_in(
                tmp_path,
                positions=True,
                actions=columns,
                observations={'observation.state': {'columns': '0:3'}},
            )
        )


def test_pictures_and_words_reach_the_policy(tmp_path: Path) -> None:
    seen = {
        'observation.state': {'key': 'flat', 'columns': [0, 1]},
        'observation.environment_state': {'key': 'flat', 'columns': '2:4'},
        'observation.images.top': {'key': 'pixels.top'},
    }
    name = described_in(
        tmp_path, arguments={'picture': True}, observations=seen, instruction='push it'
    )
    bench = Bench(policy=f'{HERE}:push')
    bench(Unit(Cell(name, '', 'naive', DelayModel(0), 4, 8), 0))
    policy = bench.scene(name).source.policy_for(resolve('naive'))
    picture = policy.seen[0]['observation.images.top']
    assert (picture.dtype, tuple(picture.shape)) == (torch.uint8, (1, 4, 6, 3))
    assert policy.seen[0]['task'] == ['push it']


def test_a_vector_environment_of_one_is_that_one(tmp_path: Path) -> None:
    """Success is in `final_info`, where the step that ends an episode begins the next."""
    played = []
    for entry in ('slide', 'slides'):
        (tmp_path / entry).mkdir()  # Environments are kept by their paths.
        name = described_in(tmp_path / entry, entry=f'toy_environments:{entry}')
        bench = Bench(policy=f'{HERE}:push')
        played.append(bench(Unit(Cell(name, '', 'naive', DelayModel(1), 4, 8), 0)))
    assert all(row['success'] for row in played[0])
    assert [row['ticks'] for row in played[1]] == [row['ticks'] for row in played[0]]
    assert all(row['success'] for row in played[1])


def test_a_vector_environment_of_several_is_refused(tmp_path: Path) -> None:
    name = described_in(tmp_path, entry='toy_environments:slides', arguments={'num_envs': 4})
    with pytest.raises(GymError, match='it is a vector of 4 environments; let it'):
        open_arena(name)


# --- refused or counted by name ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'success': 'done'},
            "success is 'done', but info has there; name a key, or 'terminated'",
        ),
        ({'actions': [{'name': 'x'}]}, 'the description has 1 actions'),
        ({'entry': 'toy_environments:discrete'}, r'action space is Discrete\(2\)'),
        ({'entry': 'toy_environments:broken'}, 'cannot be made with.*OSError: no such mesh'),
        ({'entry': 'toy_environments:slid'}, 'has no function slid. It has:'),
        ({'entry': 'nowhere:make', 'setup': 'buy it'}, 'package nowhere, which is not.*: buy it'),
        ({'arguments': {'shuffles': True}}, 'gives another observation.state the second time'),
        ({'arguments': {'fails_at': 1}}, 'its first step failed: .*FloatingPointError'),
        (
            {'observations': {'observation.state': {'key': 'pose'}}},
            "is at 'pose', but the observation has ndarray, no keys",
        ),
        ({'observations': {'observation.state': {'columns': [9]}}}, r'columns \(9,\): index 9'),
        ({'arguments': {'picture': True}}, 'observation.state needs a key, one of flat, pixels'),
    ],
)
def test_an_environment_that_is_not_as_described_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    name = described_in(tmp_path, **changes)
    with pytest.raises(GymError, match=message) as error:
        open_arena(name)
    assert 'slide.yaml' in str(error.value) or 'entry' in str(error.value)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'id': 'a/B-v0'}, 'either id or entry'),
        ({'suces': 'x'}, "unknown key 'suces'. Did you mean 'success'"),
        ({'positions': None}, 'positions is missing'),
        ({'positions': True}, 'action x has rest, but positions are kept'),
        ({'actions': [{'name': 'x', 'velocity': 1.0}]}, 'only positions can be limited'),
        ({'observations': {'state': {}}}, "'state' must begin with 'observation.'"),
        ({'observations': {'observation.a': {'columns': '1-3'}}}, "columns is '1-3'; write"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read_description(described_in(tmp_path, **changes))


def test_unknown_environments_and_missing_variants_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown environment 'pushh'\. Did you mean 'pusht'"):
        open_arena('pushh')
    with pytest.raises(SettingsError, match='write metaworld:TASK'):
        open_arena('metaworld')
    with pytest.raises(SettingsError, match='write pusht'):
        open_arena('pusht:state')
    with pytest.raises(SettingsError, match='unknown environment'):
        open_arena('viperx_slalom:fast')


def test_a_name_of_lerobot_without_lerobot_says_what_to_do(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot.envs', None)
    with pytest.raises(SettingsError, match=r"'lerobot:pusht' needs lerobot .*setup-lerobot"):
        open_arena('lerobot:pusht')


def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    name = described_in(tmp_path)
    with pytest.raises(CheckpointError, match=r"is of task 'viperx_slalom', not of"):
        Bench(policy='viperx_slalom').horizon(name)
    with pytest.raises(FitError, match=r'has 3 action dimensions, robot .*slide.yaml has 2'):
        Bench(policy=f'{HERE}:wide').horizon(name)
    with pytest.raises(FitError, match=r"reads 'observation.state' as 3, robot"):
        Bench(policy=f'{HERE}:reader').horizon(name)


def test_what_was_played_before_an_environment_broke_is_kept(tmp_path: Path) -> None:
    """One that cannot begin an episode any more ends the run, and not what it had."""
    name = described_in(tmp_path, arguments={'episodes': 3})  # Two of them to look at it.
    words = ['delay', '--env', name, '--policy', f'{HERE}:push', '--strategies', 'naive']
    words += ['--delays', '0', '--execution-horizon', '4', '--rollouts', '32', '--processes', '1']
    result = CliRunner().invoke(app, [*words, '--rows', str(tmp_path / 'rows')])
    assert isinstance(result.exception, GymError)
    assert 'OSError: the disk is full' in str(result.exception)
    assert len(read(tmp_path / 'rows')) == 16


def test_an_error_in_mid_episode_is_a_failure_with_its_words(tmp_path: Path) -> None:
    name = described_in(tmp_path, arguments={'fails_at': 4})
    words = ['delay', '--env', name, '--policy', f'{HERE}:push', '--strategies', 'naive']
    words += ['--delays', '0', '--execution-horizon', '4', '--rollouts', '16', '--processes', '1']
    result = CliRunner().invoke(app, [*words, '--rows', str(tmp_path / 'rows')])
    assert result.exit_code == 0, result.output
    rows = read(tmp_path / 'rows')
    assert len(rows) == 16
    assert {(row['success'], row['ticks']) for row in rows} == {(False, 4)}
    assert '16 rollouts ended as the environment raised FloatingPointError' in ' '.join(
        result.output.split()
    )


def test_one_that_raised_is_made_anew(tmp_path: Path) -> None:
    description = read_description(described_in(tmp_path, arguments={'fails_at': 2}))
    environment = GymEnvironment('slide', description)
    environment.reset(np.random.default_rng(0))
    first = environment._env
    environment.step(np.zeros(2))
    _, over, solved = environment.step(np.zeros(2))
    assert (over, solved) == (True, False)
    assert (
        environment.failure == 'the environment raised FloatingPointError: the ball left the world'
    )
    environment.reset(np.random.default_rng(0))
    assert environment._env is not first
    assert environment.failure == ''


def test_rows_of_another_description_are_others(tmp_path: Path) -> None:
    one = open_arena(described_in(tmp_path)).digest
    assert one == open_arena(described_in(tmp_path)).digest
    assert one != open_arena(described_in(tmp_path, max_s=1.0)).digest


# --- demonstrations ------------------------------------------------------------------------------


def test_an_expert_makes_a_data_set(tmp_path: Path) -> None:
    name = described_in(tmp_path, expert='toy_environments:expert')
    out = collect(Collection(name, episodes=3), tmp_path / 'data')
    data = read_demonstrations(out)
    assert (data.facts.episodes, data.joint_names, data.fps) == (3, ('x', 'y'), 20.0)
    want = toy_environments.expert()
    rows = np.hstack(
        [data.observations[f'observation.{n}'] for n in ('state', 'environment_state')]
    )
    for row, action in zip(rows, data.actions, strict=True):  # Undisturbed, though noise was sent.
        assert action == pytest.approx(want(row), abs=1e-5)
    with pytest.raises(AsyncChunkingError, match='has no expert'):
        collect(Collection(described_in(tmp_path)), tmp_path / 'other')


def test_a_policy_is_trained_where_actions_are_not_of_the_state(tmp_path: Path) -> None:
    """Three numbers of state, two of action: learned as they are; what needs positions refuses."""
    seen = {'observation.state': {'columns': '1:4'}}
    name = described_in(tmp_path, expert='toy_environments:expert', observations=seen)
    words = ['flow', '--task', name, '--out', str(tmp_path / 'runs'), '--debug', '--threads', '1']
    train_app = typer.Typer()
    train_app.command()(train)
    result = CliRunner().invoke(train_app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert Bench(policy=str(tmp_path / 'runs')).horizon(name) == 16
    again = [*words, '--overwrite', '--set', 'actions=relative']
    with pytest.raises(TrainingError, match=r'state has 3 numbers, action 2; set act'):
        CliRunner().invoke(train_app, again, catch_exceptions=False)
    with pytest.raises(TrainingError, match='vlash takes future actions for states'):
        CliRunner().invoke(train_app, ['vlash', *words[1:]], catch_exceptions=False)


def test_an_expert_that_cannot_do_it_is_named(tmp_path: Path) -> None:
    name = described_in(tmp_path, expert='toy_environments:expert', max_s=0.1)
    with pytest.raises(GymError, match='its expert failed 20 times in a row: out of time'):
        collect(Collection(name, episodes=1), tmp_path / 'data')


# --- policies in a word --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('word', 'values'),
    [
        ('', {}),
        ('viperx_slalom', {'policy_path': 'viperx_slalom'}),
        ('runs/mine', {'policy_path': 'runs/mine'}),
        ('lerobot:outputs/last', {'policy': 'lerobot', 'policy_path': 'outputs/last'}),
        ('torch:mine.py:make', {'policy': 'torch', 'policy_entry': 'mine.py:make'}),
        ('ws://host:8000', {'policy': 'remote', 'policy_url': 'ws://host:8000'}),
        ('metaworld:push', {'policy_path': 'metaworld:push'}),
    ],
)
def test_a_word_says_what_options_say(word: str, values: dict[str, str]) -> None:
    options = policy_options(word)
    assert {k: v for k, v in options.model_dump().items() if k in options.model_fields_set} == {
        **({'policy_path': ''} if not word else {}),
        **values,
    }


def test_a_word_that_names_nothing_is_refused() -> None:
    with pytest.raises(AsyncChunkingError, match='names nothing after the colon'):
        policy_options('lerobot:')


# --- the real ones -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('metaworld', 'metaworld:push-v3'),
        ('gym_pusht', 'pusht'),
        ('gym_aloha', 'aloha:transfer_cube'),
        ('gym_aloha', 'aloha:insertion'),
    ],
)
def test_real_environments_are_as_described(module: str, name: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f'{module} is not installed: make test-gym')
    arena = open_arena(name)
    environment = arena.make()
    seen = environment.reset(np.random.default_rng(3))
    command = seen['observation.state'] if arena.rest is None else np.nan_to_num(arena.rest)
    after, over, _ = environment.step(command)
    assert not over
    assert {k: np.shape(v) for k, v in after.items()} == {k: np.shape(v) for k, v in seen.items()}


def test_the_goal_of_metaworld_stays_in_sight() -> None:
    pytest.importorskip('metaworld')
    environment = open_arena('metaworld:push-v3').make()
    goals = []
    for seed in (0, 1):
        seen = environment.reset(np.random.default_rng(seed))
        goals.append(seen['observation.environment_state'][-3:])
        after, _, _ = environment.step(np.zeros(4))
        assert after['observation.environment_state'][-3:] == pytest.approx(goals[-1])
    assert np.abs(goals[0] - goals[1]).max() > 1e-3


def test_environments_of_lerobot_are_described_by_its_settings() -> None:
    pytest.importorskip('lerobot', reason='lerobot is not installed here: make test-peers')
    pytest.importorskip('gym_pusht', reason='gym_pusht is not installed here: make test-peers')
    arena = open_arena('lerobot:pusht:PushT-v0')
    assert (arena.control_rate_hz, arena.robot.joint_names) == (10.0, ('action_0', 'action_1'))
    assert 'without limits' in arena.note
    environment = arena.make()
    seen = environment.reset(np.random.default_rng(0))
    assert seen['observation.state'].shape == (2,)
    assert seen['observation.image'].dtype == np.uint8
    environment.step(np.array([256.0, 256.0]))
    assert environment.failure == ''
    with pytest.raises(SettingsError, match=r"LeRobot 'push'.*Did you mean 'pusht'"):
        open_arena('lerobot:push')
    with pytest.raises(SettingsError, match="unknown environment of LeRobot ''"):
        open_arena('lerobot')
