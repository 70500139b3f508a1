# SPDX-License-Identifier: Apache-2.0
"""`python -m tools faults`: do to a robot's nodes what may happen to them, and show the stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from async_chunking.realtime import may_use_fifo
from async_chunking.settings import SettingsError, unknown
from async_chunking.storage import write_json
from async_chunking.tables import Table, show
from tools.faults.session import play
from tools.faults.table import FAULTS
from tools.faults.verdict import Verdict

_LEAST = 3.0  # Seconds of a fault.
COLUMNS = (
    'fault', 'done', 'ticks', 'missed', 'velocity', 'acceleration', 'named in /diagnostics',
    'goes on after', 'recorded', 'verdict',
)  # fmt: skip


def faults(
    minutes: Annotated[float, typer.Option(help='For all faults together.', min=0.0)] = 5.0,
    only: Annotated[list[str] | None, typer.Option(help='This fault; may be repeated.')] = None,
    priority: Annotated[
        int, typer.Option(min=0, max=99, help='SCHED_FIFO of the command thread.')
    ] = 50,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
    list_: Annotated[bool, typer.Option('--list', help='Say what the faults are.')] = False,
) -> None:
    """Inject faults into a simulated robot in real processes; status 1 if the stream suffered."""
    if list_:
        for name, fault in FAULTS.items():
            typer.echo(f'{name}: {fault.what}')
        return
    names = only or list(FAULTS)
    for name in names:
        if name not in FAULTS:
            raise SettingsError(unknown('fault', name, FAULTS))
    console = Console(stderr=True)
    if priority and not may_use_fifo():
        console.print('SCHED_FIFO is not permitted here, goes on without; see docs/stream.md')
        priority = 0
    seconds = max(60.0 * minutes / len(names), _LEAST)
    verdicts = list(play(names, seconds, priority, lambda text: console.print(f'… {text}')))
    show(table(verdicts, seconds, priority), markdown)
    for verdict in verdicts:
        for check, holds in verdict.checks.items():
            if not holds:
                console.print(f'{verdict.name}: failed: {check}')
    if json_path is not None:
        rows = {verdict.name: verdict.figures() for verdict in verdicts}
        write_json({'seconds': seconds, 'priority': priority, 'faults': rows}, json_path)
    raise typer.Exit(0 if verdicts and all(v.passed for v in verdicts) else 1)


def table(verdicts: Sequence[Verdict], seconds: float, priority: int) -> Table:
    """Return a row for each fault."""
    title = (
        f'{seconds:.0f} s each, {f"SCHED_FIFO {priority}" if priority else "ordinary priority"}; '
        'velocity and acceleration: largest share of the limit, on the wire'
    )
    return Table(title, COLUMNS, tuple(_row(verdict) for verdict in verdicts))


def _row(v: Verdict) -> tuple[str, ...]:
    counted = ', '.join(f'{name} {count}' for name, count in v.counted.items())
    late = f'{v.seconds:.1f} s' if math.isfinite(v.seconds) else 'never'
    chunks = f'{v.chunks:.0f} chunk' if math.isfinite(v.chunks) else '–'
    share = f'{100.0 * v.recorded / v.ticks:.0f} %' if v.ticks else '–'
    return (
        v.name, str(v.done.count), str(v.ticks), str(v.missed), f'{v.velocity_use:.2f}',
        f'{v.acceleration_use:.2f}', counted or '–', f'{chunks}, {late}', share,
        'pass' if v.passed else 'FAIL',
    )  # fmt: skip
