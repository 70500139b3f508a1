# SPDX-License-Identifier: Apache-2.0
"""
A2C2: correct each action by what is observed when it is executed (arXiv 2509.23224).

A small network adds to the planned action what the newest observation asks for; it was trained
with the recipe `a2c2`. Plain numpy: it runs in the command thread, tens of microseconds a tick.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from async_chunking.correctors.base import Corrector
from async_chunking.policies.checkpoint.sidecar import (
    CheckpointError,
    Sidecar,
    read_sidecar,
    read_weights,
    weights_path,
)

Layer = tuple[np.ndarray, np.ndarray]
STATE, ACTION = 'observation.state', 'action'


@dataclass(frozen=True)
class A2C2(Corrector):
    """
    A residual head.

    Its input is the newest observation, the planned action, both normalised, and the place in the
    chunk as sin and cos of 2 pi row / horizon; its output is the correction in units of `scale`.

    Attributes:
        observation: Names and sizes of the features that it reads, in order.
        offset: [O + D] of the normalisation of features and action.
        scale: [O + D], likewise.
        relative: The action is normalised relative to the measured joint positions.
        layers: Weights [out, in] and biases [out], with ReLU between.
        bound: Largest output; 0 for none.
    """

    observation: tuple[tuple[str, int], ...]
    offset: np.ndarray
    scale: np.ndarray
    relative: bool
    layers: tuple[Layer, ...]
    bound: float = 0.0

    def reads(self) -> tuple[tuple[str, int], ...]:
        """Return what the head reads, and the joints, from which the action is counted."""
        if not self.relative or STATE in dict(self.observation):
            return self.observation
        return (*self.observation, (STATE, len(self.layers[-1][1])))

    def correct(
        self,
        action: np.ndarray,
        row: float,
        horizon: int,
        observation: Mapping[str, np.ndarray] | None,
    ) -> np.ndarray:
        """Return the corrected action [D]; as planned where no complete observation came yet."""
        if observation is None or any(name not in observation for name, _ in self.reads()):
            return action
        seen = [observation[name] for name, _ in self.observation]
        anchored = action - observation[STATE] if self.relative else action
        angle = 2.0 * math.pi * row / horizon
        x = (np.concatenate([*seen, anchored]) - self.offset) / self.scale
        x = np.concatenate([x, (math.sin(angle), math.cos(angle))])
        for weight, bias in self.layers[:-1]:
            x = np.maximum(weight @ x + bias, 0.0)
        weight, bias = self.layers[-1]
        y = weight @ x + bias
        if self.bound:
            y = self.bound * np.tanh(y / self.bound)
        return action + y * self.scale[-len(action) :]


def load_a2c2(path: Path | str) -> A2C2:
    """
    Load a head; numpy only.

    Raises:
        CheckpointError: It is missing or torn, or no A2C2 head.
        SettingsError: A key of its sidecar has a wrong value.
    """
    import safetensors
    import safetensors.numpy

    sidecar, file = read_sidecar(path), weights_path(path)
    if sidecar.architecture.get('name') != 'a2c2':
        msg = f'{file}: architecture.name is {sidecar.architecture.get("name")!r}, not a2c2'
        raise CheckpointError(msg)
    try:
        weights = safetensors.numpy.load(read_weights(path, sidecar))
        return head(sidecar, weights)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f'{file}: not a complete A2C2 head ({error!r}). Train it again'
        raise CheckpointError(msg) from error


def head(sidecar: Sidecar, weights: Mapping[str, np.ndarray]) -> A2C2:
    """Build the head from its sidecar and the weights `0.weight`, `0.bias`, `2.weight`, ..."""
    observation = tuple((str(n), int(size)) for n, size in sidecar.architecture['observation'])
    scales = [sidecar.normalization.features[n] for n in (*(n for n, _ in observation), ACTION)]
    numbers = sorted({int(name.split('.')[0]) for name in weights})
    return A2C2(
        observation,
        np.concatenate([scale.offset for scale in scales]),
        np.concatenate([scale.scale for scale in scales]),
        sidecar.normalization.actions == 'relative',
        tuple(
            (weights[f'{i}.weight'].astype(np.float64), weights[f'{i}.bias'].astype(np.float64))
            for i in numbers
        ),
        float(sidecar.architecture.get('bound', 0.0)),
    )
