# SPDX-License-Identifier: Apache-2.0
"""Protocols by name, against loops and sums written anew from their sources."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_environments import HERE, described_in
from typer.testing import CliRunner

from async_chunking.bench.cli import UsageError, app
from async_chunking.bench.protocols import PROTOCOLS, grids, reported
from async_chunking.bench.rows import SCHEMA, read
from async_chunking.bench.sweep import Sweep
from async_chunking.errors import AsyncChunkingError

H = 8


def cells(name: str, horizon: int = H, usual: int = 4) -> set[tuple[int, int]]:
    pairs = set()
    for grid in grids(name, 't', ['naive'], horizon, usual):
        Sweep.model_validate({'rollouts': 16, 'grids': [grid]})
        for delay in grid['delays']:
            pairs |= {(delay['steps'], s) for s in grid['execution_horizons']}
    return pairs


@pytest.mark.parametrize('name', ['rtc', 'remac'])
def test_cells_are_those_of_the_authors_loops(name: str) -> None:
    wanted = set()
    for inference_delay in [0, 1, 2, 3, 4]:
        for execute_horizon in range(max(1, inference_delay), 8 - inference_delay + 1):
            wanted.add((inference_delay, execute_horizon))
    assert cells(name) == wanted
    assert len(wanted) == 8 + 7 + 5 + 3 + 1


def test_review_and_robot_keep_to_what_is_feasible() -> None:
    assert cells('review') == {(0, 1), (1, 1), (2, 2), (4, 4)}
    assert max(d for d, _ in cells('review', horizon=50)) == 20
    assert cells('robot', horizon=16, usual=8) == {(0, 8), (2, 8), (4, 8), (8, 8)}
    spiky = [d for g in grids('robot', 't', 'all', 16, 8) for d in g['delays'] if d['steps'] == 4]
    assert [(d['truth'], d['told']) for d in spiky] == [
        ('constant', 'exact'),
        ('spiky', 'maximum'),
    ]
    for name in PROTOCOLS:
        for delay, s in cells(name, horizon=24, usual=8):
            assert max(1, delay) <= s <= 24 - delay
    with pytest.raises(AsyncChunkingError, match='none of the delays'):
        grids('robot', 't', 'all', 4, 8)
    with pytest.raises(AsyncChunkingError, match=r"unknown protocol 'rct'\. Did you mean 'rtc'"):
        grids('rct', 't', 'all', 16, 8)


def made(seed: int = 0, episodes: int = 16) -> list[dict[str, Any]]:
    """Return rows of all cells of H = 8 with success by chance, which depends on the cell."""
    rng = np.random.default_rng(seed)
    row = dict.fromkeys(SCHEMA.names, 0) | {'task': 't', 'strategy': 'naive', 'horizon': H}
    return [
        row
        | {'delay': d, 'execution_horizon': s, 'rollout': k, 'delay_truth': 'constant'}
        | {'delay_told': 'exact', 'success': bool(rng.random() < 1.0 - 0.08 * (d + s))}
        for d, s in sorted(cells('rtc'))
        for k in range(episodes)
    ]


def test_remac_reports_the_mean_over_execution_horizons() -> None:
    rows = made()
    cells = reported('remac', rows, 4)
    for d in range(5):
        per_episode = []
        for k in range(16):
            hits = [r['success'] for r in rows if r['delay'] == d and r['rollout'] == k]
            assert len(hits) == len(range(max(1, d), 9 - d))
            per_episode.append(sum(hits) / len(hits))
        mean = sum(per_episode) / 16
        value = cells['naive', str(d)]
        assert value.value == pytest.approx(mean)
        if d < 4:
            spread = math.sqrt(sum((x - mean) ** 2 for x in per_episode) / 15)
            half = stats.t.ppf(0.975, 15) * spread / 4
            assert (value.low, value.high) == pytest.approx((mean - half, mean + half))


def test_rtc_reports_the_shortest_execution_horizon() -> None:
    rows = made()
    cells = reported('rtc', rows, 4)
    for d in range(5):
        hits = [
            r['success'] for r in rows if (r['delay'], r['execution_horizon']) == (d, max(1, d))
        ]
        assert cells['naive', str(d)].value == pytest.approx(sum(hits) / len(hits))


def test_a_protocol_is_played_and_printed(tmp_path: Path) -> None:
    env = described_in(tmp_path, execution_horizon=4)
    words = ['delay', '--env', env, '--policy', f'{HERE}:push', '--strategies', 'naive']
    words += ['--protocol', 'remac', '--rollouts', '16', '--rows', str(tmp_path / 'rows')]
    result = CliRunner().invoke(app, [*words, '--processes', '1'], env={'COLUMNS': '120'})
    assert result.exit_code == 0, result.output
    assert 'Solved [%] by the protocol remac (arXiv 2601.20130)' in result.output
    rows = read(tmp_path / 'rows')
    assert {(r['delay'], r['execution_horizon']) for r in rows} == cells('remac')


def test_a_protocol_needs_an_environment() -> None:
    with pytest.raises(UsageError, match='--protocol goes with --env'):
        CliRunner().invoke(app, ['delay', '--quick', '--protocol', 'rtc'], catch_exceptions=False)
