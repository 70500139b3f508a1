# SPDX-License-Identifier: Apache-2.0
"""`async-chunking bench ...`: sweeps over delays, the regression guard, the pages of results."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from async_chunking.bench import report, sweep
from async_chunking.bench.campaign import Campaign
from async_chunking.bench.machine import machine
from async_chunking.bench.rows import Shards, encode
from async_chunking.bench.workers import cores
from async_chunking.errors import AsyncChunkingError
from async_chunking.sim import TASKS
from async_chunking.storage import write_files, write_json

QUICK_S = 420.0
QUICK = {
    'tasks': [next(iter(TASKS))],
    'strategies': 'all',
    'delays': [0, 2, 4, 8],
    'execution_horizons': [8],
}

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
    quick: Annotated[bool, typer.Option('--quick', help='All strategies, ten minutes.')] = False,
    rows: Rows = None,
    policies: Folder = '',
    processes: Processes = 0,
    ray: Annotated[str, typer.Option(help="Run on a Ray cluster: its address, or 'auto'.")] = '',
    json_file: Annotated[Path | None, typer.Option('--json', help='Write the numbers.')] = None,
    against: Annotated[
        str, typer.Option(help='Strategy that the others are compared with, in pairs.')
    ] = 'naive',
    parquet: Annotated[Path | None, typer.Option(help='Write all rows into one file.')] = None,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print for documents.')] = False,
) -> None:
    """Play strategies under delay and print how often they solve the task.

    A sweep names strategies, delays, execution horizons, tasks and seeds; docs/bench.md shows one.
    With --rows an interrupted sweep continues where it was.
    """
    if quick == (file is not None):
        raise UsageError('give a sweep file or --quick, one of them')
    from async_chunking.bench.scene import Bench

    console, bench, begin = Console(), Bench(policies), time.monotonic()
    wanted = (
        sweep.load(file)
        if file
        else sweep.Sweep(rollouts=sweep.BATCH, grids=(sweep.Grid.model_validate(QUICK),))
    )
    cells, skipped = sweep.expand(wanted, bench)
    if file and rows is None:
        rows = Path('runs') / 'bench' / file.stem
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(
            bench, Shards(rows or Path(scratch)), processes or cores(), ray, console
        )
        if quick:
            rollouts, rows_played = campaign.run_for(cells, QUICK_S)
        else:
            rollouts, rows_played = wanted.rollouts, campaign.run(cells, wanted.rollouts)
    seconds = time.monotonic() - begin
    report.show(console, rows_played, skipped, against, markdown)
    console.print(
        f'{rollouts} rollouts per cell, {len(rows_played)} in all, {seconds:.0f} s; '
        f'rows: {rows or "not kept (--rows)"}'
    )
    if json_file is not None:
        numbers = report.numbers(rows_played, skipped, against) | {
            'rollouts': rollouts,
            'seconds': seconds,
        }
        write_json(numbers, json_file)
    if parquet is not None:
        write_files({parquet: encode(rows_played)})


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
