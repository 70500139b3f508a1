# SPDX-License-Identifier: Apache-2.0
"""Advice from rows: what it says must follow from the numbers, and it must know when they end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from scripted import scripted_run
from typer.testing import CliRunner

from async_chunking.bench.advice import AdviceError, advise, candidates
from async_chunking.bench.advise_command import advise_command
from async_chunking.bench.rows import SCHEMA, encode
from async_chunking.delay import to_steps
from async_chunking.metrics.intervals import mcnemar, wilson
from tools.recordings.export import write_run

N = 64


def rows(strategy: str, solved: int, n: int = N, first: int = 0, **values: Any) -> list[dict]:
    """Return n rollouts of which those from `first` on, as many as `solved`, succeed."""
    row = dict.fromkeys(SCHEMA.names, 0) | {
        'cell': f'{strategy}{values}', 'task': 'viperx_slalom', 'policy': 'p', 'failure': '',
        'strategy': strategy, 'horizon': 16, 'execution_horizon': 8, 'delay': 4,
        'delay_truth': 'constant', 'delay_told': 'exact', 'chunks': 10, 'calls': 50, **values,
    }  # fmt: skip
    ok = (np.arange(n) - first) % n < solved
    return [row | {'rollout': k, 'success': bool(ok[k])} for k in range(n)]


def advice(*parts: list[dict], delay: int = 4) -> Any:
    return advise(candidates([row for part in parts for row in part], 'viperx_slalom', delay))


def run(*words: str, stored: list[dict] | None = None, folder: Path | None = None) -> str:
    app = typer.Typer()
    app.command()(advise_command)
    if stored is not None and folder is not None:
        (folder / 'rows.parquet').write_bytes(encode(stored))
        words = (*words, '--bench', str(folder))
    result = CliRunner().invoke(app, words, env={'COLUMNS': '200'}, catch_exceptions=False)
    return ' '.join(result.output.split())


@pytest.mark.parametrize(
    ('ms', 'rate', 'steps'), [(180, 50, 9), (160, 50, 8), (161, 50, 9), (0, 15, 0)]
)
def test_a_latency_is_rounded_up_to_steps(ms: float, rate: float, steps: int) -> None:
    assert to_steps(ms / 1e3, rate) == steps


def test_the_best_is_advised_with_the_numbers_it_rests_on(tmp_path: Path) -> None:
    stored = [*rows('naive', 20), *rows('rtc', 50), *rows('sync', 30)]
    text = run('--latency-ms', '80', stored=stored, folder=tmp_path)
    low, high = (100 * bound for bound in wilson(50, N))
    assert (
        f'Use strategy:=rtc execution_horizon:=8: {5000 / N:.0f} [{low:.0f}, {high:.0f}] % of {N}'
        in text
    )
    p = mcnemar([k < 20 for k in range(N)], [k < 50 for k in range(N)]).p_value
    assert f'difference +47 points in {N} pairs, p = {p:.2g}' in text
    assert 'Only s = 8 was played with it' in text


def test_of_those_as_good_the_cheapest_that_needs_no_training_is_advised() -> None:
    advised = advice(
        rows('naive', 10),
        rows('paint', 50, calls=150),
        rows('rtc', 49),
        rows('tt_rtc', 51),
    )
    assert [c.strategy for c in advised.good] == ['tt_rtc', 'paint', 'rtc']
    assert advised.chosen.strategy == 'rtc'
    assert advised.trained is None
    longer = advice(rows('naive', 10), rows('rtc', 50), rows('rtc', 50, execution_horizon=12))
    assert longer.chosen.execution_horizon == 12


def test_training_is_advised_where_it_was_shown_to_help(tmp_path: Path) -> None:
    stored = [*rows('naive', 10), *rows('rtc', 30), *rows('tt_rtc', 60)]
    text = run('--latency-ms', '80', stored=stored, folder=tmp_path)
    assert 'Use strategy:=rtc execution_horizon:=8' in text
    assert 'Training helps: strategy:=tt_rtc' in text
    assert 'async-chunking train tt_rtc --task viperx_slalom' in text


def test_it_says_when_the_data_cannot_tell(tmp_path: Path) -> None:
    close = [*rows('naive', 30), *rows('rtc', 33, first=10), *rows('paint', 34, first=20)]
    text = run('--latency-ms', '80', stored=close, folder=tmp_path)
    assert 'The data cannot tell' in text
    assert 'Use strategy' not in text
    assert 'play about 391 rollouts a cell' in text  # 2 p (1 - p) (2.8 / 0.1)^2 at p = 34 / 64.


def test_a_difference_that_is_only_the_best_of_many_is_no_difference() -> None:
    """p = 0.031 of one pair is told; as the best of ten candidates it is not."""
    alone = [rows('naive', 30), rows('rtc', 36)]
    assert not advice(*alone).undecided
    many = [
        rows('rtc', 30 - k, execution_horizon=s) for k, s in enumerate((4, 5, 6, 7, 9, 10, 11, 12))
    ]
    assert advice(*alone, *many).undecided


def test_what_was_hardly_played_neither_leads_nor_is_as_good() -> None:
    advised = advice(rows('naive', 10), rows('rtc', 50), rows('paint', 8, n=8))
    assert advised.candidates[0].strategy == 'rtc'
    assert [c.strategy for c in advised.open] == ['paint']
    assert advised.chosen.strategy == 'rtc'


def test_delays_beyond_the_rows_and_beyond_the_chunk_are_said(tmp_path: Path) -> None:
    stored = [*rows('naive', 10), *rows('rtc', 50)]
    text = run('--latency-ms', '180', stored=stored, folder=tmp_path)
    assert '180 ms at 50 rows a second are 9 steps' in text
    assert 'up to 8 steps, 160 ms. Train with chunks of 18 rows or more' in text
    assert 'The data cannot tell: its delays are 4' in text
    near = run('--latency-ms', '60', stored=stored, folder=tmp_path)
    assert 'no rows at 3 steps; the next above is 4' in near


def test_varying_delays_are_left_aside() -> None:
    with pytest.raises(AdviceError, match="no rows of 'viperx_slalom' with a constant delay of 4"):
        advice(rows('naive', 10, delay_truth='spiky'))


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ((), 'give --latency-ms, or --bag'),
        (('--latency-ms', '80', '--bench', 'nowhere'), 'no rows at nowhere'),
        (('--latency-ms', '80', '--task', 'chess'), "--task is 'chess'; the rows are of"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    stored = None if 'nowhere' in words or not words else [*rows('naive', 10)]
    with pytest.raises(AdviceError, match=message):
        run(*words, stored=stored, folder=tmp_path)


# --- recordings ----------------------------------------------------------------------------------


def recorded(folder: Path, wins: int) -> Path:
    for seed in range(8):
        naive = scripted_run('naive', seed, ticks=200, joints=4, success=False)
        paint = scripted_run('paint', seed, ticks=200, joints=4, success=seed < wins)
        write_run(naive, folder / f'naive_{seed}', run_id=seed + 1)
        write_run(paint, folder / f'paint_{seed}', run_id=seed + 101)
    return folder


def test_recordings_tell_the_latency_and_what_they_show(tmp_path: Path) -> None:
    text = run('--bag', str(recorded(tmp_path, wins=8)))
    assert 'Latency from request to takeover in' in text
    assert 'paint succeeds more often than naive on the same scenes: 100 points in 8 pairs' in text


def test_few_recordings_cannot_tell(tmp_path: Path) -> None:
    text = run('--bag', str(recorded(tmp_path, wins=3)))
    assert 'The recordings cannot tell strategies apart' in text


def test_a_recording_and_its_copy_are_one(tmp_path: Path) -> None:
    once = run('--bag', str(recorded(tmp_path / 'runs', wins=8)))
    shutil.copytree(tmp_path / 'runs/paint_0', tmp_path / 'runs/copy')
    twice = run('--bag', str(tmp_path / 'runs'))
    assert 'has 100% of its commands in common with' in twice
    chunks = [line for line in once.splitlines() if line.startswith('Latency')]
    assert [line for line in twice.splitlines() if line.startswith('Latency')] == chunks
