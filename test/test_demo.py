# SPDX-License-Identifier: Apache-2.0
"""What `demo` says was seen, and that one strategy that fails does not end the others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from async_chunking.bringup.up import RunError
from async_chunking.commands import demo


def figures(strategy: str, jump: float, latency: str = '120') -> dict:
    return {'strategy': strategy, 'latency_ms': latency, 'seam_jump_rad': jump}


def test_the_sentence_names_every_jump() -> None:
    runs = [figures('naive', 0.0704), figures('rtc', 0.0111), figures('sync', math.nan)]
    (sentence,) = demo.seen(runs)
    assert 'jumped by 70 mrad where naive' in sentence
    assert 'by 11 with rtc' in sentence
    assert 'sync rests' in sentence
    assert 'nan' not in sentence


def test_without_naive_there_is_nothing_to_compare() -> None:
    assert demo.seen([figures('rtc', 0.01)]) == []
    assert demo.seen([]) == []


def test_a_strategy_that_cannot_be_shown_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(robot: str, given: dict, *_: object, **__: object) -> dict:
        if given['strategy'] == 'paint':
            raise RunError('the policy is too slow')
        return figures(given['strategy'], 0.01)

    monkeypatch.setattr(demo, 'run', run)
    cells = [{'strategy': name, 'latency_ms': '120'} for name in ('naive', 'paint', 'rtc')]
    console = Console(record=True, width=200)
    shown = demo._played('viperx', cells, tmp_path, console)
    assert [run['strategy'] for run in shown] == ['naive', 'rtc']
    assert 'paint could not be shown: the policy is too slow' in console.export_text()
