# SPDX-License-Identifier: Apache-2.0
"""The report as text: tables for a terminal, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from async_chunking.bags.compare import Comparison, Estimate, StrategyReport, flatten
from async_chunking.bags.summary import BagReport, RunReport


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
_COLUMNS = 4  # More strategies do not fit side by side.


def show(
    console: Console,
    strategies: Sequence[StrategyReport],
    comparisons: Sequence[Comparison],
) -> None:
    """Print the strategies side by side, then the tests between them."""
    for begin in range(0, len(strategies), _COLUMNS):
        console.print(_figures_table(strategies[begin : begin + _COLUMNS]))
    if comparisons:
        console.print(_tests_table(comparisons))


def show_runs(console: Console, runs: Sequence[RunReport]) -> None:
    """Print one line for each run: the papers' figures."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ('recording', 'run', 'strategy'):
        table.add_column(name)
    rows = [SECTIONS['Boundaries'][0], SECTIONS['Boundaries'][2], SECTIONS['Delay'][1],
            SECTIONS['Stream'][2], SECTIONS['Stream'][0]]  # fmt: skip
    for heading in ('success', 'CON [rad]', 'jump [rad]', 'delay', 'starved', 'duration [s]'):
        table.add_column(escape(heading), justify='right')
    for run in runs:
        flat = flatten(run.figures)
        success = {None: '–', True: 'yes', False: 'no'}[flat['success']]
        numbers = [number_text(flat[row.figure], row.form) for row in rows]
        name = f'{run.key.run_id:x}'[-6:]
        table.add_row(run.path.name, name, run.strategy, success, *numbers)
    console.print(table)


def _figures_table(strategies: Sequence[StrategyReport]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column('')
    for strategy in strategies:
        runs = len(strategy.runs)
        heading = f'{strategy.strategy}\n{runs} run{"s" * (runs != 1)}'
        if strategy.cut_off:
            heading += f' (+{strategy.cut_off} cut off)'
        table.add_column(heading, justify='right')
    for title, lines in known_sections(strategies):
        table.add_section()
        table.add_row(f'[bold]{title}')
        for label, cells in lines:
            table.add_row(escape(label), *map(escape, cells))
    return table


def known_sections(
    strategies: Sequence[StrategyReport],
) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """Yield each section's title and its lines: label, and a text for each strategy."""
    for title, rows in SECTIONS.items():
        lines = [(row.label, [estimate_text(s, row) for s in strategies]) for row in rows]
        lines = [(label, texts) for label, texts in lines if set(texts) != {'–'}]
        if lines:
            yield title, lines


def _tests_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title='Paired tests by scene (success: McNemar, exact; others: Wilcoxon signed-rank)',
        title_justify='left',
    )
    for heading in ('figure', 'first', 'second'):
        table.add_column(heading)
    for heading in ('pairs', 'second - first', 'p'):
        table.add_column(heading, justify='right')
    for figure, first, second, test in comparisons:
        p_value = number_text(test.p_value, '.2g')
        difference = f'{test.difference:+.4g}'
        table.add_row(escape(LABELS[figure]), first, second, str(test.pairs), difference, p_value)
    return table


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
        return '–'
    text = f'{value * scale:{form}}'
    return text.removesuffix('.0') if form == '.1f' else text


def as_data(
    bags: Sequence[BagReport],
    strategies: Sequence[StrategyReport],
    comparisons: Sequence[Comparison],
) -> dict[str, Any]:
    """Return the whole report as what JSON can hold; numbers that are not finite become null."""
    return _finite({
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
    })  # fmt: skip


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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write the report for programs."""
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + '\n', encoding='utf-8')


def write_csv(path: Path, bags: Sequence[BagReport]) -> None:
    """Write one line for each run."""
    rows = [flatten(_run_data(run)) for bag in bags for run in bag.runs]
    rows = [{**row, 'joint_names': ' '.join(row['joint_names'])} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
