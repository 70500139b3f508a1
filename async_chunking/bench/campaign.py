# SPDX-License-Identifier: Apache-2.0
"""Carry a sweep out: what is missing is played, stored, and read back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from async_chunking.bench.rows import Row, Shards
from async_chunking.bench.sweep import BATCH, Cell, Unit, units
from async_chunking.bench.workers import Play, in_processes, on_ray


@dataclass(frozen=True)
class Campaign:
    """Where and how to run.

    Attributes:
        play: Plays one unit of work.
        shards: Where rows are kept.
        processes: On this machine.
        ray: Address of a Ray cluster to run on instead; empty for none.
        console: For the progress bar.
    """

    play: Play
    shards: Shards
    processes: int
    ray: str
    console: Console

    def run(self, cells: Sequence[Cell], rollouts: int) -> list[Row]:
        """Play `rollouts` of each cell, except those that are stored; return all their rows."""
        todo = units(list(cells), rollouts)
        self._play(self.shards.missing(todo), len(todo))
        return self.shards.read(todo)

    def run_for(self, cells: Sequence[Cell], seconds: float) -> tuple[int, list[Row]]:
        """Play as many rollouts of each cell as fit, at least `BATCH`: their number, all rows."""
        begin, rollouts = time.monotonic(), 0
        while True:
            rollouts += BATCH
            rows = self.run(cells, rollouts)
            each = (time.monotonic() - begin) / (rollouts // BATCH)
            if time.monotonic() - begin + each > seconds:
                return rollouts, rows

    def _play(self, todo: Sequence[Unit], total: int) -> None:
        columns = (
            TextColumn('rollouts'),
            BarColumn(None),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self.console) as progress:
            bar = progress.add_task('', total=total * BATCH, completed=(total - len(todo)) * BATCH)
            done = (
                on_ray(self.play, todo, self.ray)
                if self.ray
                else in_processes(self.play, todo, self.processes)
            )
            for unit, rows in done:
                self.shards.write(unit, rows)
                progress.advance(bar, BATCH)
