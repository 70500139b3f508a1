# SPDX-License-Identifier: Apache-2.0
"""What recordings say about latency and strategies: measured delays, and successes by strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from async_chunking.bags.compare import Comparison, StrategyReport, by_strategy, compare
from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all, without_copies
from async_chunking.bags.summary import BagReport, RunReport
from async_chunking.bench.advice import AdviceError
from async_chunking.bench.summary import Interval
from async_chunking.bench.tables import rate
from async_chunking.tables import Table, show

FEW = 10  # Episodes below which an interval is wider than half of everything.


def show_recordings(place: Path, console: Console) -> float:
    """
    Print what recordings tell.

    Returns:
        The latency to plan for [ms]: the longest that was seen.

    Raises:
        AdviceError: There is no run in them, or none in which a chunk took over.
    """
    reports = without_copies([report for _, report in sorted(read_all(find([place])), key=_place)])
    runs = [run for report in reports for run in report.runs]
    delays = latencies(runs)
    if not len(delays):
        raise AdviceError(
            f'{place}: in no recording a new chunk took over, so no latency is known'
        )
    strategies = by_strategy(runs)
    show(_table(strategies), console=console)
    median, high, worst = np.quantile(delays, [0.5, 0.99, 1.0]) * 1e3

    def put(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    for problem in (problem for report in reports for problem in report.problems):
        put(problem)
    put(
        f'Latency from request to takeover in {len(delays)} chunks: median {median:.0f} ms, 99 % '
        f'{high:.0f} ms, longest {worst:.0f} ms.'
    )
    for line in _verdict(strategies):
        put(line)
    return float(worst)


def _place(item: tuple[int, BagReport]) -> int:
    return item[0]


def latencies(runs: Sequence[RunReport]) -> np.ndarray:
    """Return the time from request to takeover of every chunk that came to a moving plan [s]."""
    parts = [run.seam('total') for run in runs]
    values = np.concatenate(parts) if parts else np.empty(0)
    return values[np.isfinite(values)]


def _table(strategies: Sequence[StrategyReport]) -> Table:
    rows = tuple(
        (one.strategy, str(len(one.runs)), rate(Interval(*one.success_rate[:3])),
         str(one.success_rate.runs))
        for one in strategies
    )  # fmt: skip
    return Table('What was recorded', ('strategy', 'runs', 'succeeded [%]', 'episodes'), rows)


def _verdict(strategies: Sequence[StrategyReport]) -> list[str]:
    """Return whether the recordings tell strategies apart."""
    known = [one for one in strategies if one.success_rate.runs]
    if len(known) < 2:
        return ['The recordings cannot tell: fewer than two strategies have outcomes.']
    tests = [c for c in compare(known) if c.figure == 'success']
    told = [_told(c) for c in tests if c.test.p_value < 0.05 / len(tests)]
    if told:
        return told
    best = max(known, key=lambda one: one.success_rate.mean)
    apart = [o for o in known if o is not best and o.success_rate.high < best.success_rate.low]
    if len(apart) == len(known) - 1 and min(one.success_rate.runs for one in known) >= FEW:
        return [f'{best.strategy} succeeds most often: its interval is above all others.']
    return [
        'The recordings cannot tell strategies apart: intervals overlap, and no paired test on '
        'equal scenes decides. Record more episodes, or bench the policy and give --bench.'
    ]


def _told(one: Comparison) -> str:
    pair = (one.first, one.second) if one.test.difference < 0 else (one.second, one.first)
    points = 100 * abs(one.test.difference)
    return (
        f'{pair[0]} succeeds more often than {pair[1]} on the same scenes: {points:.0f} points in '
        f'{one.test.pairs} pairs, p = {one.test.p_value:.2g}.'
    )
