# SPDX-License-Identifier: Apache-2.0
"""Sweeps: refused before the first rollout, the same rows however they are spread, resumable."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import bench_toy
import pytest

from async_chunking.bench.delays import DelayModel, DelayModelError
from async_chunking.bench.rows import SCHEMA, Row, RowsError, Shards, encode, read, renewed
from async_chunking.bench.sweep import BATCH, Sweep, expand, load, units
from async_chunking.bench.workers import in_processes, on_ray
from async_chunking.settings import SettingsError

GRID = {
    'tasks': ['chase'],
    'strategies': ['sync', 'naive'],
    'delays': [0, 4],
    'execution_horizons': [8],
}


def sweep(rollouts: int = BATCH, **changes: object) -> Sweep:
    return Sweep(rollouts=rollouts, grids=[{**GRID, **changes}])


def work(rollouts: int = BATCH) -> list:
    cells, _ = expand(sweep(rollouts), bench_toy.ToyPolicies())
    return units(cells, rollouts)


def run(shards: Shards, todo: Iterator) -> None:
    for unit, rows in todo:
        shards.write(unit, rows)


def by_name(rows: list[Row]) -> bytes:
    return encode(sorted(rows, key=lambda row: (row['cell'], row['rollout'])))


# --- refused before the first rollout ------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('rollouts: 16\ngrid: []', r"unknown key 'grid'. Did you mean 'grids'\? Choices"),
        ('rollouts: 16\ngrids:\n- {strategy: [naive]}', r"'grids\.0\.strategy'.*strategies"),
        ('rollouts: 17\ngrids: []', 'rollouts = 17.*multiple of 16'),
        ('rollouts: 16\ngrids:\n- {strategies: [naiv]}', r"unknown strategy 'naiv'.*'naive'"),
        (
            'rollouts: 16\ngrids:\n- {delays: [{steps: 1, told: x}]}',
            "told 'x' is unknown. Choices",
        ),
        ('rollouts: 16\ngrids:\n- {execution_horizons: [fast]}', "execution_horizons.*'fast'"),
        ('rollouts: 16\ngrids: [', 'line 2: this is not YAML'),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / 'sweep.yaml'
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_infeasible_combinations_are_refused() -> None:
    with pytest.raises(DelayModelError, match='largest feasible delay is 8'):
        expand(sweep(delays=[0, 9]), bench_toy.ToyPolicies())
    with pytest.raises(DelayModelError, match='it must be 4 to 12'):
        expand(sweep(execution_horizons=[8, 3]), bench_toy.ToyPolicies())


def test_sync_is_played_at_delays_beyond_the_horizon() -> None:
    cells, _ = expand(
        sweep(strategies=['sync'], delays=[9, 16, 40], execution_horizons=[8, 'delay']),
        bench_toy.ToyPolicies(),
    )
    played = {(cell.delay.steps, cell.execution_horizon) for cell in cells}
    assert played == {(9, 8), (9, 9), (16, 8), (16, 16), (40, 8), (40, 16)}
    with pytest.raises(DelayModelError, match='but for sync, which rests'):
        expand(sweep(delays=[40]), bench_toy.ToyPolicies())


def test_reads_a_file_and_expands_it(tmp_path: Path) -> None:
    path = tmp_path / 'sweep.yaml'
    path.write_text("""
rollouts: 32
grids:
  - tasks: [chase]
    strategies: [sync, naive]
    delays: [0, 4, {steps: 4, truth: spiky, told: maximum}]
    execution_horizons: [8, delay]
    seeds: [0, 1]
  - tasks: [chase]
    strategies: [naive]
    delays: [4]
    execution_horizons: [8]
