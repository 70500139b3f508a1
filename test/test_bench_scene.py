# SPDX-License-Identifier: Apache-2.0
"""Units on a simulated task, with untrained policies: what is served, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from async_chunking.bench.cli import UsageError, app
from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import SCHEMA, read
from async_chunking.bench.scene import Bench
from async_chunking.bench.sweep import BATCH, Cell, Unit
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.checkpoint.weights import save_policy
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.normalizer import measure
from async_chunking.robot.embodiment import load
from async_chunking.settings import SettingsError
from async_chunking.strategies import resolve

TASK = 'viperx_slalom'
JOINTS = 7


def save(folder: Path, name: str, task: str = TASK, seed: int = 0) -> None:
    """Save a policy with random weights that moves a little around where the robot is."""
    torch.manual_seed(seed)
    sizes = (('observation.environment_state', JOINTS), ('observation.state', JOINTS))
    architecture = MixerArchitecture(16, JOINTS, sizes, 16, 8, 16, 1)
    sample = {name: torch.randn(100, size) for name, size in sizes}
    statistics = measure(sample, 1e-3 * torch.randn(100, 16, JOINTS), 'mean_std', 'relative')
    policy = NetworkPolicy(architecture, architecture.build(), statistics, 3)
    robot = load('viperx')
    save_policy(
        folder / name, policy, name, task=task, robot=robot.name, joint_names=robot.joint_names
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('policies')
    for seed, name in enumerate(('flow', 'weak')):
        save(folder / TASK, name, seed=seed)
    return folder


def cell(strategy: str, delay: int = 2) -> Cell:
    return Cell(TASK, 'digest', strategy, DelayModel(delay), 8, 16)


@pytest.mark.parametrize(
    ('strategy', 'calls'), [('sync', 3), ('ensemble', 3), ('paint', 9), ('bid_full', 96)]
)
def test_plays_a_unit(folder: Path, strategy: str, calls: int) -> None:
    rows = Bench(str(folder))(Unit(cell(strategy), 32))
    assert [row['rollout'] for row in rows] == list(range(32, 32 + BATCH))
    assert set(rows[0]) == set(SCHEMA.names)
    for row in rows:
        assert row['failure'] or row['success']
        # The first chunk of each rollout has no plan to meet, and is a plain one.
        assert row['calls'] == 3 + calls * (row['chunks'] - 1)


def test_units_leave_nothing_behind(folder: Path) -> None:
    """Scenes are reused between units; nothing of one must be left in the next."""
    bench, unit = Bench(str(folder)), Unit(cell('naive'), 0)
    first = bench(unit)
    bench(Unit(cell('naive'), 16))
    again = bench(unit)
    assert repr(first) == repr(again)


def test_knows_what_the_checkpoints_can_serve(folder: Path) -> None:
    bench = Bench(str(folder))
    assert bench.horizon(TASK) == 16
    assert bench.refusal(TASK, resolve('paint')) == ''
    assert 'trained with the recipe remac' in bench.refusal(TASK, resolve('remac'))
    assert 'correction head' in bench.refusal(TASK, resolve('a2c2'))


def test_digest_is_of_the_checkpoints_that_serve(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / TASK, 'flow', seed=0)
    save(tmp_path / TASK, 'weak', seed=9)
    one, two = Bench(str(folder)), Bench(str(tmp_path))
    assert one.digest(TASK, resolve('naive')) == two.digest(TASK, resolve('paint'))
    assert one.digest(TASK, resolve('bid_full')) != two.digest(TASK, resolve('bid_full'))
    key = cell('naive').key
    assert replace(cell('naive'), policy=two.digest(TASK, resolve('naive'))).key != key


def test_refuses_unknown_tasks_and_foreign_checkpoints(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown environment 'slalom'.*viperx_slalom"):
        Bench(str(folder)).horizon('slalom')
    save(tmp_path / TASK, 'flow', task='juggling')
    with pytest.raises(CheckpointError, match="'flow' is of task 'juggling', not of"):
        Bench(str(tmp_path)).horizon(TASK)
    with pytest.raises(CheckpointError, match='holds no checkpoint'):
        Bench(str(tmp_path / 'nowhere')).horizon(TASK)


def test_command_plays_a_sweep_and_writes_its_numbers(folder: Path, tmp_path: Path) -> None:
    sweep = tmp_path / 'sweep.yaml'
    sweep.write_text(f"""
rollouts: 16
grids:
- {{tasks: [{TASK}], strategies: [naive, paint, remac], delays: [2], execution_horizons: [8]}}
""")
    options = ['--policies', folder, '--rows', tmp_path / 'rows', '--processes', '1']
    files = ['--json', tmp_path / 'numbers.json', '--parquet', tmp_path / 'all.parquet']
    words = [str(word) for word in ('delay', sweep, *options, *files)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    for text in ('Solved [%]', 'skipped remac', '16 rollouts per cell, 32 in all'):
        assert text in result.output
    numbers = json.loads((tmp_path / 'numbers.json').read_text())
    assert [p['strategy'] for p in numbers['points']] == ['naive', 'paint']
    assert [p['strategy'] for p in numbers['skipped']] == ['remac']
    assert len(read(tmp_path / 'all.parquet')) == 32
    assert '32/32' in CliRunner().invoke(app, words).output  # All there: played nothing.


def test_command_wants_one_thing_to_do() -> None:
    with pytest.raises(UsageError, match='a sweep file, or --env, or --quick'):
        CliRunner().invoke(app, ['delay'], catch_exceptions=False)
