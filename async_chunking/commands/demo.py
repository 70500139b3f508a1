# SPDX-License-Identifier: Apache-2.0
"""`async-chunking demo`: a simulated ViperX under latency; what jumps, and what repairs it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from async_chunking.bringup.describe import describe
from async_chunking.bringup.up import Interrupts, RunError, run, show
from async_chunking.errors import AsyncChunkingError

STRATEGIES = ('naive', 'rtc', 'paint', 'sync')
PICTURE = Path('runs', 'demo.png')


def demo(
    strategies: Annotated[
        list[str] | None,
        typer.Argument(help=f'Names; {", ".join(STRATEGIES)} by default.', show_default=False),
    ] = None,
    robot: Annotated[str, typer.Option(help='Which robot.')] = 'viperx',
    latency_ms: Annotated[str, typer.Option(help='Latencies on purpose [ms].')] = '120',
    seconds: Annotated[float, typer.Option(help='Length of each run [s].', min=1.0)] = 20.0,
    picture: Annotated[Path, typer.Option(help='Where to draw the seams.')] = PICTURE,
    as_markdown: Annotated[
        bool, typer.Option('--markdown', help='Print it for a README.')
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option('--json', help='Write the figures here.')
    ] = None,
) -> None:
    """Run a simulated robot that jumps under latency, and others that do not; show the seams.

    Ends with status 1 if one of the runs could not be shown.
    """
    console = Console(stderr=True)
    chosen = strategies or list(STRATEGIES)
    cells = [
        {'strategy': name, 'latency_ms': latency, 'duration': seconds}
        for latency in latency_ms.split()
        for name in chosen
    ]
    for cell in cells:
        describe(robot, cell)  # A mistake in the last cell shall not cost the time of the others.
    console.print(
        f'{len(cells)} runs of {seconds:.0f} s: policy, executor, delay monitor, recorder and '
        'simulated robot, each its own process'
    )
    with tempfile.TemporaryDirectory(prefix='async_chunking_') as folder:
        figures = _played(robot, cells, Path(folder), console)
        show(figures, figures, json_path, as_markdown)
        drawn = _draw(Path(folder), chosen[:2], picture, console) if figures else False
    for sentence in seen(figures):
        console.print(sentence, highlight=False)
    if drawn:
        console.print(f'The seams are drawn in {picture.resolve()}', soft_wrap=True)
    raise typer.Exit(0 if len(figures) == len(cells) else 1)


def _played(
    robot: str, cells: Sequence[Mapping[str, Any]], folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Run each cell and return the figures of those that could be shown."""
    figures = []
    with Interrupts() as stopped:
        for number, cell in enumerate(cells, 1):
            console.print(f'{number}/{len(cells)} {cell["strategy"]}, {cell["latency_ms"]} ms')
            given = {**cell, 'record': str(folder / f'run_{number}')}
            try:
                figure = run(robot, given, console, stopped, quiet=True)
            except RunError as error:  # A strategy that is too slow here shall not end the rest.
                console.print(f'{cell["strategy"]} could not be shown: {error}', markup=False)
                continue
            figures += [figure] if figure else []
            if stopped():
                break
    return figures


def _draw(folder: Path, strategies: Sequence[str], out: Path, console: Console) -> bool:
    """Draw typical seams of two strategies, if what that needs is here."""
    from async_chunking.bags.command import draw_boundaries

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        draw_boundaries([folder], strategies, out)
    except AsyncChunkingError as error:
        console.print(f'no picture: {error}', markup=False)
        return False
    return True


def seen(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the runs showed, a sentence for each latency at which naive was among them."""
    sentences = []
    for latency in dict.fromkeys(f['latency_ms'] for f in figures):
        runs = {f['strategy']: f for f in figures if f['latency_ms'] == latency}
        jumps = {name: 1e3 * f['seam_jump_rad'] for name, f in runs.items()}
        jumps = {name: jump for name, jump in jumps.items() if math.isfinite(jump)}
        naive = jumps.pop('naive', None)
        if naive is None:
            continue
        others = [f'{jump:.0f} with {name}' for name, jump in jumps.items()]
        rests = ['sync rests at every seam instead'] if 'sync' in runs else []
        sentences.append(
            f'At {latency} ms the plan jumped by {naive:.0f} mrad where naive switched to a new '
            f'chunk{"".join(f", by {words}" for words in others)}'
            f'{"".join(f"; {words}" for words in rests)}. So few episodes say little of success: '
            'docs/choose.md has many.'
        )
    return sentences
