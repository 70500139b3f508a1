# SPDX-License-Identifier: Apache-2.0
"""What a chunk takes here, and which strategies are feasible with that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip('torch')

from typer.testing import CliRunner

from async_chunking.bench import machine
from async_chunking.bench.cli import app
from async_chunking.bringup.describe import describe
from async_chunking.policies.responder import Responder


def test_every_strategy_that_the_policy_offers_is_timed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(machine, 'MOST_ROUNDS', 1)
    monkeypatch.setattr(machine, 'STRATEGIES', {n: machine.STRATEGIES[n] for n in ('sync', 'rtc')})
    path = tmp_path / 'figures.json'
    words = ['machine', 'viperx', '--seconds', '0', '--json', str(path)]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    rows = {row['strategy']: row for row in json.loads(path.read_text())['chunks']}
    assert set(rows) == {'sync', 'rtc'}
    assert all(0.0 < row['median_ms'] <= row['worst_ms'] for row in rows.values())


@pytest.mark.parametrize(
    ('seconds', 'delay', 'naive'),
    [(0.159, 8, True), (0.161, 9, False), (0.02, 1, True)],
)
def test_feasible_is_what_the_executor_needs(
    seconds: float, delay: int, naive: bool, monkeypatch
) -> None:
    """At 50 Hz with 16 rows, of which 8 are executed between two requests."""
    monkeypatch.setattr(machine, 'MOST_ROUNDS', 2)
    monkeypatch.setattr(
        machine, 'STRATEGIES', {n: machine.STRATEGIES[n] for n in ('sync', 'naive')}
    )
    monkeypatch.setattr(Responder, 'warm_up', lambda *_: seconds)
    costs = {cost.strategy: cost for cost in machine.chunk_costs(describe('viperx', {}))}
    assert costs['naive'].delay == delay
    assert costs['naive'].feasible == naive
    assert costs['sync'].feasible  # It rests meanwhile.
