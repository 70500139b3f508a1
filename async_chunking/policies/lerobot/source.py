# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of LeRobot, loaded when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from async_chunking.policies.lerobot.checkpoint import LeRobotCheckpoint
from async_chunking.policies.source import PolicySource
from async_chunking.strategies import Strategy

if TYPE_CHECKING:
    import torch

    from async_chunking.policies.base import ChunkPolicy, FlowPolicy


class LeRobotSource(LeRobotCheckpoint, PolicySource):
    """A checkpoint of LeRobot as the nodes see it; see `LeRobotCheckpoint`."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._loaded: FlowPolicy | ChunkPolicy | None = None

    def policy_for(
        self, strategy: Strategy, device: torch.device | str = 'cpu'
    ) -> FlowPolicy | ChunkPolicy:
        """Load it, once for all strategies; imports lerobot."""
        from async_chunking.policies.lerobot.policy import load

        del strategy  # All run on the same.
        if self._loaded is None:
            self._loaded = load(self, device)
        return self._loaded

    def digest(self, strategy: Strategy) -> str:
        """Return the hash of the weights."""
        del strategy  # All run on the same.
        return self.weights_digest
