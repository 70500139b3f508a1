# SPDX-License-Identifier: Apache-2.0
"""`python -m tools policies`: the checkpoints of the simulated tasks, trained and made small.

The package ships every recipe of the slalom, and the base and its weaker self of the other tasks;
this makes the rest, an hour or two a task on two cores. A checkpoint keeps its numbers in half
precision: a policy computes in single precision all the same.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.checkpoint.sidecar import read_sidecar, read_weights
from async_chunking.policies.checkpoint.weights import parse, save_weights
from async_chunking.settings import SettingsError, unknown
from async_chunking.sim import TASKS
from async_chunking.training.command import RECIPES

NAMES = tuple(name for name, recipe in RECIPES.items() if recipe.base in {'', 'flow'})
_APART = ('act',)  # Not of a flow, so in a folder of their own.


def policies(
    out: Annotated[Path, typer.Option(help='A folder a task is made in it.')] = Path('runs'),
    task: Annotated[list[str] | None, typer.Option(help='This task; may be repeated.')] = None,
    recipe: Annotated[list[str] | None, typer.Option(help='This one; may be repeated.')] = None,
    settings: Annotated[list[str] | None, typer.Option('--set', help='As of `train`.')] = None,
    only_halve: Annotated[
        bool, typer.Option('--only-halve', help='Train nothing; make small what is there.')
    ] = False,
) -> None:
    """Train the recipes of the simulated tasks, and keep them in half precision."""
    names = recipe or [name for name in NAMES if name not in _APART]
    for name in names:
        if name not in NAMES:
            raise SettingsError(unknown('recipe', name, NAMES))
    for simulated in task or list(TASKS):
        folder = out / simulated
        for name in names if not only_halve else ():
            _train(name, simulated, folder, settings or [])
        for weights in sorted(folder.glob('*.safetensors')):
            before, after = halve(weights.with_suffix(''))
            typer.echo(f'{weights}: {before / 1e6:.2f} MB, now {after / 1e6:.2f} MB')


def halve(path: Path) -> tuple[int, int]:
    """
    Keep a checkpoint's weights in half precision.

    Args:
        path: Path of the checkpoint, without suffix.

    Returns:
        Size of the weights before and after [bytes].

    Raises:
        CheckpointError: It is incomplete or torn.
    """
    sidecar = read_sidecar(path)
    content = read_weights(path, sidecar)
    file = path.with_suffix('.safetensors')
    weights = parse(content, file)
    small = {
        name: value.half() if value.is_floating_point() else value
        for name, value in weights.items()
    }
    if any(not value.isfinite().all() for value in small.values()):
        msg = f'{path}: a weight is beyond half precision (65504); keep it as it is'
        raise AsyncChunkingError(msg)
    save_weights(path, sidecar, small)
    return len(content), file.stat().st_size


def _train(recipe: str, task: str, folder: Path, settings: list[str]) -> None:
    """Run `train` in a process of its own, so that one recipe's memory is gone before the next."""
    words = ['train', recipe, '--task', task, '--out', str(folder), '--overwrite']
    words += [word for setting in settings for word in ('--set', setting)]
    done = subprocess.run([sys.executable, '-m', 'async_chunking.cli', *words], check=False)
    if done.returncode:
        msg = f'{" ".join(words)} ended with status {done.returncode}'
        raise AsyncChunkingError(msg)
