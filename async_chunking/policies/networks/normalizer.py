# SPDX-License-Identifier: Apache-2.0
"""Robot units to the network's and back, inside the policy so that no caller can forget it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from async_chunking.policies.base import Observation
from async_chunking.policies.checkpoint.sidecar import FeatureScale, Normalization

ACTION = 'action'
STATE = 'observation.state'
_SMALLEST = 1e-2  # Of a feature's largest scale: a joint that hardly moved is not blown up.


class Normalizer:
    """
    Affine per dimension; actions absolute, or relative to the observed joint positions.

    Args:
        statistics: From `measure` or from a checkpoint.
        device: Device of the tensors.
    """

    def __init__(self, statistics: Normalization, device: torch.device | str = 'cpu') -> None:
        self.statistics = statistics
        self.relative = statistics.actions == 'relative'
        self._scales = {
            name: (
                torch.tensor(scale.offset, dtype=torch.float32, device=device),
                torch.tensor(scale.scale, dtype=torch.float32, device=device),
            )
            for name, scale in statistics.features.items()
        }

    def scale(self, name: str) -> Tensor:
        """Return the scale [dim] of a feature [rad, m]."""
        return self._scales[name][1]

    def feature(self, name: str, values: Tensor) -> Tensor:
        """Return an observed feature [..., dim] for the network."""
        offset, scale = self._scales[name]
        return (values.float() - offset) / scale

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] [rad, m] as the network's."""
        actions = actions.float()
        if self.relative:
            actions = actions - observation[STATE][:, None].float()
        return self.feature(ACTION, actions)

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return the network's actions [B, R, D] in robot units [rad, m]."""
        offset, scale = self._scales[ACTION]
        actions = actions * scale + offset
        return actions + observation[STATE][:, None].float() if self.relative else actions


def measure(
    features: Mapping[str, Tensor],
    actions: Tensor,
    kind: Literal['mean_std', 'min_max'],
    action_space: Literal['absolute', 'relative'],
) -> Normalization:
    """
    Return the statistics of a set of demonstrations.

    Args:
        features: Name -> [N, dim] observed.
        actions: [N, H, D], already relative where they are to be.
        kind: 'mean_std' or 'min_max'.
        action_space: 'absolute' or 'relative'.
    """
    scales = {name: _scale(values, kind) for name, values in features.items()}
    scales[ACTION] = _scale(actions.flatten(0, 1), kind)
    return Normalization(kind=kind, actions=action_space, features=scales)


def _scale(values: Tensor, kind: str) -> FeatureScale:
    values = values.double()
    if kind == 'mean_std':
        offset, scale = values.mean(0), values.std(0, correction=0)
    else:
        low, high = values.amin(0), values.amax(0)
        offset, scale = (low + high) / 2.0, (high - low) / 2.0
    largest = scale.max().item()
    scale = scale.clamp(min=_SMALLEST * largest) if largest > 0.0 else torch.ones_like(scale)
    return FeatureScale(offset=tuple(offset.tolist()), scale=tuple(scale.tolist()))
