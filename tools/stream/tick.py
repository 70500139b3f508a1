# SPDX-License-Identifier: Apache-2.0
"""`python -m tools tick`: where each microsecond of a tick goes, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from async_chunking.mergers import MERGERS
from async_chunking.realtime import may_use_fifo, real_time
from async_chunking.storage import write_json
from async_chunking.tables import Table, show

PRIORITY = 50  # As a robot's command thread may have it; other processes are not what is measured.


def tick(
    ticks: Annotated[int, typer.Option(min=100, help='To measure.')] = 3000,
    action_dim: Annotated[int, typer.Option(min=1, help='Joints.')] = 14,
    horizon: Annotated[int, typer.Option(min=2, help='Rows of a chunk.')] = 50,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
) -> None:
    """Time the parts of a tick of the command stream, in this process."""
    from tools.stream.anatomy import merger_times, times

    with real_time(PRIORITY if may_use_fifo() else 0):
        spans = times(ticks, action_dim, horizon)
        for merger in MERGERS:
            name = f'poll and step with {merger}, asked often'
            spans[name] = merger_times(merger, ticks, action_dim, horizon)
    figures = {part: np.quantile(ns * 1e-3, [0.5, 0.99]).tolist() for part, ns in spans.items()}
    rows = tuple((part, f'{f[0]:.1f}', f'{f[1]:.1f}') for part, f in figures.items())
    title = f'{ticks} ticks, {action_dim} joints, horizon {horizon}, '
    title += f'SCHED_FIFO {PRIORITY}' if may_use_fifo() else 'ordinary priority'
    show(Table(title, ('part of a tick', 'median [µs]', 'p99 [µs]'), rows), markdown)
    if json_path is not None:
        content = {part: {'p50_us': f[0], 'p99_us': f[1]} for part, f in figures.items()}
        sizes = {'ticks': ticks, 'action_dim': action_dim, 'horizon': horizon}
        write_json(sizes | content, json_path)
