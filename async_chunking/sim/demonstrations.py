# SPDX-License-Identifier: Apache-2.0
"""
Demonstrations of a task's expert; their form on disk is that of `async_chunking.dataset`.

A frame holds what was observed at a tick and the `action` that the expert wanted for that tick.
With action noise the command that was sent differed from it, which is how states off the expert's
path come into the data together with the way back. `meta/generation.json` says how to make them
again; the table of episodes also holds attempt, mode and time to success.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from async_chunking.dataset.writing import (
    DatasetError,
    Demonstration,
    Description,
    require_empty,
    write,
)
from async_chunking.sim import make_task
from async_chunking.sim.episodes import ExpertEpisode, record_many
from async_chunking.sim.task import Task
from async_chunking.storage import write_json


@dataclass(frozen=True)
class Generation:
    """
    How a data set is made; equal values make equal data.

    Attributes:
        task: Name.
        episodes: Successful ones to keep.
        seed: Seed of everything random.
        action_noise: Noise on the commands, see `episodes.record` [rad].
    """

    task: str
    episodes: int = 400
    seed: int = 0
    action_noise: float = 0.01

    def __post_init__(self) -> None:
        if self.episodes < 1:
            msg = f'episodes must be at least 1, got {self.episodes}'
            raise DatasetError(msg)
        if not 0.0 <= self.action_noise < np.inf:
            msg = f'action_noise must be finite and >= 0, got {self.action_noise}'
            raise DatasetError(msg)


def generate(how: Generation, out: Path, processes: int = 2, quiet: bool = False) -> Path:
    """
    Record a task's expert and write a data set.

    Raises:
        DatasetError: The folder holds something already.
        SettingsError: Unknown task.
    """
    task = make_task(how.task)
    require_empty(out)
    episodes = list(
        track(
            record_many(how.task, how.episodes, how.seed, how.action_noise, processes),
            description=f'Recording {how.task}',
            total=how.episodes,
            disable=quiet,
        )
    )
    write(out, describe(task), [_demonstration(episode) for episode in episodes])
    write_json(dataclasses.asdict(how), out / 'meta/generation.json')
    return out


def describe(task: Task) -> Description:
    """Return what all episodes of a task have in common."""
    features = {
        'observation.state': task.plant.joints,
        'observation.environment_state': task.environment_names,
        'action': task.plant.joints,
    }
    return Description(task.embodiment, task.policy_rate_hz, task.instruction, features)


def _demonstration(episode: ExpertEpisode) -> Demonstration:
    extra = {
        'attempt': episode.attempt,
        'mode': list(episode.mode),
        'success_seconds': episode.success_s,
    }
    return Demonstration({**episode.observations, 'action': episode.actions}, extra)
