# SPDX-License-Identifier: Apache-2.0
"""The page of results: every table and figure from the stored rows, and what they mean.

What they mean is written by hand, in `discussion.md` beside the rows, and put at the end. A task
named `family/level` belongs to a family. Its levels are pooled where all of them were played, so
that no strategy is compared with another on easier levels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from async_chunking.bench import figures, report, rows, tables
from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Interval, Point, condition_of, paired, points
from async_chunking.strategies import STRATEGIES

HEAD = """# Results

Written by `async-chunking bench results` from the rows in `{source}`; do not edit.

Rates are in per cent with 95 % Wilson intervals, means with half their 95 % interval. *d* is the
delay and *s* the execution horizon [steps]; *calls* are velocity evaluations per chunk, a sample
each, backward passes not counted. CON is the mean absolute difference between a new chunk and what
was executed while it was drawn; strategies that wait for their chunk have none. Paired comparisons
are McNemar's exact test on the same episodes, delays and first noise.
"""

Keep = Callable[[Point], bool]


def write(place: Path, out: Path) -> Path:
    """Write `results.md` and its figures under `out` from the rows at `place`; return its path."""
    stored = rows.read(place)
    parts = [HEAD.format(source=place.as_posix())]
    for family in sorted({_family(row['task']) for row in stored}):
        section = TaskSection(
            [row for row in stored if _family(row['task']) == family], out, family
        )
        parts += section.parts()
    discussion = (place if place.is_dir() else place.parent) / 'discussion.md'
    if discussion.exists():
        parts.append(discussion.read_text(encoding='utf-8'))
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'results.md'
    path.write_text('\n'.join(part.strip('\n') + '\n' for part in parts), encoding='utf-8')
    return path


def _family(task: str) -> str:
    return task.partition('/')[0]


def pooled(rows: Sequence[Row], family: str) -> list[Row]:
    """Return the rows of those cells that all levels share, as of one task, named `family`."""
    levels = {row['task'] for row in rows}
    played: dict[tuple, set[str]] = {}
    for row in rows:
        played.setdefault(_cell(row), set()).add(row['task'])
    shared = (row for row in rows if played[_cell(row)] == levels)
    return [row | {'task': family, 'level': row['task']} for row in shared]


def _cell(row: Row) -> tuple:
    """Return strategy and condition of a row, whatever the task."""
    return row['strategy'], condition_of(row)._replace(task='')


@dataclass(frozen=True)
class TaskSection:
    """One family of tasks.

    Attributes:
        rows: Rows of the family.
        out: Folder of the page.
        family: Name.
    """

    rows: Sequence[Row]
    out: Path
    family: str

    def parts(self) -> Iterator[str]:
        """Yield the section's paragraphs, tables and figures."""
        for horizon in sorted({row['horizon'] for row in self.rows}):
            each = [row for row in self.rows if row['horizon'] == horizon]
            tasks = sorted({row['task'] for row in each})
            yield f'## {self.family}, H = {horizon}'
            yield self._about(each, tasks)
            if together := pooled(each, self.family):
                yield from self._pages(together, f'{self.family}-{horizon}')
            if len(tasks) > 1:
                yield from self._levels(each, tasks)

    def _about(self, each: Sequence[Row], tasks: Sequence[str]) -> str:
        counts = Counter(r['cell'] for r in each)
        least, most = min(counts.values()), max(counts.values())
        cells = f'{least}' if least == most else f'{least} to {most}'
        levels = f'{len(tasks)} levels, pooled: {", ".join(tasks)}. ' if len(tasks) > 1 else ''
        return f'{levels}{len(each)} rollouts, {cells} per cell.'

    def _pages(self, here: Sequence[Row], name: str) -> Iterator[str]:
        everything = points(here)
        exact = [p for p in everything if _is_exact(p.condition.delay)]
        main = _usual(exact)
        yield from self._against_delay(main, here, name)
        yield from self._variants(main, name)
        yield from self._against_execution_horizon(exact, name)
        yield from self._averaged(here)
        yield from self._disturbed(everything)

    def _against_delay(
        self, main: Sequence[Point], here: Sequence[Row], name: str
    ) -> Iterator[str]:
        s = sorted({p.condition.execution_horizon for p in main})
        yield f'### Against delay, s = {", ".join(map(str, s))}'
        single = [p for p in main if p.strategy in STRATEGIES]
        yield self._figure(single, f'{name}-solved', _steps, _success, ('delay [steps]', 'solved'))
        yield 'Solved [%]:\n\n' + tables.by_delay(main, '', report.solved).markdown()
        conditions = {point.condition for point in main}
        for reference in ('naive', 'paint'):
            tests = {k: t for k, t in paired(here, reference).items() if k[0] in conditions}
            if tests:
                table = tables.comparison(tests, reference, '')
                yield f'Solved more than {reference} [points], and p:\n\n{table.markdown()}'
        if any(p.consistency.known for p in main):
            labels = ('delay [steps]', 'CON [rad]')
            yield self._figure(single, f'{name}-con', _steps, _consistency, labels)
            shown = tables.by_delay(main, '', report.consistency, calls=False)
            yield 'CON [mrad]:\n\n' + shown.markdown()
        shown = tables.by_delay(main, '', report.completion_time, calls=False)
        yield 'Completion time of the solved episodes, ATR [s]:\n\n' + shown.markdown()
        if any(p.command_jerk.known for p in main):
            shown = tables.by_delay(main, '', report.seam_jump, calls=False)
            yield 'Jump of the plan where a chunk takes over [mrad]:\n\n' + shown.markdown()
            shown = tables.by_delay(main, '', report.command_jerk, calls=False)
            yield 'Jerk of the commands, root mean square [rad/s³]:\n\n' + shown.markdown()

    def _variants(self, main: Sequence[Point], name: str) -> Iterator[str]:
        inverted = [p for p in main if p.strategy == 'naive' or p.strategy.startswith('paint')]
        inverted = [p for p in inverted if '+' not in p.strategy]
        if len({p.strategy for p in inverted}) > 3:
            yield '### Inversion variants of paint'
            labels = ('delay [steps]', 'CON [rad]')
            yield self._figure(inverted, f'{name}-inversion', _steps, _consistency, labels)
            yield self._figure(
                inverted, f'{name}-inversion-solved', _steps, _success, ('delay [steps]', 'solved')
            )
        joined = {p.strategy for p in main if '+' in p.strategy}
        if joined:
            alone = {part for strategy in joined for part in strategy.split('+')}
            both = [p for p in main if p.strategy in joined | alone]
            yield '### Combinations'
            yield self._figure(
                both, f'{name}-combined', _steps, _success, ('delay [steps]', 'solved')
            )

    def _against_execution_horizon(self, exact: Sequence[Point], name: str) -> Iterator[str]:
        for delay in sorted({p.condition.delay.steps for p in exact}):
            there = [p for p in exact if p.condition.delay.steps == delay]
            times = Counter(point.strategy for point in there)
            there = [point for point in there if times[point.strategy] > 2]
            if not there:
                continue
            yield f'### Against execution horizon, d = {delay}'
            labels = ('execution horizon [steps]', 'solved')
            yield self._figure(
                there,
                f'{name}-horizon-{delay}',
                lambda p: p.condition.execution_horizon,
                _success,
                labels,
            )
            yield (
                'Solved [%]:\n\n'
                + tables.by_execution_horizon(there, '', report.solved).markdown()
            )
            yield (
                'CON [mrad]:\n\n'
                + tables.by_execution_horizon(there, '', report.consistency).markdown()
            )

    def _averaged(self, here: Sequence[Row]) -> Iterator[str]:
        exact = [r for r in here if _is_exact(condition_of(r).delay)]
        shared, alike = _shared(exact)
        if len(shared) > 2:
            listed = ', '.join(map(str, shared))
            together = points([row | {'execution_horizon': 0} for row in alike])
            yield f'### Against delay, over the execution horizons {listed}'
            yield 'Solved [%]:\n\n' + tables.by_delay(together, '', report.solved).markdown()

    def _disturbed(self, everything: Sequence[Point]) -> Iterator[str]:
        disturbed = [p for p in everything if not _is_exact(p.condition.delay)]
        if not disturbed:
            return
        timings = {(p.condition.delay.steps, p.condition.execution_horizon) for p in disturbed}
        names = {p.strategy for p in disturbed}
        shown = [
            p
            for p in everything
            if p.strategy in names
            and (p.condition.delay.steps, p.condition.execution_horizon) in timings
        ]
        yield '### Delays that vary, and estimates that are wrong'
        yield 'Solved [%]:\n\n' + tables.by_delay(shown, '', report.solved).markdown()
        yield 'CON [mrad]:\n\n' + tables.by_delay(shown, '', report.consistency).markdown()

    def _levels(self, here: Sequence[Row], tasks: Sequence[str]) -> Iterator[str]:
        yield '### Each level'
        for task in tasks:
            one = [row for row in here if row['task'] == task]
            main = _usual([p for p in points(one) if _is_exact(p.condition.delay)])
            yield f'{task}, solved [%]:\n\n{tables.by_delay(main, "", report.solved).markdown()}'

    def _figure(
        self,
        drawn: Sequence[Point],
        name: str,
        x: Callable[[Point], float],
        y: Callable[[Point], Interval],
        labels: tuple[str, str],
    ) -> str:
        path = self.out / 'images' / f'results_{name}.png'
        figures.draw(path, drawn, x, y, labels)
        return f'![{labels[1]} against {labels[0]}](images/results_{name}.png)'


