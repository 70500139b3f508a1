# SPDX-License-Identifier: Apache-2.0
"""What a sweep prints: one table a question, and the same numbers for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any

from rich.console import Console

from async_chunking.bench import tables
from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Point, paired, points
from async_chunking.bench.sweep import Skipped
from async_chunking.environments.gym import RAISED
from async_chunking.tables import Table
from async_chunking.tables import show as show_table


def show(
    console: Console,
    rows: Sequence[Row],
    skipped: Sequence[Skipped],
    reference: str = 'naive',
    markdown: bool = False,
    units: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """
    Print solve rates, CON and paired tests for each task and execution horizon.

    Args:
        console: Where to.
        rows: What was played.
        skipped: What was not.
        reference: Strategy that the others are compared with.
        markdown: Print for documents.
        units: Task -> unit of its actions, where it is not rad.
    """

    def put(table: Table) -> None:
        show_table(table, markdown, console)

    for (task, horizon, execution_horizon), group in _sections(points(rows)):
        where = f'{task}, H = {horizon}, s = {execution_horizon}'
        put(tables.by_delay(group, f'Solved [%], {where}', solved))
        if any(point.consistency.known for point in group):
            unit = _thousandth(units.get(task, 'rad'))
            put(tables.by_delay(group, f'CON [{unit}], {where}', consistency))
        conditions = {point.condition for point in group}
        tests = {
            key: test for key, test in paired(rows, reference).items() if key[0] in conditions
        }
        if tests:
            title = f'Solved more than {reference} [points] (McNemar p), {where}'
            put(tables.comparison(tests, reference, title))
    for task, words, count in _broken(rows):
        console.print(f'{task}: {count} rollouts ended as {words}', markup=False)
    for item in skipped:
        console.print(f'skipped {item.strategy} on {item.task}: {item.reason}', markup=False)


def numbers(
    rows: Sequence[Row], skipped: Sequence[Skipped], reference: str = 'naive'
) -> dict[str, Any]:
    """Return the same for JSON."""
    return {
        'points': [point.plain() for point in points(rows)],
        'paired': [
            {
                'reference': reference,
                'strategy': name,
                'task': where.task,
                'delay': where.delay.label,
                'execution_horizon': where.execution_horizon,
                'difference': test.difference,
                'p_value': test.p_value if test.p_value == test.p_value else None,
                'pairs': test.pairs,
            }
            for (where, name), test in paired(rows, reference).items()
        ],
        'skipped': [vars(item) for item in skipped],
    }


def solved(point: Point) -> str:
    """Return the solve rate for a table."""
    return tables.rate(point.success)


def consistency(point: Point) -> str:
    """Return CON for a table [mrad]."""
    return tables.mean(point.consistency.scaled(1e3), 1)


def seam_jump(point: Point) -> str:
    """Return the jump at takeovers for a table [mrad]."""
    return tables.mean(point.seam_jump.scaled(1e3), 1)


def command_jerk(point: Point) -> str:
    """Return the jerk of the commands for a table [rad/s^3]."""
    return tables.mean(point.command_jerk, 0)


def completion_time(point: Point) -> str:
    """Return ATR for a table [s]."""
    return tables.mean(point.completion_time, 2)


def _thousandth(unit: str) -> str:
    return 'mrad' if unit == 'rad' else f'1/1000 {unit}'


def _broken(rows: Iterable[Row]) -> list[tuple[str, str, int]]:
    """Return what environments raised: task, words, how often. Such a rollout is a failure."""
    each = Counter((r['task'], r['failure']) for r in rows if RAISED in (r['failure'] or ''))
    return [(task, words, count) for (task, words), count in each.most_common()]


def _sections(each: Iterable[Point]) -> Iterable[tuple[tuple, list[Point]]]:
    def key(point: Point) -> tuple:
        where = point.condition
        return where.task, where.horizon, where.execution_horizon

    for where, group in groupby(sorted(each, key=key), key):
        yield where, list(group)
