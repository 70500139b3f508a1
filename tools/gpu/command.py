# SPDX-License-Identifier: Apache-2.0
"""
`python -m tools gpu` (`make check-gpu`): runs every CUDA path and prints a table to paste.

It needs torch with CUDA and this package; neither ROS nor the simulator. LeRobot's classes are
checked where they are installed.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch

    from async_chunking.tables import Table
    from tools.gpu.checks import Check, CheckResult

NAMES = ('samplers', 'placements', 'graphs', 'expert', 'lerobot')


def gpu(
    device: Annotated[str, typer.Option(help='Device of torch.')] = 'cuda',
    rounds: Annotated[int, typer.Option(min=1, help='Repetitions of what is timed.')] = 20,
    only: Annotated[str, typer.Option(help=f'Some of {", ".join(NAMES)}, by comma.')] = '',
    seconds: Annotated[float, typer.Option(help='After which no new check begins.')] = 200.0,
) -> None:
    """Run every CUDA path against the CPU, and time it; ends with 1 if something is wrong."""
    import torch

    from async_chunking.policies.placed import Placement
    from tools.gpu import checks, lerobot

    Placement(device).check()
    place = torch.device(device)
    known: dict[str, Check] = {
        name: lerobot.classes if name == 'lerobot' else getattr(checks, name) for name in NAMES
    }
    began, rows = time.monotonic(), [_machine(place)]
    typer.echo(_line(rows[0]))
    for name in only.split(',') if only else NAMES:
        if time.monotonic() - began > seconds:
            results: Iterator[CheckResult] = iter(
                [checks.CheckResult(name, 'all', 'no time left', None)]
            )
        else:
            results = _guarded(name, known[name], place, rounds)
        for row in results:
            rows.append(row)
            typer.echo(_line(row))
    table = _table(rows, time.monotonic() - began)
    typer.echo(f'{table.markdown()}\n{table.title}.')
    if wrong := sum(row.good is False for row in rows):
        typer.echo(f'{wrong} of {len(rows)} rows are not as they should be')
        raise typer.Exit(1)


def _guarded(name: str, check: Check, device: torch.device, rounds: int) -> Iterator[CheckResult]:
    """Pass a check's rows on; what it raises is a row too, so that the others still run."""
    from tools.gpu.checks import CheckResult

    try:
        yield from check(device, rounds)
    except Exception as error:  # Whatever a driver or a compiler raises.
        traceback.print_exc()
        first = str(error).partition('\n')[0][:80]
        yield CheckResult(name, 'stopped', f'{type(error).__name__}: {first}', False)


def _machine(device: torch.device) -> CheckResult:
    import torch

    from tools.gpu.checks import CheckResult

    if device.type != 'cuda':
        return CheckResult('machine', f'torch {torch.__version__}', str(device), None)
    about = torch.cuda.get_device_properties(device)
    text = f'{about.name}, {about.total_memory / 2**30:.0f} GiB'
    return CheckResult('machine', f'torch {torch.__version__}', text, None)


def _line(row: CheckResult) -> str:
    return f'{row.check}: {row.variant}: {row.result}{"  WRONG" * (row.good is False)}'


def _table(rows: list[CheckResult], seconds: float) -> Table:
    from async_chunking.tables import Table

    shown = {True: 'yes', False: 'NO', None: ''}
    cells = tuple((r.check, r.variant, r.result, shown[r.good]) for r in rows)
    title = f'CUDA paths, {seconds:.0f} s'
    return Table(title, ('check', 'variant', 'result', 'as it should be'), cells)
