# SPDX-License-Identifier: Apache-2.0
"""The Kinetix benchmark: levels and data by themselves, then every stage at debug size."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from async_chunking.bench.rows import SCHEMA
from tools.kinetix import results
from tools.kinetix.data import SHIPPED, chunks, policy_path
from tools.kinetix.levels import (
    ENVIRONMENT_VARIABLE,
    LEVELS,
    LevelError,
    cropped,
    level_path,
    read_level,
)

LEVEL = 'h17_unicycle'
FILES = os.environ.get(ENVIRONMENT_VARIABLE, '')
needs_levels = pytest.mark.skipif(
    not (Path(FILES) / f'{LEVEL}.json').is_file() or not FILES,
    reason=f'no level files: set {ENVIRONMENT_VARIABLE}',
)
needs_kinetix = pytest.mark.skipif(
    importlib.util.find_spec('kinetix') is None,
    reason='kinetix-env is not installed here: make test-kinetix',
)


def level_content() -> dict:
    def shape(active: bool, name: str) -> dict:
        return {'active': active, 'name': name}

    state = {
        'polygon': [shape(index not in (5, 7), f'p{index}') for index in range(8)],
        'circle': [shape(False, 'c0'), shape(True, 'c1'), shape(False, 'c2')],
        'joint': [{'active': True, 'a_index': 6, 'b_index': 9}, {'active': False}],
        'thruster': [{'active': False, 'object_index': 0}],
    }
    state['joint'][1] |= {'a_index': 7, 'b_index': 7}
    return {'env_state': state, 'static_env_params': {'frame_skip': 2}, 'env_params': {}}


def test_cropping_keeps_what_is_used_and_its_connections():
    level = cropped(level_content())
    state = level['env_state']
    assert [shape['name'] for shape in state['polygon']] == ['p0', 'p1', 'p2', 'p3', 'p4', 'p6']
    assert [shape['name'] for shape in state['circle']] == ['c0', 'c1']  # two at least
    assert len(state['joint']) == len(state['thruster']) == 1
    joint = state['joint'][0]
    assert state['polygon'][joint['a_index']]['name'] == 'p6'
    assert state['circle'][joint['b_index'] - len(state['polygon'])]['name'] == 'c1'
    assert level['static_env_params'] == {
        'frame_skip': 2, 'num_polygons': 6, 'num_circles': 2, 'num_joints': 1, 'num_thrusters': 1
    }  # fmt: skip


def test_cropping_leaves_the_original_alone():
    level = level_content()
    cropped(level)
    assert level == level_content()


def test_unknown_level_is_refused_with_the_choices(tmp_path):
    with pytest.raises(LevelError, match=r'unicycle.*choices: h17_unicycle'):
        level_path('unicycle', tmp_path)


def test_missing_level_file_is_refused(tmp_path, monkeypatch):
    with pytest.raises(LevelError, match='there is no file'):
        level_path(LEVEL, tmp_path)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(LevelError, match='--levels DIR'):
        level_path(LEVEL)


def test_file_that_is_no_level_is_refused(tmp_path):
    path = tmp_path / 'catapult.json'
    path.write_text('{"env_state": {}}')
    with pytest.raises(LevelError, match='is not a Kinetix level'):
        read_level(path)


def test_chunks_are_zero_after_the_end_of_an_episode():
    action = np.arange(1.0, 7.0)[:, None, None] * np.ones((6, 1, 6))
    done = np.array([0, 0, 1, 0, 0, 0], bool)[:, None]
    data = {'observation': action[..., :2] * 10.0, 'action': action, 'done': done}
    seen, actions = chunks(data, 3)
    assert seen[:, 0].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert actions[:, :, 0].tolist() == [[1, 2, 3], [2, 3, 0], [3, 0, 0], [4, 5, 6]]


def test_training_in_pieces_gives_the_same_policy(tmp_path):
    torch = pytest.importorskip('torch')
    from safetensors.numpy import save_file

    from async_chunking.policies.checkpoint.weights import load_policy
    from tools.kinetix.flow import DEBUG_FLOW_RECIPE, train_flow

    rng = np.random.default_rng(0)
    data = {
        'observation': rng.normal(size=(20, 4, 5)).astype(np.float32),
        'action': rng.normal(size=(20, 4, 6)).astype(np.float32),
        'done': np.zeros((20, 4), bool),
    }
    weights, finished = [], []
    for name, seconds in (('whole', [100.0]), ('pieces', [1.5, 100.0])):
        folder = tmp_path / name
        folder.mkdir()
        save_file(data, folder / 'catapult.data.safetensors')
        for limit in seconds:
            ticks = iter(range(100))
            clock = ticks.__next__
            done = train_flow('catapult', folder, DEBUG_FLOW_RECIPE, max_s=limit, clock=clock)
            finished.append((done['updates'], done['finished']))
        weights.append(load_policy(folder / 'catapult' / 'flow').network.state_dict())
    assert finished == [(4, True), (1, False), (4, True)]
    torch.testing.assert_close(*weights, rtol=0.0, atol=5e-6)


def test_shipped_policies_are_small_and_load():
    pytest.importorskip('torch')
    from async_chunking.policies.checkpoint.sidecar import read_sidecar
    from async_chunking.policies.checkpoint.weights import load_policy

    folders = sorted(SHIPPED.iterdir())
    assert folders
    for folder in folders:
        assert folder.name in LEVELS
        for weights in folder.glob('flow*.safetensors'):
            path = weights.with_suffix('')
            assert read_sidecar(path).task == f'kinetix/{folder.name}'
            assert weights.stat().st_size <= 2_000_000
            policy = load_policy(path)
            assert policy_path(SHIPPED, folder.name, policy.horizon) == path
            assert (policy.action_dim, policy.num_steps) == (6, 5)


def test_shipped_experts_are_small_and_solve_their_level():
    experts = sorted(SHIPPED.glob('*/expert.safetensors'))
    assert experts
    for weights in experts:
        about = json.loads(weights.with_suffix('.json').read_text())
        assert about['level'] == weights.parent.name
        assert about['solve_rate'] >= 0.7
        assert weights.stat().st_size < 1_000_000


def test_the_command_line_reaches_it_in_either_environment():
    from tools_command import invoke

    result = invoke('kinetix', '--help')
    assert result.exit_code == 0
    assert all(
        word in result.output for word in ('expert', 'collect', 'train', 'evaluate', 'tables')
    )


def rows(level: str, strategy: str, delay: int, successes: int, **changes: int) -> list[dict]:
    """Return 20 rows, of which the first `successes` are solved."""
    shared = dict.fromkeys(SCHEMA.names) | {
        'cell': f'{level} {strategy} {delay} {sorted(changes.items())}',
        'task': f'kinetix/{level}',
        'strategy': strategy,
        'horizon': 8,
        'execution_horizon': max(1, delay),
        'delay': delay,
        'delay_truth': 'constant',
        'delay_told': 'exact',
        'seed': 0,
        'consistency_rad': 0.25,
        'chunks': 10,
        'calls': 50,
    }
    each = ({'rollout': index, 'success': index < successes} for index in range(20))
    return [shared | changes | one for one in each]


@pytest.fixture
def swept_rows() -> list[dict]:
    swept = [
        row
        for s in (2, 3, 4)
        for row in rows('mjc_swimmer', 'naive', 1, 20 - s, execution_horizon=s)
    ]
    return [
        *rows('mjc_swimmer', 'naive', 1, 10),
        *rows('h17_unicycle', 'naive', 1, 20),
        *rows('mjc_swimmer', 'paint', 1, 20),
        *rows('h17_unicycle', 'paint', 1, 20),
        *rows('h17_unicycle', 'naive', 2, 12),
        *rows('h17_unicycle', 'naive', 8, 5, horizon=16),
        *swept,
    ]


def test_only_what_was_played_on_every_level_is_pooled(swept_rows):
    pooled = results.on_all_levels([row for row in swept_rows if row['horizon'] == 8])
    assert {(row['delay'], row['execution_horizon']) for row in pooled} == {(1, 1)}
    assert len({row['rollout'] for row in pooled}) == 40
    assert results.on_all_levels(rows('h17_unicycle', 'naive', 1, 20)) == []


def test_tables_keep_levels_and_horizons_apart(swept_rows):
    tables = {table.title: table.rows for table in results.all_tables(swept_rows)}
    assert tables['All 2 levels, H = 8: solved [%]'][0][1].startswith('75 [')
    (gain,) = tables['All 2 levels, H = 8: solved more than naive [points] (p)']
    assert gain == ('paint', '+25 (.002)')  # 10 of 40 pairs, all one way: p = 2 / 2^10.
    assert tables['h17_unicycle, H = 8: solved [%]'][0][2].startswith('60 [')
    assert tables['h17_unicycle, H = 16: solved [%]'][0][1].startswith('25 [')
    swept = tables['mjc_swimmer, H = 8, d = 1: solved [%]'][0]
    assert [text.split(' ')[0] for text in swept[:5]] == ['naive', '50', '90', '85', '80']


def test_figures_of_the_rows(swept_rows, tmp_path):
    paths = results.all_figures(swept_rows, tmp_path)
    assert [path.name for path in paths] == [
        'kinetix_solved.png',
        'kinetix_horizon.png',
        'kinetix_solved_h16.png',
    ]
    assert all(path.stat().st_size > 5000 for path in paths)


def test_tables_replace_what_is_between_the_marks(swept_rows, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{results.BEGIN}\nold\n{results.END}\nafter\n')
    results.put_into_page(page, list(results.all_tables(swept_rows)))
    once = page.read_text()
    assert once.startswith('before\n')
    assert once.endswith('\nafter\n')
    assert 'old' not in once
    assert '| paint | 100 [84, 100] |' in once
    results.put_into_page(page, list(results.all_tables(swept_rows)))
    assert page.read_text() == once


def test_page_without_marks_is_refused(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text('nothing here\n')
    with pytest.raises(results.PageError, match='needs the lines'):
        results.put_into_page(page, [])


def test_moments_are_those_of_all_that_was_seen():
    pytest.importorskip('jax')
    from tools.kinetix.moments import learned, scaled, unknown

    values = np.random.default_rng(0).normal([3.0, -1.0, 5.0], [2.0, 0.5, 0.0], (300, 3))
    moments = unknown(3)
    for piece in np.split(values, [50, 120]):
        moments = learned(moments, piece.astype(np.float32))
    np.testing.assert_allclose(moments.mean, values.mean(0), atol=1e-4)
    np.testing.assert_allclose(moments.variance, values.var(0), atol=1e-3)
    seen = np.asarray(scaled(moments, values.astype(np.float32)))
    np.testing.assert_allclose(seen[:, :2].std(0), 1.0, atol=1e-3)
    assert abs(seen[:, 2]).max() < 0.1  # What does not vary is not blown up.


def test_a_finished_expert_goes_on_where_more_is_asked():
    pytest.importorskip('kinetix')
    from tools.kinetix.expert import judged

    about = {'recent': [True] * 460 + [False] * 52, 'solve_rate': 460 / 512, 'steps': 1000}
    assert judged(about, 0.85, 2000, 512) == {'solved': True, 'finished': True}
    assert judged(about, 0.95, 2000, 512) == {'solved': False, 'finished': False}
    assert judged(about, 0.95, 1000, 512) == {'solved': False, 'finished': True}
    assert not judged(about, 0.85, 2000, 4096)['solved']  # Too few episodes to tell.


def test_a_shipped_expert_is_half_as_precise_and_cannot_go_on_learning(tmp_path):
    pytest.importorskip('jax')
    from safetensors.numpy import load_file, save_file

    from tools.kinetix.store import ship

    arrays = {
        'params/actor/0/w': np.full((2, 3), 1 / 3, np.float32),
        'seen/count': np.array(1e9, np.float32),
        'optimizer/mu': np.ones(4, np.float32),
    }
    save_file(arrays, path := tmp_path / 'catapult.expert.safetensors')
    about = {'level': 'catapult', 'solve_rate': 0.8, 'curve': [[1, 2, 0.8]], 'recent': [True]}
    path.with_suffix('.json').write_text(json.dumps(about))
    ship(path, target := tmp_path / 'shipped' / 'expert.safetensors')
    shipped = load_file(target)
    assert set(shipped) == {'params/actor/0/w', 'seen/count'}
    np.testing.assert_allclose(shipped['params/actor/0/w'], 1 / 3, rtol=1e-3)
    assert shipped['params/actor/0/w'].itemsize == 2
    assert shipped['seen/count'] == np.float32(1e9)  # More than half precision can hold.
    kept = json.loads(target.with_suffix('.json').read_text())
    assert kept == {'level': 'catapult', 'solve_rate': 0.8}


def test_a_curve_keeps_its_end(tmp_path):
    from tools.kinetix.curves import POINTS, draw_curves, read_curves, write_curves
    from tools.kinetix.data import MissingStageError

    with pytest.raises(MissingStageError, match="run the stage 'expert'"):
        read_curves(tmp_path)
    curve = [[step, step / 10.0, step / 500.0] for step in range(1, 400)]
    (tmp_path / 'trampoline.expert.json').write_text(json.dumps({'curve': curve}))
    curves = read_curves(tmp_path)
    assert curves['trampoline'][-1] == curve[-1]
    assert len(curves['trampoline']) <= POINTS
    write_curves(curves, tmp_path / 'kept' / 'curves.json')
    assert read_curves(tmp_path / 'kept') == curves
    draw_curves(curves, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 5000


def test_potentials_grow_with_progress():
    pytest.importorskip('jax')
    from types import SimpleNamespace

    from tools.kinetix.shaping import POLE, over_the_wall, shaping_of, upright

    def cart(tilt: float) -> SimpleNamespace:
        rotation = np.zeros(9)
        rotation[POLE] = tilt
        return SimpleNamespace(timestep=0, polygon=SimpleNamespace(rotation=rotation))

    assert upright(cart(0.0)) > upright(cart(0.2)) > upright(cart(-0.4))

    def ball(x: float, y: float) -> SimpleNamespace:
        return SimpleNamespace(circle=SimpleNamespace(position=np.array([[x, y]])))

    assert over_the_wall(ball(0.8, 1.0)) < over_the_wall(ball(0.8, 1.5))
    assert over_the_wall(ball(0.8, 1.8)) == over_the_wall(ball(4.0, 0.5)) == 0.0
    assert shaping_of('mjc_walker')(ball(0.8, 1.0)) == 0.0


def test_a_plan_is_followed_back_through_the_rounds():
    pytest.importorskip('kinetix')
    from tools.kinetix.plan import Round, trace

    rounds = [
        Round(np.array([0, 1]), np.array([[1.0], [2.0]])),
        Round(np.array([1, 1]), np.array([[3.0], [4.0]])),
        Round(np.array([1, 0]), np.array([[5.0], [6.0]])),
    ]
    assert trace(rounds, 1, 2)[:, 0].tolist() == [2.0, 2.0, 3.0, 3.0, 6.0, 6.0]


@needs_levels
@pytest.mark.parametrize('name', LEVELS)
def test_levels_fit_their_own_sizes(name):
    state = read_level(level_path(name))['env_state']
    shapes = len(state['polygon']) + len(state['circle'])
    for joint in state['joint']:
        assert max(joint['a_index'], joint['b_index']) < shapes
    assert all(shape['active'] for shape in state['polygon'])


@needs_levels
@needs_kinetix
class TestStages:
    """The stages in order, each on what the one before wrote."""

    @pytest.fixture(scope='class')
    def folder(self, tmp_path_factory):
        return tmp_path_factory.mktemp('kinetix')

    @pytest.fixture(scope='class')
    def call(self, folder):
        from typer.testing import CliRunner

        from tools.kinetix.cli import app

        def run(*words: str) -> str:
            words = (*words, '--folder', str(folder), '--debug')
            result = CliRunner().invoke(app, words, catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return result.output

        return run

    def test_collect_asks_for_an_expert(self, call):
        from tools.kinetix.data import MissingStageError

        with pytest.raises(MissingStageError, match="run the stage 'expert'"):
            call('collect', '--level', LEVEL)

    def test_plan(self, call, folder):
        from tools.kinetix.plan import plan_path

        assert f'{LEVEL}: nothing found' in call('plan', '--level', LEVEL)
        assert not plan_path(folder / 'debug', LEVEL).exists()

    def test_expert_stops_and_goes_on(self, call):
        output = call('expert', '--level', LEVEL, '--max-seconds', '0')
        assert f'{LEVEL}: to be continued, 0 steps' in output
        assert f'{LEVEL}: finished, 256 steps' in call('expert', '--level', LEVEL)
        assert f'{LEVEL}: finished, 256 steps' in call('expert', '--level', LEVEL)

    def test_training_begins_along_a_plan(self, tmp_path):
        import jax
        from safetensors.numpy import save_file

        from tools.kinetix import ppo
        from tools.kinetix.env import Level
        from tools.kinetix.plan import plan_path, plan_states

        level = Level(level_path(LEVEL))
        assert plan_states(level, tmp_path) is None
        save_file({'action': np.zeros((3, 6), np.float32)}, plan_path(tmp_path, LEVEL))
        planned = plan_states(level, tmp_path)
        times = np.asarray(planned.timestep)
        assert np.bincount(times).tolist() == [86, 85, 85]
        recipe = ppo.PpoSettings(environments=400, planned=0.5)
        starts = ppo.starting_states(level, planned, jax.random.key(0), recipe)
        assert len(starts.timestep) == 400
        assert not starts.timestep[200:].any()

    def test_expert_is_kept_without_the_episodes_under_way(self, folder):
        from safetensors.numpy import load_file

        kept = load_file(folder / 'debug' / f'{LEVEL}.expert.safetensors')
        assert {name.split('/')[0] for name in kept} == {
            'params', 'optimizer', 'key', 'seen', 'earned'
        }  # fmt: skip

    def test_curves(self, call, folder):
        image = folder / 'curves.png'
        assert f'{LEVEL}: 256 steps' in call('curves', '--image', str(image))
        assert image.exists()

    def test_collect(self, call):
        assert f'{LEVEL}: 512 transitions' in call('collect', '--level', LEVEL)

    def test_train(self, call, folder):
        stopped = call('train', '--level', LEVEL, '--max-seconds', '0')
        assert 'to be continued, 0 updates' in stopped
        assert 'finished, 4 updates' in call('train', '--level', LEVEL)
        weights = folder / 'debug' / LEVEL / 'flow.safetensors'
        assert weights.stat().st_size < 2_000_000

    def test_evaluate_continues_without_repeating(self, call, folder):
        from async_chunking.bench.rows import read

        words = ('evaluate', '--level', LEVEL, '--strategy', 'naive', '--delay', '3')
        assert call(*words).count('solved') == 1
        assert call(*words, '--strategy', 'paint').count('solved') == 1
        rows = read(folder / 'debug' / 'rows')
        assert len(rows) == 8
        assert {row['strategy'] for row in rows} == {'naive', 'paint'}
        assert all(row['ticks'] <= 256 and row['consistency_rad'] > 0.0 for row in rows)

    def test_longer_chunks_have_a_policy_of_their_own(self, call, folder):
        assert 'finished, 4 updates' in call('train', '--level', LEVEL, '--horizon', '16')
        assert (folder / 'debug' / LEVEL / 'flow16.safetensors').exists()
        words = ('evaluate', '--level', LEVEL, '--strategy', 'bid', '--delay', '8')
        assert 'bid-d8-s8' in call(*words, '--horizon', '16')

    def test_evaluate_refuses_before_the_first_rollout(self, call):
        from async_chunking.errors import AsyncChunkingError

        with pytest.raises(AsyncChunkingError, match='infeasible'):
            call('evaluate', '--level', LEVEL, '--delay', '5')
        with pytest.raises(AsyncChunkingError, match='compares samplers'):
            call('evaluate', '--level', LEVEL, '--strategy', 'ensemble')

    def test_tables(self, call, folder):
        out = folder / 'rows.parquet'
        assert f'{LEVEL}, H = 8: solved' in call('tables', '--out', str(out))
        assert out.exists()

    @pytest.mark.slow  # It compiles the physics at full size.
    def test_cropping_leaves_the_motion_alone(self):
        import jax

        from tools.kinetix.env import Level

        ends = []
        for crop in (True, False):
            level = Level(level_path(LEVEL), crop)

            def move(state, key, level=level):
                after = level.step(state, jax.random.uniform(key, (6,), minval=-1.0))
                return after.state, after.state.polygon.position[:5]

            keys = jax.random.split(jax.random.key(0), 30)
            ends.append(jax.jit(jax.lax.scan, static_argnums=0)(move, level.initial, keys)[1])
        np.testing.assert_allclose(ends[0], ends[1], atol=2e-4)
