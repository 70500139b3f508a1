# SPDX-License-Identifier: Apache-2.0
"""A LeRobot checkpoint's own processors, on both sides of its network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from async_chunking.policies.base import Observation
from async_chunking.policies.networks.network import ObservationError

_ACTION = 'action'


class Processors:
    """
    The checkpoint's own way from observations to the network, and from its actions back.

    Normalisation, tokens and actions relative to the present state are LeRobot's.

    Args:
        before: LeRobot's preprocessor.
        after: LeRobot's postprocessor.
        expects: See `PolicySource`.
        action_dim: Columns of the robot's actions.
    """

    def __init__(
        self, before: Any, after: Any, expects: Mapping[str, tuple[int, ...]], action_dim: int
    ) -> None:
        self._before = before
        self._after = after
        self._expects = expects
        self.action_dim = action_dim

    def observation(self, observation: Observation) -> dict[str, Any]:
        """
        Return what the network reads.

        Raises:
            ObservationError: Something is missing or has another size.
        """
        self._check(observation)
        return self._before({name: _as_lerobot(observation[name]) for name in self._expects})

    def actions(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] in robot units as the network's [B, R, D]."""
        self._check(observation)
        # Cameras say nothing about actions, and are large.
        kept = {n: observation[n] for n, s in self._expects.items() if len(s) < 3}
        return self._before({**kept, _ACTION: actions})[_ACTION]

    def positions(self, actions: Tensor) -> Tensor:
        """Return the network's actions [B, R, D'] in robot units [B, R, D]."""
        return self._after(actions[..., : self.action_dim])

    def _check(self, observation: Observation) -> None:
        for name, shape in self._expects.items():
            if name not in observation:
                msg = f"the policy reads '{name}', the observation has {', '.join(observation)}"
                raise ObservationError(msg)
            shape_seen = tuple(getattr(observation[name], 'shape', ())[1:])
            if shape and shape_seen[-len(shape) :] != shape:
                msg = f"'{name}' must be {list(shape)} for this policy, got {list(shape_seen)}"
                raise ObservationError(msg)


def _as_lerobot(values: Any) -> Any:
    """Return an image as [B, 3, height, width] in 0 to 1, all else as it is."""
    if isinstance(values, Tensor) and values.dtype == torch.uint8:
        return values.movedim(-1, -3).float() / 255
    return values
