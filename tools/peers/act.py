# SPDX-License-Identifier: Apache-2.0
"""
ACT's temporal ensembling by LeRobot's `ACTTemporalEnsembler`, with the coefficient of ACT, 0.01.

`ACTPolicy.select_action` asks for a chunk before every action and blocks until it is there; so
does this, and a delay of d ticks makes one action of d + 1 ticks.
"""

from __future__ import annotations

import numpy as np
import torch
from lerobot.policies.act.modeling_act import ACTTemporalEnsembler

from async_chunking.bench.rollout import Observation
from async_chunking.executor import ExecutorConfig
from tools.peers.loop import ChunkWanted

COEFFICIENT = 0.01


class Ensembled:
    """
    The ensembler of one robot; is a `Peer`.

    Args:
        config: Horizon and joints.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._ensembler = ACTTemporalEnsembler(COEFFICIENT, config.horizon)
        self._nothing = np.empty((0, config.action_dim))
        self._action: np.ndarray | None = None

    def receive(self, rows: np.ndarray, delay: int) -> None:
        """Put a chunk into the ensemble and take the next action."""
        del delay  # The ensembler knows none.
        self._action = self._ensembler.update(torch.as_tensor(rows)[None])[0].numpy()

    def look(self, tick: int, observation: Observation, idle: bool) -> ChunkWanted | None:
        """Ask whenever there is no action."""
        if self._action is None and idle:
            return ChunkWanted(observation, tick, self._nothing)
        return None

    def command(self) -> np.ndarray | None:
        """Return the action that was made, once."""
        action, self._action = self._action, None
        return action
