# SPDX-License-Identifier: Apache-2.0
"""`async-chunking demo`: the simulated ViperX under several strategies, and one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from async_chunking.bringup.describe import describe
from async_chunking.bringup.up import Interrupts, run, show


def demo(
    strategies: Annotated[
        list[str] | None, typer.Argument(help='Names; all four by default.')
    ] = None,
    robot: Annotated[str, typer.Option(help='Which robot.')] = 'viperx',
    delays: Annotated[str, typer.Option(help='Latencies on purpose [ms].')] = '0 120',
    seconds: Annotated[float, typer.Option(help='Length of each run [s].', min=1.0)] = 20.0,
    as_markdown: Annotated[
        bool, typer.Option('--markdown', help='Print it for a README.')
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option('--json', help='Write the figures here.')
    ] = None,
) -> None:
    """Run a simulated robot under several strategies and delays, and print one table."""
    console = Console(stderr=True)
    chosen = strategies or ['sync', 'naive', 'ensemble', 'bspline']
    cells = [
        {'strategy': name, 'latency_ms': delay, 'duration': seconds}
        for delay in delays.split()
        for name in chosen
    ]
    for cell in cells:
        describe(robot, cell)  # A mistake in the last cell shall not cost the time of the others.
    console.print(
        f'{len(cells)} runs of {seconds:.0f} s: policy, executor, delay monitor, recorder and '
        'simulated robot, each its own process'
    )
    figures = []
    with Interrupts() as stopped:
        for number, cell in enumerate(cells, 1):
            console.print(f'{number}/{len(cells)} {cell["strategy"]}, {cell["latency_ms"]} ms')
            run_figures = run(robot, cell, console, stopped, quiet=True)
            figures += [run_figures] if run_figures else []
            if stopped():
                break
    show(figures, figures, json_path, as_markdown)
