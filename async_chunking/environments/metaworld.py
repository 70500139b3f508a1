# SPDX-License-Identifier: Apache-2.0
"""MetaWorld (Yu et al. 2019; package metaworld): the goal in sight, an episode for each seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from async_chunking.environments.gym import GymError
from async_chunking.settings import unknown


def make(task: str) -> Any:
    """
    Return one of the 50 tasks.

    MetaWorld's own `reset` leaves its seed aside; here it seeds what the episode is drawn from.

    Raises:
        GymError: There is no such task.
    """
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS as CLASSES

    if task not in CLASSES:
        raise GymError(unknown('task of MetaWorld', task, CLASSES))

    class Seeded(CLASSES[task]):
        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            self._partially_observable = False  # The goal is in sight;
            self.__dict__.pop('sawyer_observation_space', None)  # all is cut to this, a cache.
            self._freeze_rand_vec = False
            self._set_task_called = True
            self.seeded_rand_vec = True
            if seed is not None:
                self.seed(seed)
            return super().reset(options=options)

    return Seeded()


def expert(task: str) -> Callable[[Any], np.ndarray]:
    """Return the scripted expert of MetaWorld's authors: observation [39] to action [4]."""
    from metaworld.policies import ENV_POLICY_MAP

    policy = ENV_POLICY_MAP[task]()

    def act(observation: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # That what it wants is cut, as everything is.
            return np.clip(policy.get_action(observation), -1.0, 1.0)

    return act
