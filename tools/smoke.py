# SPDX-License-Identifier: Apache-2.0
"""Regression guard: in two minutes, do the strategies still rank as they should?

Only order is checked, with margins that noise does not cross at this number of rollouts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from async_chunking.bench.campaign import Campaign
from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import Shards
from async_chunking.bench.scene import Bench
from async_chunking.bench.summary import Point, points
from async_chunking.bench.sweep import Sweep, expand
from async_chunking.bench.workers import cores

ROLLOUTS = 32
TASK = 'viperx_slalom'
GRIDS = [
    {'strategies': ['sync'], 'delays': [0]},
    {'strategies': ['naive', 'paint', 'rtc'], 'delays': [4]},
]

Results = Mapping[tuple[str, int], Point]
"""(strategy, delay) -> what was measured."""


@dataclass(frozen=True)
class Check:
    """A sentence that must be true.

    Attributes:
        text: The sentence.
        sides: The two numbers that it compares.
        holds: Whether it is true of them.
    """

    text: str
    sides: Callable[[Results], tuple[float, float]]
    holds: Callable[[float, float], bool]


CHECKS = (
    Check(
        'at d=4 paint has less than half of the CON of naive',
        lambda results: (_con(results, 'paint'), _con(results, 'naive')),
        lambda paint, naive: paint < 0.5 * naive,
    ),
    Check(
        'at d=4 rtc has less than half of the CON of naive',
        lambda results: (_con(results, 'rtc'), _con(results, 'naive')),
        lambda rtc, naive: rtc < 0.5 * naive,
    ),
    Check(
        'without delay sync solves more than half of the episodes',
        lambda results: (results['sync', 0].success.value, 0.5),
        lambda sync, half: sync > half,
    ),
    Check(
        'at d=4 naive solves fewer episodes than sync without delay',
        lambda results: (results['naive', 4].success.value, results['sync', 0].success.value),
        lambda naive, sync: naive < sync,
    ),
    Check(
        'no tick was without a plan',
        lambda results: (max(point.starved for point in results.values()), 0.0),
        lambda starved, none: starved <= none,
    ),
)


def smoke(
    processes: Annotated[int, typer.Option(min=0, help='Processes; 0 for one per core.')] = 0,
) -> None:
    """Check in two minutes that the strategies still rank as they should."""
    problems = failures(processes or cores(), Console())
    raise typer.Exit(1 if problems else 0)


def failures(processes: int, console: Console) -> list[str]:
    """Play, print each check with its numbers, and return the sentences that are not true."""
    grids = [{'tasks': [TASK], 'execution_horizons': [8], **grid} for grid in GRIDS]
    sweep = Sweep.model_validate({'rollouts': ROLLOUTS, 'grids': grids})
    cells, skipped = expand(sweep, Bench())
    if skipped:
        return [item.reason for item in skipped]
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Bench(), Shards(Path(scratch)), processes, '', console)
        rows = campaign.run(cells, ROLLOUTS)
    return judge({(p.strategy, p.condition.delay.steps): p for p in points(rows)}, console)


def judge(results: Results, console: Console) -> list[str]:
    """Print each check with its numbers and return the sentences that are not true."""
    wrong = []
    for check in CHECKS:
        left, right = check.sides(results)
        good = check.holds(left, right)
        wrong += [] if good else [check.text]
        console.print(f'{"ok  " if good else "FAIL"} {check.text}: {left:.4g}, {right:.4g}')
    return wrong


def _con(results: Results, strategy: str) -> float:
    return results[strategy, DelayModel(4).steps].consistency.value
