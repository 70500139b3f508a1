# SPDX-License-Identifier: Apache-2.0
"""Tables of points: strategies against delays or execution horizons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.summary import Condition, Interval, Point, strategy_order
from async_chunking.metrics.intervals import PairedTest
from async_chunking.tables import NOTHING, Table

Key = TypeVar('Key')


def rate(interval: Interval) -> str:
    """Return a rate with its interval, in per cent: `84 [77, 90]`."""
    if math.isnan(interval.value):
        return NOTHING
    value, low, high = (100.0 * part for part in interval)
    return f'{value:.0f} [{low:.0f}, {high:.0f}]'


def mean(interval: Interval, digits: int) -> str:
    """Return a mean with half its interval: `4.21 ± 0.08`."""
    value, low, high = interval
    if math.isnan(value):
        return NOTHING
    half = '' if math.isnan(low) else f' ± {(high - low) / 2.0:.{digits}f}'
    return f'{value:.{digits}f}{half}'


def number(value: float, digits: int = 0) -> str:
    """Return a number, or a dash where it is unknown."""
    return NOTHING if math.isnan(value) else f'{value:.{digits}f}'


def by_delay(
    points: Sequence[Point], title: str, show: Callable[[Point], str], calls: bool = True
) -> Table:
    """Return strategies × delays; each cell is what `show` says of the point.

    All points are of one task and horizon; at most one per strategy and delay. The last column is
    what a chunk costs, at the largest delay.
    """
    delays = sorted({p.condition.delay for p in points}, key=lambda d: (d.steps, d.label))
    return _grid(
        points, title, delays, lambda p: p.condition.delay, _delay_heading, show, calls
    )  # fmt: skip


def by_execution_horizon(
    points: Sequence[Point], title: str, show: Callable[[Point], str]
) -> Table:
    """Return strategies × execution horizons, for points of one delay."""
    horizons = sorted({p.condition.execution_horizon for p in points})
    return _grid(
        points, title, horizons, lambda p: p.condition.execution_horizon, 's = {}'.format, show
    )  # fmt: skip


def _delay_heading(delay: DelayModel) -> str:
    return f'd = {delay.label}'


def _grid(
    points: Sequence[Point],
    title: str,
    keys: Sequence[Key],
    key_of: Callable[[Point], Key],
    heading: Callable[[Key], str],
    show: Callable[[Point], str],
    calls: bool = True,
) -> Table:
    names = sorted({point.strategy for point in points}, key=strategy_order)
    by_key = {(point.strategy, key_of(point)): point for point in points}
    rows = []
    for name in names:
        cells = [by_key.get((name, key)) for key in keys]
        texts = [NOTHING if point is None else show(point) for point in cells]
        last = [point for point in cells if point is not None][-1]
        rows.append((name, *texts, *([number(last.calls, 0)] if calls else [])))
    columns = ('strategy', *map(heading, keys), *(['calls'] if calls else []))
    return Table(title, columns, tuple(rows))


def comparison(
    tests: Mapping[tuple[Condition, str], PairedTest], reference: str, title: str
) -> Table:
    """Return strategies × delays: the gain in success over `reference`, and McNemar's (p)."""
    delays = sorted({c.delay for c, _ in tests}, key=lambda d: (d.steps, d.label))
    names = sorted({name for _, name in tests}, key=strategy_order)
    gains = {(name, where.delay): test for (where, name), test in tests.items()}
    rows = [(name, *(_gain(gains.get((name, delay))) for delay in delays)) for name in names]
    return Table(title, (f'against {reference}', *map(_delay_heading, delays)), tuple(rows))


def _gain(test: PairedTest | None) -> str:
    if test is None:
        return NOTHING
    gain = f'{100.0 * test.difference:+.0f}'
    if math.isnan(test.p_value):
        return gain
    return (
        f'{gain} (<.001)'
        if test.p_value < 0.001
        else f'{gain} ({test.p_value:.3f})'.replace('(0.', '(.')
    )
