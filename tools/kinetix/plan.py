# SPDX-License-Identifier: Apache-2.0
"""The stage `plan`: search the simulator for one episode, without noise, that reaches the goal.

A population of states grows in rounds. In each, every state is moved by an action of its own,
drawn at random and held for some steps; the next round begins with copies of what is alive, half
of them of the states nearest to the goal, half of any. What the search finds need not bear noise:
it is only where the training of an expert may begin its episodes.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from tools.kinetix.env import Level
from tools.kinetix.levels import ACTION_DIM, MAX_STEPS, MOTORS

log = logging.getLogger(__name__)
POPULATION = 512
HELD = (4, 6, 10)  # Steps of an action; the searches take turns.


class Round(NamedTuple):
    """What a round of the search did, of each member of the population."""

    parents: np.ndarray  # [P] of the round before.
    actions: np.ndarray  # [P, 6]


def plan_level(level: Level, folder: Path, **options: Any) -> int | None:
    """
    Search for an episode, unless there is one, and write its actions; see `search` for `options`.

    Returns:
        How many steps it takes, or None where none was found.
    """
    path = plan_path(folder, level.name)
    if not path.exists():
        actions = search(level, **options)
        if actions is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        save_file({'action': actions}, path)
    return len(load_file(path)['action'])


def plan_states(level: Level, folder: Path) -> Any | None:
    """Return the states [MAX_STEPS, ...] along a level's planned episode, or None without one."""
    path = plan_path(folder, level.name)
    return level.along(jnp.asarray(load_file(path)['action'])) if path.exists() else None


def plan_path(folder: Path, level: str) -> Path:
    """Return the file of a level's planned episode."""
    return folder / f'{level}.plan.safetensors'


def search(
    level: Level,
    seed: int = 0,
    population: int = POPULATION,
    max_s: float = 540.0,
    clock=time.monotonic,
) -> np.ndarray | None:
    """
    Return the actions [T, 6] of an episode that reaches the goal, or None where none was found.

    Args:
        level: To be solved.
        seed: Seed of the search.
        population: P.
        max_s: After which no further search begins [s].
        clock: Seconds [s].
    """
    began, key = clock(), jax.random.key(seed)
    for attempt in range(1_000_000):
        if clock() - began >= max_s and attempt:
            return None
        key, own = jax.random.split(key)
        held = HELD[attempt % len(HELD)]
        actions, near = _search_once(level, own, population, held)
        report = '%s: search %d, actions held for %d steps, nearest %.2f, %s'
        outcome = 'nothing' if actions is None else f'solved in {len(actions)} steps'
        log.info(report, level.name, attempt, held, near, outcome)
        if actions is not None:
            return actions
    return None


def _search_once(
    level: Level, key: jax.Array, population: int, held: int
) -> tuple[np.ndarray | None, float]:
    states, _ = level.start(population)
    alive, rounds, nearest = jnp.ones(population, bool), [], np.inf
    for _ in range(MAX_STEPS // held):
        key, own = jax.random.split(key)
        states, parents, actions, alive, solved, near = _extend(level, states, alive, own, held)
        rounds.append(Round(np.asarray(parents), np.asarray(actions)))
        nearest = min(nearest, float(near))
        solvers = np.flatnonzero(solved)
        if len(solvers):
            return trace(rounds, int(solvers[0]), held), nearest
        if not alive.any():
            break
    return None, nearest


@partial(jax.jit, static_argnames='level')
def _extend(level: Level, states: Any, alive: jax.Array, key: jax.Array, held: int) -> tuple:
    """Return the next round: states, parents, actions, who is alive, who solved, the nearest."""
    keys = jax.random.split(key, 4)
    count = len(alive)
    value = -states.last_distance + jax.vmap(level.shaping)(states)
    rank = jnp.argsort(jnp.argsort(jnp.where(alive, -value, jnp.inf))) / count
    near = jnp.where(alive, 1.0, 0.0) * jnp.exp(-rank * 12.0)
    any_alive = alive / jnp.maximum(alive.sum(), 1)
    weight = 0.5 * near / jnp.maximum(near.sum(), 1e-9) + 0.5 * any_alive
    parents = jax.random.choice(keys[0], count, (count,), p=weight)
    states = jax.tree.map(lambda leaf: leaf[parents], states)
    soft = jax.random.uniform(keys[1], (count, ACTION_DIM), minval=-1.0)
    actions = jnp.where(jax.random.bernoulli(keys[2], 0.6, soft.shape), jnp.sign(soft), soft)
    actions = actions.at[:, MOTORS:].set(jnp.clip(actions[:, MOTORS:], 0.0, 1.0))

    def move(_: int, carry: tuple) -> tuple:
        states, done, solved = carry
        after = jax.vmap(level.step)(states, actions)
        return after.state, done | after.done, solved | (after.solved & ~done)

    nothing = jnp.zeros(count, bool)
    states, done, solved = jax.lax.fori_loop(0, held, move, (states, nothing, nothing))
    distance = jnp.where(done, jnp.inf, states.last_distance).min()
    return states, parents, actions, ~done, solved, distance


def trace(rounds: list[Round], member: int, held: int) -> np.ndarray:
    """Return the actions [T, 6], each held, that led to a member of the last round."""
    actions = []
    for step in reversed(rounds):
        actions.append(np.repeat(step.actions[member][None], held, axis=0))
        member = int(step.parents[member])
    return np.concatenate(actions[::-1])
