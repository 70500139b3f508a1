# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations of an environment's expert; their form on disk is that of `async_chunking.dataset`.

A frame holds what was observed and the `action` that the expert wanted then. With action noise
what was sent differed from it, which is how states off the expert's path come into the data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from async_chunking.dataset.writing import (
    DatasetError,
    Demonstration,
    Description,
    require_empty,
    write,
)
from async_chunking.environments.description import EnvironmentFile, read_description, split
from async_chunking.environments.gym import GymEnvironment, GymError, imported
from async_chunking.storage import write_json

TAIL_S = 0.25  # Recorded beyond the success, so that the last chunks are demonstrated in full.
NOISE_S = 0.1  # Correlation time of the disturbance [s].
HOPELESS = 20  # Attempts in a row without success after which an expert cannot do it.


@dataclass(frozen=True)
class Collection:
    """
    How a data set is made; equal values make equal data.

    Attributes:
        environment: Name, with its variant.
        episodes: Successful ones to keep.
        seed: Seed of everything random.
        action_noise: Standard deviation of a slow disturbance of the actions, in their own unit.
    """

    environment: str
    episodes: int = 100
    seed: int = 0
    action_noise: float = 0.1

    def __post_init__(self) -> None:
        if self.episodes < 1:
            msg = f'episodes must be at least 1, got {self.episodes}'
            raise DatasetError(msg)
        if not 0.0 <= self.action_noise < math.inf:
            msg = f'action_noise must be finite and >= 0, got {self.action_noise}'
            raise DatasetError(msg)


def has_expert(name: str) -> bool:
    """Return whether an environment's description names an expert."""
    return bool(read_description(name).expert)


def collect(how: Collection, out: Path) -> Path:
    """
    Record an environment's expert and write a data set.

    Raises:
        DatasetError: The folder holds something already, or the environment has no expert.
        GymError: The expert does not solve it.
    """
    require_empty(out)
    description = read_description(how.environment)
    if not description.expert:
        msg = f'{how.environment} has no expert: write `expert: module:function` in its '
        raise DatasetError(msg + 'description, or bring demonstrations with --data')
    environment = GymEnvironment(how.environment, description, split(how.environment)[1])
    episodes = list(_episodes(environment, how))
    write(out, describe(how.environment, description, episodes[0]), episodes)
    write_json(dataclasses.asdict(how), out / 'meta/generation.json')
    return out


def describe(name: str, description: EnvironmentFile, episode: Demonstration) -> Description:
    """Return what all episodes of an environment have in common."""
    features = {
        key: tuple(f'{key.removeprefix("observation.")}_{i}' for i in range(values.shape[1]))
        for key, values in episode.features.items()
    }
    rate = description.policy_rate_hz or description.control_rate_hz
    return Description(
        name, rate, description.instruction, features | {'action': description.names}
    )


def _episodes(environment: GymEnvironment, how: Collection) -> Iterator[Demonstration]:
    """Yield the first successful episodes."""
    attempt, solved, failures = 0, 0, 0
    while solved < how.episodes:
        episode = record(environment, how, attempt)
        attempt += 1
        failures = 0 if episode else failures + 1
        if failures == HOPELESS:
            last = environment.failure or 'out of time'
            msg = f'{how.environment}: its expert failed {HOPELESS} times in a row: {last}'
            raise GymError(msg)
        if episode:
            solved += 1
            yield episode


def record(environment: GymEnvironment, how: Collection, attempt: int) -> Demonstration | None:
    """Let the expert do one episode; None if it failed."""
    description, variant = environment.description, split(how.environment)[1]
    make = imported(description.expert)
    expert = make(variant) if description.variant else make()
    scene, noise = (np.random.default_rng([how.seed, attempt, k]) for k in range(2))
    seen, actions = environment.reset(scene), []
    frames: list[dict[str, np.ndarray]] = []
    drift = np.zeros(len(description.actions))
    keep = math.exp(-1.0 / (NOISE_S * description.control_rate_hz))
    left = round(TAIL_S * description.control_rate_hz)
    every = round(description.control_rate_hz / (description.policy_rate_hz or math.inf)) or 1
    over = solved = False
    while left and not (over and not solved):
        frames.append({k: v for k, v in seen.items() if k.startswith('observation.')})
        actions.append(environment.action(np.asarray(expert(environment.raw), dtype=np.float64)))
        disturbance = how.action_noise * noise.normal(size=len(drift))
        drift = keep * drift + math.sqrt(1.0 - keep**2) * disturbance
        seen, over, now = environment.step(actions[-1] + drift)
        if environment.broken:
            return None
        solved = solved or now
        left -= solved
    if not solved:
        return None
    stacked = {name: np.array([f[name] for f in frames[::every]]) for name in frames[0]}
    return Demonstration({**stacked, 'action': np.array(actions[::every])}, {'attempt': attempt})
