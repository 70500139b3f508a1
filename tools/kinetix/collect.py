# SPDX-License-Identifier: Apache-2.0
"""The stage `collect`: what an expert sees and does, with sampled actions and noise added."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import save_file

from tools.kinetix import ppo
from tools.kinetix.data import SHIPPED, MissingStageError, data_path
from tools.kinetix.env import Level


def collect_data(
    level: Level,
    folder: Path,
    transitions: int = 300_000,
    recipe: ppo.PpoSettings = ppo.RECIPE,
    seed: int = 1,
    spread: float = 1.0,
) -> dict:
    """
    Write `LEVEL.data.safetensors` from `LEVEL.expert.safetensors`, or from a shipped expert.

    The file holds, over time T and environments E: observation [T, E, O], action [T, E, 6] before
    noise, done [T, E], solved [T, E].

    Args:
        level: Where to act.
        folder: Folder of the expert, and for the data.
        transitions: At least so many.
        recipe: That the expert was trained with.
        seed: Seed of actions and noise.
        spread: Spread of the actions before squashing, as a share of the expert's own.

    Returns:
        Counts of transitions and episodes, and the expert's solve rate.

    Raises:
        MissingStageError: There is no expert of this level.
    """
    own = folder / f'{level.name}.expert.safetensors'
    expert = own if own.exists() else SHIPPED / level.name / 'expert.safetensors'
    if not expert.exists():
        msg = f"no expert {own}: run the stage 'expert' for '{level.name}' first"
        raise MissingStageError(msg)
    training, _ = ppo.stored(expert, level, recipe, acting=True)
    params = training.params | {'log_std': training.params['log_std'] + math.log(spread)}
    training = training._replace(params=params, key=jax.random.key(seed))
    run = jax.jit(partial(ppo.collect, level=level, recipe=recipe))
    pieces: list[dict[str, np.ndarray]] = []
    while sum(piece['done'].size for piece in pieces) < transitions:
        training, batch = run(training)
        pieces.append(
            {
                'observation': np.asarray(batch.observation, np.float32),
                'action': np.asarray(ppo.squash(batch.drawn), np.float32),
                'done': np.asarray(batch.done),
                'solved': np.asarray(batch.solved & batch.done),
            }
        )
    data = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    save_file(data, data_path(folder, level.name))
    episodes = int(data['done'].sum())
    return {
        'transitions': int(data['done'].size),
        'episodes': episodes,
        'solve_rate': float(data['solved'].sum() / max(episodes, 1)),
    }
