# SPDX-License-Identifier: Apache-2.0
"""Side by side: what each player did at each delay, and who leads in which column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Interval, Point, condition_of, points, strategy_order
from async_chunking.bench.tables import mean, number, rate
from async_chunking.metrics.intervals import mean_interval
from async_chunking.tables import NOTHING, Table
from tools.peers.players import peer_of


class Result(NamedTuple):
    """
    One player at one delay.

    Attributes:
        point: What every bench says.
        stalls: Share of ticks on which no new action was sent, of the rollouts.
    """

    point: Point
    stalls: Interval

    @property
    def ours(self) -> bool:
        """Whether it is a strategy of this package."""
        return peer_of(self.point.strategy) is None


class Column(NamedTuple):
    """
    One column of the table.

    Attributes:
        heading: Name with unit.
        value: Number of a result, in that unit.
        more: Whether more is better.
        text: How it is written.
    """

    heading: str
    value: Callable[[Result], Interval]
    more: bool
    text: Callable[[Interval], str]


COLUMNS = (
    Column('solved [%]', lambda r: r.point.success, True, rate),
    Column('CON [mrad]', lambda r: r.point.consistency.scaled(1e3), False, lambda v: mean(v, 1)),
    Column('jerk [rad/s³]', lambda r: r.point.command_jerk, False, lambda v: mean(v, 0)),
    Column('stalls [%]', lambda r: r.stalls.scaled(1e2), False, lambda v: mean(v, 1)),
)


def results(rows: Sequence[Row]) -> dict[int, list[Result]]:
    """Return delay -> results, ours first."""
    shares: dict[tuple, list[float]] = {}
    for row in rows:
        still = (row['starved_ticks'] or 0) + (row['waiting_ticks'] or 0)
        key = condition_of(row), row['strategy']
        shares.setdefault(key, []).append(still / row['ticks'])
    by_delay: dict[int, list[Result]] = {}
    for point in points(rows):
        share = Interval(*mean_interval(shares[point.condition, point.strategy]))
        by_delay.setdefault(point.condition.delay.steps, []).append(Result(point, share))
    for each in by_delay.values():
        each.sort(key=lambda r: (not r.ours, strategy_order(r.point.strategy)))
    return dict(sorted(by_delay.items()))


def side_by_side(rows: Sequence[Row]) -> Table:
    """Return the table: players under each delay."""
    lines: list[tuple[str, ...]] = []
    for steps, each in results(rows).items():
        lines.append((f'd = {steps}',))
        for one in each:
            cells = (column.text(column.value(one)) for column in COLUMNS)
            last = number(one.point.calls), str(one.point.rollouts)
            lines.append((one.point.strategy, *cells, *last))
    headings = (column.heading for column in COLUMNS)
    return Table(
        _title(rows),
        ('player', *headings, 'calls', 'n'),
        tuple(lines),
        note='Solved with 95 % Wilson intervals, means with half their 95 % interval.',
    )


def leaders(rows: Sequence[Row]) -> Table:
    """Return who is best in each column, of ours and of the peers, and who of the two leads."""
    lines: list[tuple[str, ...]] = []
    for steps, each in results(rows).items():
        lines.append((f'd = {steps}',))
        for column in COLUMNS:
            mine = best(column, [one for one in each if one.ours])
            theirs = best(column, [one for one in each if not one.ours])
            cells = (_named(column, one) for one in (mine, theirs))
            lines.append((column.heading, *cells, verdict(column, mine, theirs)))
    return Table('Best of each side', ('column', 'ours', 'peers', 'ahead'), tuple(lines))


def best(column: Column, each: Sequence[Result]) -> Result | None:
    """Return the best result in a column; None if nobody has a number there."""
    known = [one for one in each if column.value(one).known]
    sign = -1.0 if column.more else 1.0
    return min(known, key=lambda one: sign * column.value(one).value, default=None)


def verdict(column: Column, mine: Result | None, theirs: Result | None) -> str:
    """Return which side is ahead: by intervals that do not meet, or nobody that can be told."""
    if mine is None or theirs is None:
        return NOTHING
    a, b = column.value(mine), column.value(theirs)
    if math.isclose(a.value, b.value, abs_tol=1e-9):
        return 'equal'
    if a.low > b.high or b.low > a.high:
        return 'ours' if (a.value > b.value) == column.more else 'peers'
    return 'not told apart'


def _named(column: Column, one: Result | None) -> str:
    if one is None:
        return NOTHING
    return f'{one.point.strategy} {column.text(column.value(one))}'


def _title(rows: Sequence[Row]) -> str:
    where = condition_of(rows[0])
    return f'{where.task}, H = {where.horizon}, s = {where.execution_horizon}'
