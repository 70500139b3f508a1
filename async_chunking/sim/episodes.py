# SPDX-License-Identifier: Apache-2.0
"""Record a task's expert: episodes with disturbed commands and undisturbed labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from async_chunking.sim import make_task
from async_chunking.sim.task import Task

TAIL_S = 0.5  # Recorded beyond the success, so that the last chunks are demonstrated in full.
NOISE_S = 0.15  # Correlation time of the disturbance.


@dataclass(frozen=True)
class ExpertEpisode:
    """
    One demonstration.

    Attributes:
        observations: Name -> [T, dim].
        actions: [T, D] what the expert wanted at each tick [rad, m]; the commands had noise on it.
        attempt: Index of its randomness.
        mode: Mode of the expert.
        success_s: Time at which it was solved [s].
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    attempt: int
    mode: tuple
    success_s: float


def record(task: Task, seed: int, attempt: int, action_noise: float) -> ExpertEpisode | None:
    """
    Let the expert do one episode; None if it failed.

    Args:
        task: Reused between episodes.
        seed: Seed of the data set.
        attempt: Number of the episode; the two fix it completely.
        action_noise: Standard deviation of a slow disturbance of the commands [rad]; a tenth of
            it in metres for linear joints.
    """
    scene, choice, noise = (np.random.default_rng([seed, attempt, k]) for k in range(3))
    observation = task.reset(scene)
    expert = task.expert(choice)
    drift = np.zeros(task.plant.action_dim)
    scale = action_noise * np.where(task.plant.linear, 0.1, 1.0)
    keep = math.exp(-task.control_period / NOISE_S)
    seen: list[dict[str, np.ndarray]] = []
    actions: list[np.ndarray] = []
    left = round(TAIL_S * task.control_rate_hz)
    while left:
        seen.append(observation)
        actions.append(expert.action())
        drift = keep * drift + math.sqrt(1.0 - keep**2) * scale * noise.normal(size=len(drift))
        observation, done, solved = task.step(actions[-1] + drift)
        if done and not solved:
            return None
        left -= solved
    assert task.success_s is not None  # It was solved.
    every = round(task.control_rate_hz / task.policy_rate_hz)
    stacked = {name: np.array([o[name] for o in seen[::every]]) for name in observation}
    return ExpertEpisode(stacked, np.array(actions[::every]), attempt, expert.mode, task.success_s)


def record_many(
    name: str, episodes: int, seed: int, action_noise: float, processes: int
) -> Iterator[ExpertEpisode]:
    """
    Yield the first successful episodes of a task, the same ones with any number of processes.

    Args:
        name: Name of the task.
        episodes: How many.
        seed: Seed of the data set.
        action_noise: See `record`.
        processes: Worker processes; 1 records in this one.
    """
    if processes == 1:
        task, attempt = make_task(name), 0
        while episodes:
            if episode := record(task, seed, attempt, action_noise):
                episodes -= 1
                yield episode
            attempt += 1
        return
    with get_context('spawn').Pool(processes, _begin_worker, (name, seed, action_noise)) as pool:
        first = 0
        while episodes:
            attempts = range(first, first + episodes)  # No more than can be needed.
            first = attempts.stop
            for episode in pool.imap(_record_in_worker, attempts, chunksize=4):
                if episode:
                    episodes -= 1
                    yield episode


_worker: dict[str, tuple] = {}


def _begin_worker(name: str, seed: int, action_noise: float) -> None:
    _worker['arguments'] = (make_task(name), seed, action_noise)


def _record_in_worker(attempt: int) -> ExpertEpisode | None:
    task, seed, action_noise = _worker['arguments']
    return record(task, seed, attempt, action_noise)
