# SPDX-License-Identifier: Apache-2.0
"""`async-chunking bench ...`: sweeps over delays, the regression guard, the pages of results."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from async_chunking.bench import asked, protocols, report, sweep
from async_chunking.bench.campaign import Campaign
from async_chunking.bench.machine import machine
from async_chunking.bench.rows import Row, Shards, encode, read, renewed
from async_chunking.bench.workers import cores
from async_chunking.environments.arena import shipped_name
from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import write_files, write_json
from async_chunking.tables import show as show_table

if TYPE_CHECKING:
    from async_chunking.bench.scene import Bench

app = typer.Typer(
    help='Closed-loop benchmarks under delay.', no_args_is_help=True, rich_markup_mode=None
)

app.command()(machine)

Rows = Annotated[
    Path | None, typer.Option(help='Keep rows here, and continue from those that are there.')
]
Folder = Annotated[str, typer.Option(help='Folder with a folder of checkpoints for each task.')]
Processes = Annotated[int, typer.Option(min=0, help='Processes; 0 for one per core.')]


class UsageError(AsyncChunkingError):
    """The command line contradicts itself."""


@app.command()
def delay(
    file: Annotated[Path | None, typer.Argument(help='Sweep, YAML.')] = None,
    quick: Annotated[
        bool, typer.Option('--quick', help='All strategies, ten minutes; with --env some, five.')
    ] = False,
    env: Annotated[
        str, typer.Option(help='An environment by name, or the path of its description.')
    ] = '',
    policy: Annotated[
        str,
        typer.Option(
            help='Shipped name, folder, lerobot:DIR, torch:module:factory, ws://HOST:PORT.'
        ),
    ] = '',
    strategies: Annotated[
        str, typer.Option(help='With --env: names with commas, or all.')
    ] = 'all',
    delays: Annotated[str, typer.Option(help='With --env [steps].')] = '0,2,4,8',
    execution_horizon: Annotated[
        str,
        typer.Option(help="With --env [steps]: a number, or 'delay'; empty for its usual one."),
    ] = '',
    protocol: Annotated[
        str, typer.Option(help='With --env, instead of delays: rtc, remac, review, robot.')
    ] = '',
    rollouts: Annotated[int, typer.Option(min=1, help='With --env, for each cell.')] = 64,
    rows: Rows = None,
    policies: Folder = '',
    processes: Processes = 0,
    ray: Annotated[str, typer.Option(help="Run on a Ray cluster: its address, or 'auto'.")] = '',
    json_file: Annotated[Path | None, typer.Option('--json', help='Write the numbers.')] = None,
    against: Annotated[
        str, typer.Option(help='Strategy that the others are compared with, in pairs.')
    ] = 'naive',
    parquet: Annotated[Path | None, typer.Option(help='Write all rows into one file.')] = None,
    into: Annotated[
        Path | None, typer.Option(help='Put the rows in the place of older ones in this file.')
    ] = None,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print for documents.')] = False,
) -> None:
    """Play strategies under delay and print how often they solve the task.

    A sweep names strategies, delays, execution horizons, tasks and seeds; docs/bench.md shows one.
    --env asks of one environment, with any policy; docs/environments.md has the environments.
    With --rows an interrupted sweep continues where it was.
    """
    if (file is not None) == bool(env or quick):
        raise UsageError('give a sweep file, or --env, or --quick, or the last two')
    if protocol and (quick or not env):
        raise UsageError('--protocol goes with --env, and not with --quick')
    from async_chunking.bench.scene import Bench

    console, bench, begin = Console(), Bench(policies, policy), time.monotonic()
    if file:
        wanted = sweep.load(file)
    elif quick:
        wanted = asked.quick(env, bench)
    elif protocol:
        wanted = asked.by_protocol(protocol, env, strategies, rollouts, bench)
    else:
        wanted = asked.sweep_of(env, strategies, delays, execution_horizon, rollouts, bench)
    cells, skipped = sweep.expand(wanted, bench)
    _say_notes(console, bench, cells)
    rows = rows or _kept_in(file, env)
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(
            bench, Shards(rows or Path(scratch)), processes or cores(), ray, console
        )
        if quick:
            played, rows_played = campaign.run_for(cells, asked.seconds(env))
        else:
            played, rows_played = wanted.rollouts, campaign.run(cells, wanted.rollouts)
    seconds = time.monotonic() - begin
    report.show(console, rows_played, skipped, against, markdown, _units(bench, cells))
    if protocol:
        summary = protocols.table(protocol, rows_played, bench.execution_horizon(env))
        show_table(summary, markdown, console)
    console.print(
        f'{played} rollouts per cell, {len(rows_played)} in all, {seconds:.0f} s; '
        f'rows: {rows or "not kept (--rows)"}'
    )
    if json_file is not None:
        numbers = report.numbers(rows_played, skipped, against)
        write_json(numbers | {'rollouts': played, 'seconds': seconds}, json_file)
    _write(rows_played, parquet, into)


def _write(rows: list[Row], parquet: Path | None, into: Path | None) -> None:
    if parquet is not None:
        write_files({parquet: encode(rows)})
    if into is not None:
        write_files({into: encode(renewed(read(into), rows))})


def _kept_in(file: Path | None, env: str) -> Path | None:
    """Return where rows are kept unless told; those of --quick alone are not."""
    if file is not None:
        return Path('runs') / 'bench' / file.stem
    return Path('runs') / 'bench' / shipped_name(Path(env).name) if env else None


def _units(bench: Bench, cells: list[sweep.Cell]) -> dict[str, str]:
    return {cell.task: bench.unit(cell.task) for cell in cells}


def _say_notes(console: Console, bench: Bench, cells: list[sweep.Cell]) -> None:
    for task in dict.fromkeys(cell.task for cell in cells):
        if note := bench.note(task):
            console.print(f'{task}: {note}', markup=False)


@app.command()
def results(
    rows: Annotated[Path, typer.Option(help='File or folder of rows.')] = Path('docs/results'),
    out: Annotated[Path, typer.Option(help='Folder of results.md and its figures.')] = Path(
        'docs'
    ),
) -> None:
    """Write the page of results and its figures from stored rows."""
    from async_chunking.bench.page import write

    path = write(rows, out)
    typer.echo(f'wrote {path}')