def _is_exact(delay: DelayModel) -> bool:
    return delay.truth == 'constant' and delay.told == 'exact'


def _usual(exact: Sequence[Point]) -> list[Point]:
    """Return one point per strategy and delay.

    Those with s = max(1, d) if they cover most delays, else those of the s that does.
    """
    delays: dict[int, set[int]] = {}
    for where in {point.condition for point in exact}:
        delays.setdefault(where.execution_horizon, set()).add(where.delay.steps)
    usual = max(delays, key=lambda s: (len(delays[s]), s))
    follows = [p for p in exact if p.condition.execution_horizon == max(1, _steps(p))]
    if len({_steps(p) for p in follows}) >= len(delays[usual]):
        return follows
    return [p for p in exact if p.condition.execution_horizon == usual]


def _execution_horizons(rows: Sequence[Row]) -> dict[int, set[int]]:
    """Return delay -> the execution horizons it was measured with."""
    horizons: dict[int, set[int]] = {}
    for row in rows:
        horizons.setdefault(row['delay'], set()).add(row['execution_horizon'])
    return horizons


def _shared(rows: Sequence[Row]) -> tuple[list[int], list[Row]]:
    """Return execution horizons measured at several delays, and rows that have each as often.

    Delays with fewer than three of them are left out, and strategies that lack one.
    """
    many = {d: s for d, s in _execution_horizons(rows).items() if len(s) > 2}
    shared = sorted(set.intersection(*many.values())) if len(many) > 1 else []
    wanted = {(d, s) for d in many for s in shared}
    counts: dict[str, dict[tuple[int, int], int]] = {}
    for row in rows:
        cell = row['delay'], row['execution_horizon']
        if cell in wanted:
            mine = counts.setdefault(row['strategy'], {})
            mine[cell] = max(mine.get(cell, 0), row['rollout'] + 1)
    least = {name: min(c.values()) for name, c in counts.items() if c.keys() == wanted}
    alike = [
        row
        for row in rows
        if (row['delay'], row['execution_horizon']) in wanted
        and row['rollout'] < least.get(row['strategy'], 0)
    ]
    return shared, alike


def _steps(point: Point) -> float:
    return point.condition.delay.steps


def _success(point: Point) -> Interval:
    return point.success


def _consistency(point: Point) -> Interval:
    return point.consistency
