# SPDX-License-Identifier: Apache-2.0
"""`async-chunking probe`: the measure of `probe`, in numbers and as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from async_chunking.bench.probe import Influence

SHADES = ' ░▒▓█'
LARGEST = 32  # Rows of the drawing, narrower than most terminals.


def probe(
    policy: Annotated[
        str,
        typer.Argument(
            help='DIR/flow; a folder; a shipped name; lerobot:DIR; torch:module:factory.'
        ),
    ],
    env: Annotated[
        str,
        typer.Option(help='Task or environment to observe.', show_default='that of its training'),
    ] = '',
    data: Annotated[
        Path | None,
        typer.Option(help='Demonstrations to take observations from; without, they are made.'),
    ] = None,
    out: Annotated[Path | None, typer.Option(help='Draw the matrix into this PNG.')] = None,
    steps: Annotated[int, typer.Option(min=0, help="Solver steps; 0: the policy's own.")] = 0,
    observations: Annotated[int, typer.Option(min=1, help='How many to average over.')] = 32,
    seed: Annotated[int, typer.Option(help='Seed of noise and choice of observations.')] = 0,
) -> None:
    """Measure how much each row of noise moves each row of actions; PAINT rests on it."""
    import torch

    from async_chunking.bench.probe import influence
    from async_chunking.bench.probed import chosen, observed, opened
    from async_chunking.dataset.reading import read_demonstrations

    title, flow, task = opened(policy, env)
    if data:
        recorded, source = read_demonstrations(data).observations, str(data)
    else:
        recorded, source = observed(env or task, seed)
    generator = torch.Generator().manual_seed(seed)
    matrix = influence(flow, chosen(recorded, observations, generator), generator, steps)
    typer.echo(drawing(matrix))
    typer.echo(f'{title}, {observations} observations from {source}:')
    typer.echo('\n'.join(summary(matrix)))
    if out:
        figure(matrix, title, out)
        typer.echo(f'drawn in {out}')


def summary(influence: Influence) -> list[str]:
    """Return the numbers in words."""
    lines = [
        f'{influence.within(reach):5.0%} of what moves an action row is noise within ±{reach} rows'
        f' ({influence.uniform(reach):.0%} if all rows were alike)'
        for reach in (0, 1, 2)
    ]
    horizon = len(influence.matrix)
    lines += [
        f'{influence.prefix(rows):5.0%} of what moves the first {rows} action rows is noise of '
        f'these rows ({rows / horizon:.0%} if all were alike)'
        for rows in (1, 2, 4, 8)
        if rows < horizon
    ]
    return lines


def drawing(influence: Influence) -> str:
    """Return the matrix as text, two characters for a cell; action rows go down."""
    size = -(-len(influence.matrix) // LARGEST)  # Cells of long chunks stand for several rows.
    starts = range(0, len(influence.matrix), size)
    cells = [[influence.matrix[i : i + size, j : j + size].mean() for j in starts] for i in starts]
    level = np.round(np.array(cells) / np.max(cells) * (len(SHADES) - 1)).astype(int)
    lines = [
        f'{i:3} ' + ''.join(2 * SHADES[k] for k in row)
        for i, row in zip(starts, level, strict=True)
    ]
    return '\n'.join(['action row ↓, noise row →', *lines])


def figure(influence: Influence, title: str, out: Path) -> None:
    """Draw the matrix into a PNG."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5, 4.4), layout='constrained')
    axes = drawn.subplots()
    image = axes.imshow(influence.matrix, cmap='viridis', vmin=0)
    axes.set(xlabel='noise row', ylabel='action row', title=title)
    axes.title.set_fontsize(8)
    drawn.colorbar(image, label="RMS change, network's units")
    drawn.savefig(out, dpi=150)
