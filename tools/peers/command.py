# SPDX-License-Identifier: Apache-2.0
"""`python -m tools peers`: our strategies beside the schedulers of other packages, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from async_chunking.bench.asked import whole
from async_chunking.bench.campaign import Campaign
from async_chunking.bench.rows import Row, Shards, encode, read
from async_chunking.bench.scene import Bench
from async_chunking.bench.workers import cores
from async_chunking.storage import write_files
from async_chunking.tables import show
from tools.peers.players import OURS, PEERS, Players
from tools.peers.table import leaders, side_by_side


def peers(
    env: Annotated[str, typer.Option(help='Environment, as of `bench delay`.')] = 'viperx_slalom',
    policy: Annotated[str, typer.Option(help='Policy, as of `bench delay`.')] = '',
    players: Annotated[
        str, typer.Option(help='Strategies and peers with commas; NAME+gate with our limits.')
    ] = '',
    delays: Annotated[str, typer.Option(help='Delays with commas [steps].')] = '0,2,4,8',
    execution_horizon: Annotated[
        int, typer.Option(min=0, help='Rows between two requests; 0 for the usual.')
    ] = 0,
    rollouts: Annotated[int, typer.Option(min=1, help='For each cell.')] = 64,
    rows: Annotated[
        Path | None, typer.Option(help='Keep rows here, and go on from those there.')
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help='Processes; 0 for one per core.')] = 0,
    parquet: Annotated[Path | None, typer.Option(help='Write all rows into one file.')] = None,
    stored: Annotated[
        Path | None, typer.Option(help='Play nothing: show the rows of this file.')
    ] = None,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print for documents.')] = False,
) -> None:
    """Play strategies and schedulers of other packages on the same episodes, delays and noise."""
    console = Console()
    if stored is not None:
        _show(read(stored), markdown, console)
        return
    play = Players(Bench('', policy))
    names = [word.strip() for word in players.split(',') if word.strip()] or [*OURS, *PEERS]
    steps = [int(word) for word in delays.split(',')]
    usual = execution_horizon or play.bench.execution_horizon(env)
    cells, skipped = play.cells(env, names, steps, usual)
    with tempfile.TemporaryDirectory() as scratch:
        shards = Shards(rows or Path(scratch))
        campaign = Campaign(play, shards, processes or cores(), '', console)
        played = campaign.run(cells, whole(rollouts))
    if played:
        _show(played, markdown, console)
    for item in skipped:
        console.print(f'skipped {item.strategy}: {item.reason}', markup=False)
    if parquet is not None:
        write_files({parquet: encode(played)})


def _show(rows: Sequence[Row], markdown: bool, console: Console) -> None:
    show(side_by_side(rows), markdown, console)
    show(leaders(rows), markdown, console)
