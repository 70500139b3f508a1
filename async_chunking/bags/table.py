# SPDX-License-Identifier: Apache-2.0
"""The report as text: tables for a terminal, JSON and CSV for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from async_chunking.bags.compare import Comparison, Estimate, StrategyReport, flatten
from async_chunking.bags.summary import BagReport, RunReport
from async_chunking.tables import NOTHING, Table
from async_chunking.tables import show as show_table


class Row(NamedTuple):
    """
    One line of the table.

    Attributes:
        figure: Path of the figure.
        label: What people call it, with its unit.
        form: Format of the number.
        scale: The number is multiplied by it.
        interval: Whether its interval is shown.
    """

    figure: str
    label: str
    form: str = '.0f'
    scale: float = 1.0
    interval: bool = False


SECTIONS: dict[str, tuple[Row, ...]] = {
    'Task': (
        Row('success_rate', 'SR, success rate', '.2f', interval=True),
        Row('completion_time_s', 'ATR, time of successes [s]', '.2f', interval=True),
    ),
    'Boundaries': (
        Row('consistency_rad', 'CON, mean |new - old| [rad]', '.4f', interval=True),
        Row('consistency_l2_rad', 'CON, mean L2 norm per step [rad]', '.4f', interval=True),
        Row('seam_jump_rad', 'seam jump, mean [rad]', '.4f', interval=True),
        Row('seam_jump_max_rad', 'seam jump, max [rad]', '.4f'),
        Row('command_jerk_rad_s3', 'jerk of the commands, rms [rad/s³]', '.1f', interval=True),
        Row('measured_jerk_rad_s3', 'jerk as measured, rms [rad/s³]', '.1f', interval=True),
    ),
    'Delay': (
        Row('delay_steps.p50', 'delay, median [steps]', '.1f'),
        Row('delay_steps.max', 'delay, max [steps]', '.1f'),
        Row('conditioned_delay_steps.p50', 'conditioned on, median [steps]', '.1f'),
        Row('over_conditioned', 'later than conditioned [%]', '.1f', 100.0),
        Row('delay_ms.total', 'request to takeover, mean [ms]', '.1f'),
        Row('delay_ms.waiting', '  waiting for inference [ms]', '.1f'),
        Row('delay_ms.inference', '  inference [ms]', '.1f'),
        Row('delay_ms.transport', '  transport and next tick [ms]', '.1f'),
        Row('delay_ms.observation_age', 'age of the observation [ms]', '.1f'),
    ),
    'Stream': (
        Row('duration_s', 'duration [s]', '.1f'),
        Row('seams', 'boundaries with an overlap', '.1f'),
        Row('starved_ticks', 'starved ticks', '.1f'),
        Row('missed_ticks', 'missed ticks', '.1f'),
        Row('late_chunks', 'late chunks', '.1f'),
        Row('rejected_chunks', 'rejected chunks', '.1f'),
        Row('period_ms.p50', 'period, median [ms]', '.3f'),
        Row('period_ms.p99', 'period, 99 % [ms]', '.3f'),
        Row('period_ms.max', 'period, max [ms]', '.3f'),
    ),
    'Limits': (
        Row('limits.position_margin_rad', 'least distance to a position limit [rad]', '.4f'),
        Row('limits.velocity_use', 'velocity, share of its limit [%]', '.1f', 100.0),
        Row('limits.acceleration_use', 'acceleration, share of its limit [%]', '.1f', 100.0),
        Row('limits.jerk_use', 'jerk, share of its limit [%]', '.1f', 100.0),
        Row('limits.exceeded', 'limits exceeded', '.1f'),
    ),
}
JERK_NOTE = (
    'Jerk as measured is that of the joints in joint_states, sensor noise and the time between '
    'messages included: it tells runs of one robot apart, and is not to be held against a limit.'
)
# What tests are about, briefly.
LABELS = {
    'success': 'SR',
    'completion_time_s': 'ATR [s]',
    'consistency_rad': 'CON, absolute [rad]',
    'consistency_l2_rad': 'CON, L2 [rad]',
    'seam_jump_rad': 'seam jump [rad]',
    'command_jerk_rad_s3': 'jerk, commands',
    'measured_jerk_rad_s3': 'jerk, measured',
}


def show(
    console: Console,
    strategies: Sequence[StrategyReport],
    comparisons: Sequence[Comparison],
) -> None:
    """Print the strategies side by side, then the tests between them."""
    show_table(_figures_table(strategies), console=console)
    if comparisons:
        show_table(_tests_table(comparisons), console=console)


def show_runs(console: Console, runs: Sequence[RunReport]) -> None:
    """Print one line for each run: the papers' figures."""
    words = ('run', 'strategy')
    headings = ('success', 'CON [rad]', 'jump [rad]', 'delay', 'starved', 'duration [s]')
    rows = tuple(map(_run_row, runs))
    show_table(Table('', ('recording', *words, *headings), rows, words), console=console)


