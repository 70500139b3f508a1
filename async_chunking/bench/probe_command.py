# SPDX-License-Identifier: Apache-2.0
"""`async-chunking probe`: the measure of `probe`, in numbers and as a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from async_chunking.bench.probe import Influence
from async_chunking.errors import AsyncChunkingError

SHADES = ' ░▒▓█'
EPISODES = 4
LARGEST = 32  # Rows of the drawing, narrower than most terminals.


def probe(
    checkpoint: Annotated[
        str, typer.Argument(help='A checkpoint, DIR/flow; a folder; or a shipped name.')
    ],
    data: Annotated[
        Path | None,
        typer.Option(help='Demonstrations to take observations from; for a simulated task, none.'),
    ] = None,
    out: Annotated[Path | None, typer.Option(help='Draw the matrix into this PNG.')] = None,
    steps: Annotated[int, typer.Option(min=0, help="Solver steps; 0: the policy's own.")] = 0,
    observations: Annotated[int, typer.Option(min=1, help='How many to average over.')] = 32,
    seed: Annotated[int, typer.Option(help='Seed of noise and choice of observations.')] = 0,
) -> None:
    """Measure how much each row of noise moves each row of actions; PAINT rests on it."""
    import torch

    from async_chunking.bench.probe import influence
    from async_chunking.policies.checkpoint.sidecar import read_sidecar
    from async_chunking.policies.checkpoint.weights import load_policy

    path = _checkpoint(checkpoint)
    policy = load_policy(path)
    if data:
        from async_chunking.dataset.reading import read_demonstrations

        recorded, source = read_demonstrations(data).observations, str(data)
    else:
        task = read_sidecar(path).task
        recorded, source = _simulated(task, seed), f'demonstrations of {task} made for this'
    generator = torch.Generator().manual_seed(seed)
    count = len(next(iter(recorded.values())))
    frames = torch.randint(count, (observations,), generator=generator)
    chosen = {name: torch.from_numpy(values)[frames] for name, values in recorded.items()}
    matrix = influence(policy, chosen, generator, steps)
    typer.echo(drawing(matrix))
    typer.echo(f'{path}, {observations} observations from {source}:')
    typer.echo('\n'.join(summary(matrix)))
    if out:
        figure(matrix, str(path), out)
        typer.echo(f'drawn in {out}')


def _checkpoint(name: str) -> Path:
    """Return the path of a checkpoint given as such, as a folder or as a shipped name."""
    from async_chunking.policies.checkpoint.directory import PolicyDirectory
    from async_chunking.policies.checkpoint.shipped import policy_directory
    from async_chunking.policies.checkpoint.sidecar import weights_path

    if weights_path(name).is_file():
        return Path(name)
    directory = PolicyDirectory(policy_directory(name))
    return directory.path / directory.base


def _simulated(name: str, seed: int) -> dict[str, np.ndarray]:
    """
    Return what a task's expert observes in a few episodes.

    Real observations matter: on made-up ones, far from the training data, a policy's noise acts
    much more locally than it does in use.

    Raises:
        AsyncChunkingError: The task is not simulated here, or its expert failed.
    """
    from async_chunking.sim import TASKS, make_task
    from async_chunking.sim.episodes import record

    if name not in TASKS:
        msg = f"the checkpoint's task '{name}' is not simulated here: give its --data"
        raise AsyncChunkingError(msg)
    task = make_task(name)
    episodes = [record(task, seed, attempt, action_noise=0.01) for attempt in range(EPISODES)]
    solved = [episode.observations for episode in episodes if episode]
    if not solved:
        msg = f"the expert solved none of {EPISODES} episodes of '{name}': give --data"
        raise AsyncChunkingError(msg)
    return {key: np.concatenate([seen[key] for seen in solved]) for key in solved[0]}


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
