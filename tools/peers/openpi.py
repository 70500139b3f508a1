# SPDX-License-Identifier: Apache-2.0
"""
openpi's `ActionChunkBroker` (package openpi-client): one chunk, then the next; infer blocks.

Its inner policy raises `NotYet` until the chunk is there, which leaves the broker as it was: so
the same call that would block on a robot is made again at every tick until it answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy

from async_chunking.bench.rollout import Observation
from async_chunking.executor import ExecutorConfig
from tools.peers.loop import ChunkWanted


class NotYet(Exception):
    """The policy is still computing."""


class Answers(BasePolicy):
    """A policy that gives the chunk which was put there, once."""

    rows: np.ndarray | None = None

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        """Return the chunk as a policy server does."""
        del obs  # It was answered before.
        if self.rows is None:
            raise NotYet
        rows, self.rows = self.rows, None
        return {'actions': rows}


class Broker:
    """
    The broker with `action_horizon` = execution horizon; is a `Peer`.

    Args:
        config: Execution horizon and joints.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._policy = Answers()
        self._broker = ActionChunkBroker(self._policy, config.execution_horizon)
        self._nothing = np.empty((0, config.action_dim))
        self._sent: np.ndarray | None = None

    def receive(self, rows: np.ndarray, delay: int) -> None:
        """Let the policy answer."""
        del delay  # The broker knows none.
        self._policy.rows = rows

    def look(self, tick: int, observation: Observation, idle: bool) -> ChunkWanted | None:
        """Call the broker; ask for what its policy does not have."""
        self._sent = self._infer()
        if self._sent is None and idle:
            return ChunkWanted(observation, tick, self._nothing)
        return None

    def command(self) -> np.ndarray | None:
        """Return the broker's action, None while it blocks."""
        return self._infer() if self._sent is None else self._sent

    def _infer(self) -> np.ndarray | None:
        try:
            return self._broker.infer({})['actions']
        except NotYet:
            return None
