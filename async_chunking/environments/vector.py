# SPDX-License-Identifier: Apache-2.0
"""A vector environment of Gymnasium that holds one environment, as that one."""

from __future__ import annotations

from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError


class VectorError(AsyncChunkingError):
    """A vector environment holds more than one."""


class OneOfVector:
    """
    What `reset`, `step` and `action_space` of a vector environment say of its only member.

    Whether it begins the next episode in the same step, in the next one or when told does not
    matter: nothing is asked after the end, and its last `info` is read where each mode puts it.

    Args:
        vector: Has `num_envs` = 1.

    Raises:
        VectorError: It holds more: the bench makes as many as it plays, each with its own seed.
    """

    def __init__(self, vector: Any) -> None:
        if vector.num_envs != 1:
            msg = f'it is a vector of {vector.num_envs} environments; let it hold one '
            raise VectorError(msg + '(num_envs: 1), the bench makes as many as it plays')
        self._vector = vector
        self.action_space = vector.single_action_space

    def reset(self, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        seen, info = self._vector.reset(seed=[seed])
        return _first(seen), _first(info)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step it once."""
        answer = self._vector.step(np.asarray(action)[None])
        seen, reward, terminated, truncated, info = map(_first, answer)
        return seen, reward, terminated, truncated, {**info, **info.get('final_info', {})}


def single(environment: Any) -> Any:
    """Return an environment that is no vector."""
    return OneOfVector(environment) if hasattr(environment, 'num_envs') else environment


def _first(values: Any) -> Any:
    """Return what belongs to the only member; keys with '_' only say who has the others."""
    if isinstance(values, dict):
        return {key: _first(one) for key, one in values.items() if not key.startswith('_')}
    return values[0] if isinstance(values, np.ndarray | tuple | list) and len(values) else values
