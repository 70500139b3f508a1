# SPDX-License-Identifier: Apache-2.0
"""What every network is built from; each adds its own sizes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """
    What is needed to build a network, and is kept beside its weights.

    Attributes:
        horizon: Rows of a chunk [steps].
        action_dim: Columns.
        observation: Names and sizes of the features that it reads, in order.
    """

    horizon: int
    action_dim: int
    observation: tuple[tuple[str, int], ...]

    @property
    def observed(self) -> int:
        """Numbers of an observation."""
        return sum(size for _, size in self.observation)

    def build(self) -> nn.Module:
        """Return a network with fresh weights from torch's global generator."""
        raise NotImplementedError