""")
    cells, skipped = expand(load(path), bench_toy.ToyPolicies())
    assert not skipped
    assert len(cells) == len(set(cells)) == 2 * 3 * 2 * 2  # The second grid adds nothing.
    assert len({cell.key for cell in cells}) == len(cells)
    assert DelayModel(4, 'spiky', 'maximum') in {cell.delay for cell in cells}
    assert {(c.delay.steps, c.execution_horizon) for c in cells} == {
        (0, 8),
        (0, 1),
        (4, 8),
        (4, 4),
    }
    todo = units(cells, 32)
    assert len(todo) == 2 * len(cells)
    assert all(unit.start == 0 for unit in todo[: len(cells)])


def test_all_strategies_and_what_cannot_be_served() -> None:
    cells, skipped = expand(sweep(strategies='all'), bench_toy.ToyPolicies())
    assert {cell.strategy for cell in cells} >= {'sync', 'naive', 'ensemble', 'bspline'}
    assert all('not for toys' in item.reason for item in skipped)


# --- the same rows however they are spread -------------------------------------------------------


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shards = Shards(tmp_path_factory.mktemp('reference'))
    run(shards, in_processes(bench_toy.play_unit, work(32), 1))
    return shards.folder


def test_one_row_per_rollout(reference: Path) -> None:
    rows = read(reference)
    assert len(rows) == 4 * 32
    assert len({(row['cell'], row['rollout']) for row in rows}) == len(rows)
    assert list(rows[0]) == SCHEMA.names
    assert all(row['calls'] == 3 * row['chunks'] for row in rows)


def test_processes_give_the_same_rows(reference: Path, tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    run(shards, in_processes(bench_toy.play_unit, work(32), 2))
    files = sorted(path.name for path in reference.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    for row, expected in zip(read(tmp_path), read(reference), strict=True):
        assert row == pytest.approx(expected, nan_ok=True)


def test_an_interrupted_sweep_continues(reference: Path, tmp_path: Path) -> None:
    shards, todo = Shards(tmp_path), work(32)
    run(shards, islice(in_processes(bench_toy.play_unit, todo, 1), 3))
    (tmp_path / f'.{todo[3].name}.parquet.123').write_bytes(b'torn')  # As a crash leaves it.
    left = shards.missing(todo)
    assert left == todo[3:]
    run(shards, in_processes(bench_toy.play_unit, left, 1))
    assert not shards.missing(todo)
    assert by_name(read(tmp_path)) == by_name(read(reference))
    assert by_name(shards.read(todo[:4])) != by_name(shards.read(todo))


def test_a_sweep_that_grew_keeps_its_rows(reference: Path, tmp_path: Path) -> None:
    shards = Shards(tmp_path)
    run(shards, in_processes(bench_toy.play_unit, work(16), 1))
    left = shards.missing(work(32))
    assert [unit.start for unit in left] == [16] * 4
    run(shards, in_processes(bench_toy.play_unit, left, 1))
    assert by_name(read(tmp_path)) == by_name(read(reference))


@pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='Ray is not installed')
def test_ray_gives_the_same_rows(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))  # Workers import the toy.
    shards = Shards(tmp_path)
    run(shards, on_ray(bench_toy.play_unit, work(32), 'local'))
    assert by_name(read(tmp_path)) == by_name(read(reference))


def test_says_what_is_not_a_file_of_rows(tmp_path: Path) -> None:
    with pytest.raises(RowsError, match='holds no rows'):
        read(tmp_path)
    (tmp_path / 'x.parquet').write_bytes(b'x')
    with pytest.raises(RowsError, match=r'x\.parquet is not a Parquet file'):
        read(tmp_path)


def test_rows_of_a_condition_take_the_place_of_older_ones(reference: Path) -> None:
    older = read(reference)
    first = older[0]['strategy']
    newer = [
        row | {'cell': 'other', 'policy': 'other'} for row in older if row['strategy'] == first
    ]
    rows = renewed(older, newer)
    assert len(rows) == len(older)
    assert [row for row in rows if row['strategy'] == first] == newer
    elsewhere = renewed(older, [row | {'execution_horizon': 99} for row in newer])
    assert len(elsewhere) == len(older) + len(newer)
