# SPDX-License-Identifier: Apache-2.0
"""The stage `expert`: train until a level is solved often enough, in pieces that continue."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tools.kinetix import ppo
from tools.kinetix.env import Level
from tools.kinetix.plan import plan_states

log = logging.getLogger(__name__)
RECENT = 512


def train_expert(
    level: Level,
    folder: Path,
    recipe: ppo.PpoSettings = ppo.RECIPE,
    seed: int = 0,
    solve_rate: float = 0.9,
    max_steps: int = 2_000_000,
    max_s: float = 540.0,
    clock=time.monotonic,
) -> dict:
    """
    Train the expert of a level, or continue to; stop when it is good or its budget is spent.

    Args:
        level: To be solved.
        folder: For `LEVEL.expert.safetensors`, the whole training, and its description.
        recipe: Recipe of PPO.
        seed: Seed of the training.
        solve_rate: Enough, over the last episodes with sampled actions and noise: 512, or as many
            as there are environments, since the first to end are not like the others.
        max_steps: Most steps of the environments, over all pieces.
        max_s: Most time of this piece [s]; checked after each update.
        clock: Seconds [s].

    Returns:
        The description: steps, seconds, solve rate, whether it is finished, and its curve.
    """
    path = folder / f'{level.name}.expert.safetensors'
    training = ppo.begin(level, recipe, seed)
    about = {'level': level.name, 'seed': seed, 'steps': 0, 'seconds': 0.0, 'solve_rate': 0.0,
             'episodes': 0, 'finished': False, 'curve': [], 'recent': [],
             'recipe': asdict(recipe)}  # fmt: skip
    if path.exists():
        training, about = ppo.stored(path, level, recipe)
    window = max(RECENT, recipe.environments)
    about |= judged(about, solve_rate, max_steps, window)
    planned = plan_states(level, folder)
    ordinary = slice(0, None)
    if planned is not None:
        training = training._replace(episodes=training.episodes._replace(planned=planned))
        # What begins along the plan says nothing of a whole episode.
        ordinary = slice(int(recipe.planned * recipe.environments), None)
    spent, began, saved = about['seconds'], clock(), clock()
    while not about['finished'] and clock() - began < max_s:
        training, batch = ppo.update(training, level, recipe)
        ended = np.asarray(batch.solved)[:, ordinary][np.asarray(batch.done)[:, ordinary]].tolist()
        about['recent'] = (about['recent'] + ended)[-window:]
        about['episodes'] += len(ended)
        about['steps'] += recipe.environments * recipe.steps
        about['seconds'] = round(spent + clock() - began, 1)
        about['solve_rate'] = float(np.mean(about['recent'])) if about['recent'] else 0.0
        about |= judged(about, solve_rate, max_steps, window)
        about['curve'].append([about['steps'], about['seconds'], round(about['solve_rate'], 4)])
        report = '%s: %d steps, %.0f s, solved %.3f'
        log.info(report, level.name, about['steps'], about['seconds'], about['solve_rate'])
        if clock() - saved > 60.0:
            ppo.store(path, training, about)
            saved = clock()
    ppo.store(path, training, about)
    return about


def judged(about: dict, solve_rate: float, max_steps: int, window: int) -> dict:
    """Return whether a training has `solved` its level and is `finished`, by what is asked now."""
    solved = len(about['recent']) >= window and about['solve_rate'] >= solve_rate
    return {'solved': solved, 'finished': solved or about['steps'] >= max_steps}
