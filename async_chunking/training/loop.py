# SPDX-License-Identifier: Apache-2.0
"""
The training loop: AdamW, averaged weights, validation, progress, and a state to resume from.

Plain torch. Under `torchrun` or `accelerate launch` each process takes its share of every batch;
all draw the same random numbers, so the losses are those of one process.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from async_chunking.training.recipe import Recipe, TrainConfig, TrainingError
from async_chunking.training.state import History, State

_VALIDATION_BATCHES = 8


def fit(recipe: Recipe, out: Path, *, resume: bool = False, quiet: bool = False) -> History:
    """
    Train a recipe and save its checkpoints under `out`.

    Args:
        recipe: Freshly prepared.
        out: Folder of the checkpoints.
        resume: Continue from the state that an interrupted run left there.
        quiet: Show no progress bar.

    Returns:
        Losses over the updates.

    Raises:
        TrainingError: Nothing to resume, a state of another configuration, an unfinished run in
            the way, or a loss that is not finite.
        StorageError: The disk is full; what was saved before is kept.
    """
    rank, world = _join_processes(recipe.device)
    config = recipe.config
    _check_shares(config, world)
    _check_base(recipe, out)
    state = _begin(recipe)
    file = out / f'{recipe.name}.state.safetensors'
    _restore(state, file, recipe, resume)
    network = DistributedDataParallel(recipe.network) if world > 1 else recipe.network
    began = time.monotonic() - state.seconds
    with _progress(hidden=quiet or rank > 0) as progress:
        bar = progress.add_task(recipe.name, total=config.steps, completed=state.step, losses='')
        while state.step < config.steps:
            loss = _update(recipe, network, state, rank, world)
            state.step += 1
            state.seconds = time.monotonic() - began
            if state.step % config.validate_every == 0 or state.step == config.steps:
                _note(recipe, state, _mean(loss, world), progress, bar)
            if rank == 0:
                _save(recipe, state, file, out)
            progress.update(bar, completed=state.step)
    if rank == 0:
        file.unlink(missing_ok=True)
    return state.history


def _begin(recipe: Recipe) -> State:
    recipe.network.train()
    parameters = [p for p in recipe.network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, weight_decay=recipe.config.weight_decay)
    average = {k: v.detach().clone() for k, v in recipe.network.state_dict().items()}
    return State(recipe.network, optimizer, average)


def _restore(state: State, file: Path, recipe: Recipe, resume: bool) -> None:
    if resume and not file.exists():
        msg = f'nothing to resume: there is no {file}; the run is finished or never began'
        raise TrainingError(msg)
    if file.exists() and not resume:
        msg = f'{file} is an unfinished run: continue it with --resume, or delete the file'
        raise TrainingError(msg)
    if resume:
        state.load(file, recipe.identity)


def _check_base(recipe: Recipe, out: Path) -> None:
    base = recipe.inputs.base
    if (
        base is not None
        and base.resolve() == (out / recipe.milestones[recipe.config.steps]).resolve()
    ):
        msg = f'the result would replace its own base {base}: name another --out'
        raise TrainingError(msg)


def _update(recipe: Recipe, network: nn.Module, state: State, rank: int, world: int) -> Tensor:
    """Make one update; returns this process's share of the loss."""
    config, optimizer = recipe.config, state.optimizer
    # A number per update: a run that is resumed draws what it would have drawn.
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.step)
    progress = state.step / config.steps
    draws = recipe.draw(recipe.train, config.batch_size, progress, generator)
    mine = {name: value[rank::world].to(recipe.device) for name, value in draws.items()}
    for group in optimizer.param_groups:
        group['lr'] = learning_rate(config, state.step)
    optimizer.zero_grad()
    total = torch.zeros((), device=recipe.device)
    for number in range(config.parts):
        part = {name: value[number :: config.parts] for name, value in mine.items()}
        loss = recipe.losses(network, recipe.train, part).mean() / config.parts
        if not torch.isfinite(loss):
            msg = f'the loss is {loss.item()} at update {state.step}: lower learning_rate'
            raise TrainingError(msg)
        loss.backward()
        total += loss.detach()
    nn.utils.clip_grad_norm_(recipe.network.parameters(), config.clip)
    optimizer.step()
    decay = min(config.ema, (1.0 + state.step) / (10.0 + state.step))
    with torch.no_grad():
        for name, value in recipe.network.state_dict().items():
            state.average[name].lerp_(value, 1.0 - decay)
    return total


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the rate of an update: a linear rise, then a cosine to 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))


def validate(recipe: Recipe, average: dict[str, Tensor]) -> float:
    """Return the loss of the averaged weights on held-out episodes, always with the same draws."""
    if not len(recipe.validation):
        return math.nan
    config = recipe.config
    generator = torch.Generator().manual_seed(config.seed)
    trained = {k: v.detach().clone() for k, v in recipe.network.state_dict().items()}
    recipe.network.load_state_dict(average)
    recipe.network.eval()
    losses = []
    with torch.no_grad():
        for _ in range(_VALIDATION_BATCHES):
            draws = recipe.draw(recipe.validation, config.batch_size, 1.0, generator)
            draws = {name: value.to(recipe.device) for name, value in draws.items()}
            losses.append(recipe.losses(recipe.network, recipe.validation, draws).mean())
    recipe.network.load_state_dict(trained)
    recipe.network.train()
    return float(torch.stack(losses).mean())


def _note(recipe: Recipe, state: State, loss: float, progress: Progress, bar: TaskID) -> None:
    entry = {'step': state.step, 'train': loss, 'validation': validate(recipe, state.average)}
    state.history.append(entry)
    text = f'loss {entry["train"]:.4f}, held out {entry["validation"]:.4f}'
    progress.update(bar, losses=text)


def _save(recipe: Recipe, state: State, file: Path, out: Path) -> None:
    if (name := recipe.milestones.get(state.step)) is not None:
        training = {
            'config': recipe.identity,
            'steps': state.step,
            'seconds': round(state.seconds, 1),
            'history': state.history,
        }
        recipe.save(out / name, state.average, training)
    if state.step % recipe.config.save_every == 0 and state.step < recipe.config.steps:
        state.save(file, recipe.identity)


def _progress(hidden: bool) -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn('{task.fields[losses]}'),
        console=Console(stderr=True),
        disable=hidden,
    )


# --- several processes ------------------------------------------------------------------------


def _join_processes(device: torch.device) -> tuple[int, int]:
    """Return rank and number of processes, as the launcher (torchrun, accelerate) set them."""
    world = int(os.environ.get('WORLD_SIZE', '1'))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    return (distributed.get_rank(), world) if world > 1 else (0, 1)


def _check_shares(config: TrainConfig, world: int) -> None:
    if config.batch_size % (world * config.parts):
        msg = f'batch_size {config.batch_size} is not divisible among {world} processes'
        msg += f' of {config.parts} parts each' * (config.parts > 1)
        raise TrainingError(msg)


def _mean(loss: Tensor, world: int) -> float:
    if world > 1:
        distributed.all_reduce(loss)
    return float(loss) / world
