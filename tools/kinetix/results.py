# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the evaluated cells: per level, and over all levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from async_chunking.bench import figures, tables
from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Interval, Point, paired, points
from async_chunking.errors import AsyncChunkingError
from async_chunking.tables import Table
from tools.kinetix.data import HORIZON
from tools.kinetix.levels import LEVELS

BEGIN, END = '<!-- results: written by `tools kinetix tables --page` -->', '<!-- end -->'
MAIN = ('naive', 'bid', 'rtc', 'paint')
SOLVED, STEPS = 'solved', 'delay [steps]'


class PageError(AsyncChunkingError):
    """A page has no place for the results."""


def all_tables(rows: Sequence[Row]) -> Iterator[Table]:
    """Yield the tables: over all levels, each level, execution horizons; for every horizon."""
    for horizon in sorted({row['horizon'] for row in rows}):
        here = [row for row in rows if row['horizon'] == horizon]
        pooled = on_all_levels(here)
        levels = level_names(here)
        if pooled:
            title = f'All {len(levels)} levels, H = {horizon}'
            yield from _by_delay(points(pooled), title)
            for reference in ('naive', 'rtc'):
                others = [row for row in pooled if row['strategy'] in (reference, *MAIN[1:])]
                tests = paired(others, reference)
                heading = f'{title}: solved more than {reference} [points] (p)'
                yield tables.comparison(tests, reference, heading)
        for level in levels:
            points_here = points([row for row in here if row['task'] == f'kinetix/{level}'])
            yield from _by_delay(_usual(points_here), f'{level}, H = {horizon}')
            yield from _by_execution_horizon(points_here, f'{level}, H = {horizon}')


def all_figures(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write the figures that the rows allow into a folder; return their paths."""
    written = []
    for horizon in sorted({row['horizon'] for row in rows}):
        here = [r for r in rows if r['horizon'] == horizon and r['strategy'] in MAIN]
        levels = level_names(here)
        by_level = {
            level: points([row for row in here if row['task'] == f'kinetix/{level}'])
            for level in levels
        }
        name = '' if horizon == HORIZON else f'_h{horizon}'
        pooled = points(on_all_levels(here))
        everything = {f'all {len(levels)} levels': pooled} if pooled else {}
        parts = everything | {level: _usual(each) for level, each in by_level.items()}
        path = folder / f'kinetix_solved{name}.png'
        figures.draw_panels(path, parts, _delay, _success, (STEPS, SOLVED))
        written.append(path)
        swept = {level: _swept(each) for level, each in by_level.items() if _swept(each)}
        if swept:
            path = folder / f'kinetix_horizon{name}.png'
            labels = ('execution horizon [steps]', SOLVED)
            figures.draw_panels(path, swept, _execution_horizon, _success, labels)
            written.append(path)
    return written


def put_into_page(page: Path, shown: Sequence[Table]) -> None:
    """Replace what stands between the two marks of a Markdown page by tables.

    Raises:
        PageError: The page lacks the marks.
    """
    text = page.read_text(encoding='utf-8')
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise PageError(f'{page} needs the lines {BEGIN!r} and {END!r}, around the tables')
    parts = [f'**{table.title}**\n\n{table.markdown()}' for table in shown]
    page.write_text('\n'.join([head + begin + '\n', *parts, end]) + tail, encoding='utf-8')


def on_all_levels(rows: Sequence[Row]) -> list[Row]:
    """
    Return the rows of the usual conditions that were played on every level, as of one task.

    Rollouts are numbered through, so that paired tests keep levels apart; none of one level.
    """
    levels = level_names(rows)
    usual = [row for row in rows if row['execution_horizon'] == max(1, row['delay'])]
    played: dict[tuple, set[str]] = {}
    for row in usual:
        played.setdefault(_cell(row), set()).add(row['task'])
    everywhere = {cell for cell, tasks in played.items() if len(tasks) == len(levels)}
    first = {f'kinetix/{level}': index * 1_000_000 for index, level in enumerate(levels)}
    chosen = [row for row in usual if _cell(row) in everywhere]
    pooled = {'task': 'kinetix, all levels'}
    numbered = [row | pooled | {'rollout': row['rollout'] + first[row['task']]} for row in chosen]
    return numbered if len(levels) > 1 else []


def level_names(rows: Sequence[Row]) -> list[str]:
    """Return the levels that rows are of, in the usual order."""
    tasks = {row['task'] for row in rows}
    return [level for level in LEVELS if f'kinetix/{level}' in tasks]


def _by_delay(each: Sequence[Point], title: str) -> Iterator[Table]:
    yield tables.by_delay(each, f'{title}: solved [%]', _rate)
    late = [point for point in each if point.condition.delay.steps]
    if late:
        yield tables.by_delay(late, f'{title}: CON', _con, calls=False)


def _by_execution_horizon(each: Sequence[Point], title: str) -> Iterator[Table]:
    if swept := _swept(each):
        title = f'{title}, d = {swept[0].condition.delay.steps}'
        yield tables.by_execution_horizon(swept, f'{title}: solved [%]', _rate)
        yield tables.by_execution_horizon(swept, f'{title}: CON', _con)


def _usual(each: Sequence[Point]) -> list[Point]:
    """Return the points whose execution horizon is the shortest that the delay allows."""
    return [p for p in each if p.condition.execution_horizon == max(1, _delay(p))]


def _swept(each: Sequence[Point]) -> list[Point]:
    """Return the points of the first delay with three execution horizons and more."""
    for delay in sorted({_delay(point) for point in each}):
        there = [point for point in each if _delay(point) == delay]
        if len({_execution_horizon(point) for point in there}) > 2:
            return there
    return []


def _cell(row: Row) -> tuple:
    return tuple(row[key] for key in ('strategy', 'delay', 'execution_horizon', 'horizon'))


def _delay(point: Point) -> int:
    return point.condition.delay.steps


def _execution_horizon(point: Point) -> int:
    return point.condition.execution_horizon


def _success(point: Point) -> Interval:
    return point.success


def _rate(point: Point) -> str:
    return tables.rate(point.success)


def _con(point: Point) -> str:
    return tables.mean(point.consistency, 3)