def _run_row(run: RunReport) -> tuple[str, ...]:
    shown = [SECTIONS['Boundaries'][0], SECTIONS['Boundaries'][2], SECTIONS['Delay'][1],
             SECTIONS['Stream'][2], SECTIONS['Stream'][0]]  # fmt: skip
    flat = flatten(run.figures)
    success = {None: NOTHING, True: 'yes', False: 'no'}[flat['success']]
    numbers = [number_text(flat[row.figure], row.form) for row in shown]
    return run.path.name, f'{run.key.run_id:x}'[-6:], run.strategy, success, *numbers


def _figures_table(strategies: Sequence[StrategyReport]) -> Table:
    headings = []
    for strategy in strategies:
        runs = len(strategy.runs)
        heading = f'{strategy.strategy}\n{runs} run{"s" * (runs != 1)}'
        if strategy.cut_off:
            heading += f'\n+{strategy.cut_off} cut off'
        headings.append(heading)
    rows: list[tuple[str, ...]] = []
    for title, lines in known_sections(strategies):
        rows += [(title,), *((label, *cells) for label, cells in lines)]
    note = JERK_NOTE if any('as measured' in row[0] for row in rows) else ''
    return Table('', ('', *headings), tuple(rows), note=note)


def known_sections(
    strategies: Sequence[StrategyReport],
) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Yield each section's title and its lines: label, and a text for each strategy."""
    for title, rows in SECTIONS.items():
        lines = [(row.label, [estimate_text(s, row) for s in strategies]) for row in rows]
        lines = [(label, texts) for label, texts in lines if set(texts) != {NOTHING}]
        if lines:
            yield title, lines


def _tests_table(comparisons: Sequence[Comparison]) -> Table:
    title = 'Paired tests by scene (success: McNemar, exact; others: Wilcoxon signed-rank)'
    words = ('first', 'second')
    rows = tuple(
        (LABELS[figure], first, second, str(test.pairs), f'{test.difference:+.4g}',
         number_text(test.p_value, '.2g'))
        for figure, first, second, test in comparisons
    )  # fmt: skip
    return Table(title, ('figure', *words, 'pairs', 'second - first', 'p'), rows, words)


def estimate_text(strategy: StrategyReport, row: Row) -> str:
    """Return a figure of a strategy as people read it."""
    missing = Estimate(math.nan, math.nan, math.nan, 0)
    value = strategy.figures.get(row.figure, missing)
    if row.figure == 'success_rate':
        value = strategy.success_rate
    mean, low, high, _ = value
    text = number_text(mean, row.form, row.scale)
    if row.interval and math.isfinite(low):
        text += f' [{low * row.scale:{row.form}}, {high * row.scale:{row.form}}]'
    return text


def number_text(value: float | None, form: str, scale: float = 1.0) -> str:
    """Return a number as people read it; a dash if it is unknown."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f'{value * scale:{form}}'
    return text.removesuffix('.0') if form == '.1f' else text


def as_data(
    bags: Sequence[BagReport],
    strategies: Sequence[StrategyReport],
    comparisons: Sequence[Comparison],
) -> dict[str, Any]:
    """Return the whole report for `storage.write_json`."""
    return {
        'strategies': {
            s.strategy: {
                'runs': len(s.runs),
                'cut_off': s.cut_off,
                'success_rate': s.success_rate._asdict(),
                **{path: estimate._asdict() for path, estimate in s.figures.items()},
            }
            for s in strategies
        },
        'tests': [
            {'figure': c.figure, 'first': c.first, 'second': c.second,
             **c.test._asdict()}
            for c in comparisons
        ],
        'runs': [_run_data(run) for bag in bags for run in bag.runs],
        'problems': [problem for bag in bags for problem in bag.problems],
    }  # fmt: skip


def _run_data(run: RunReport) -> dict[str, Any]:
    return {
        'recording': str(run.path),
        'run_id': f'{run.key.run_id:x}',
        'topic': run.key.topic,
        'trial': run.trial,
        'first_tick': run.first,
        'joint_names': list(run.joint_names),
        'checkpoint': run.checkpoint,
        'checkpoints': run.snapshot.get('checkpoints', {}),
        'versions': run.snapshot.get('versions', {}),
        **run.figures,
    }


def write_csv(path: Path, bags: Sequence[BagReport]) -> None:
    """Write one line for each run."""
    rows = [flatten(_run_data(run)) for bag in bags for run in bag.runs]
    rows = [{**row, 'joint_names': ' '.join(row['joint_names'])} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)


def _inert(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: texts come from recordings."""
    risky = isinstance(value, str) and value.startswith(('=', '+', '-', '@', '\t', '\r'))
    return f"'{value}" if risky else value
