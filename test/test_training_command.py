# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""`async-chunking train` and `dataset`, as a user runs them on the simulated robot."""

from __future__ import annotations

from pathlib import Path

import demonstrations
import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip('torch')
pytest.importorskip('mujoco')

from async_chunking.correctors.base import Corrector
from async_chunking.dataset.command import app as dataset
from async_chunking.dataset.reading import DataError
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.fit import facts_of
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.settings import SettingsError
from async_chunking.strategies import resolve
from async_chunking.training.command import RECIPES, make_config, train
from async_chunking.training.curriculum import share
from async_chunking.training.recipe import TrainingError

app = typer.Typer()
app.command()(train)
TASK = 'viperx_slalom'


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('out')
    for recipe in ('flow', 'tt_rtc', 'vlash', 'a2c2'):
        shown = run(recipe, '--task', TASK, '--out', str(out), '--debug')
        assert f'{recipe}.safetensors: loss ' in shown
    return out


def test_trained_checkpoints_serve_the_strategies_that_ask_for_them(folder: Path):
    policies = PolicyDirectory(folder)
    for name in ('naive', 'bid_full', 'tt_rtc', 'paint+tt_rtc', 'vlash', 'a2c2', 'paint+a2c2'):
        check_strategy(resolve(name), facts_of(policies))
    with pytest.raises(AsyncChunkingError, match='a checkpoint trained with the recipe remac'):
        check_strategy(resolve('remac'), facts_of(policies))
    sidecar = policies.sidecars['flow']
    assert (sidecar.task, sidecar.robot, sidecar.policy_rate_hz) == (TASK, 'viperx', 50.0)
    assert isinstance(policies.corrector(), Corrector)


def test_the_demonstrations_are_kept_and_used_again(folder: Path):
    made = folder / 'demonstrations_debug'
    before = (made / 'meta/info.json').stat().st_mtime_ns
    run('flow', '--task', TASK, '--out', str(folder), '--debug', '--overwrite')
    assert (made / 'meta/info.json').stat().st_mtime_ns == before


@pytest.mark.parametrize('there', ['flow.safetensors', 'weak.safetensors', 'flow'])
def test_no_checkpoint_is_replaced_unless_told(folder: Path, tmp_path: Path, there: str):
    file = tmp_path / there
    file.touch()
    words = ('flow', '--task', TASK, '--out', str(tmp_path), '--debug')
    data = ('--data', str(folder / 'demonstrations_debug'))
    with pytest.raises(TrainingError, match=f'{there} exists already: name another --out, or say'):
        run(*words, *data)
    assert file.read_bytes() == b''


def test_a_base_is_looked_for_before_demonstrations_are_recorded(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r'no checkpoint at .*flow\.json'):
        run('tt_rtc', '--task', TASK, '--out', str(tmp_path), '--debug')
    assert list(tmp_path.iterdir()) == []


def test_one_demonstration_is_warned_of(folder: Path, tmp_path: Path):
    from async_chunking.sim.demonstrations import Generation, generate

    data = generate(Generation(TASK, episodes=1), tmp_path / 'one', processes=1)
    words = ('flow', '--task', TASK, '--out', str(tmp_path / 'out'), '--debug')
    assert 'warning: there is one demonstration' in run(*words, '--data', str(data))
    both = str(folder / 'demonstrations_debug')
    words = ('flow', '--task', TASK, '--out', str(tmp_path / 'more'), '--debug')
    assert 'warning' not in run(*words, '--data', both)


def test_the_papers_begin_the_base_at_noise_and_the_variants_near_the_demonstration():
    configs = {name: make_config(name, [], debug=False) for name in RECIPES}
    assert {name: c.start for name, c in configs.items() if hasattr(c, 'start')} == {
        'remac': 0.0,
        'remac_paired': 0.5,
        'a2c2': 0.0,
        'a2c2_paired': 0.5,
    }


@pytest.mark.parametrize(
    ('row', 'masked', 'own', 'residual'),
    [
        ('masked=false schedule=demonstrations residual_weight=0', False, 0.0, False),
        ('schedule=demonstrations residual_weight=0', True, 0.0, False),
        ('residual_weight=0', True, 1.0, False),
        ('', True, 1.0, True),
    ],
)
def test_the_rows_of_remacs_ablation_are_settings(
    row: str, masked: bool, own: float, residual: bool
):
    """As docs/training.md prints them: adapters, mask, curriculum, all."""
    config = make_config('remac', row.split(), debug=False)
    assert (config.masked, config.residual_weight > 0.0) == (masked, residual)
    assert share(config, 1.0) == pytest.approx(1.0 - own)
    page = Path(__file__).parents[1] / 'docs/training.md'
    text = ' '.join(page.read_text(encoding='utf-8').split())
    assert f'`{row}`' in text or not row


def test_a_mistake_is_answered_with_the_choices(folder: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match=r"unknown recipe 'remack'. Did you mean 'remac'"):
        run('remack', '--task', TASK, '--out', str(tmp_path))
    with pytest.raises(TrainingError, match=r"'laundry' is no simulated task \(viperx_slalom"):
        run('flow', '--task', 'laundry', '--out', str(tmp_path))
    other = demonstrations.write(tmp_path / 'data')
    with pytest.raises(DataError, match='has 2 joints, viperx has 7: waist'):
        run('flow', '--task', TASK, '--out', str(tmp_path), '--data', str(other), '--debug')


def test_data_sets_are_made_and_shown(tmp_path: Path):
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(dataset, list(arguments))
        assert result.exception is None, result.output
        return result.output

    out = str(tmp_path / 'data')
    made = call('simulate', TASK, '--out', out, '--episodes', '1', '--processes', '1')
    assert '1 demonstrations' in made
    shown = call('show', out)
    assert '1 episodes' in shown
    assert 'robot viperx, joints waist, shoulder' in shown
    assert 'observation.environment_state [' in shown
