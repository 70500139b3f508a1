# SPDX-License-Identifier: Apache-2.0
"""
LeRobot's `ActionQueue` and `RTCProcessor`, as its `RTCInferenceEngine` uses the two.

The engine runs on threads and the wall clock; the calls that its loop makes are made here on
simulated time. Settings are LeRobot's own but for the end of the soft mask (`execution_horizon` of
`RTCConfig`), which is H - s, as RTC's paper has it, instead of 10 of 50 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lerobot.policies.rtc import ActionQueue
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.policies.rtc.modeling_rtc import RTCProcessor

from async_chunking.bench.rollout import Observation
from async_chunking.executor import ExecutorConfig
from async_chunking.samplers.base import Context, Draw, Sampler
from tools.peers.loop import ChunkWanted


class Queued:
    """
    The queue of one robot, filled again when H - s actions are left; is a `Peer`.

    Args:
        config: Horizon and execution horizon.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._left = config.horizon - config.execution_horizon
        self._nothing = np.empty((0, config.action_dim))
        self._queue = ActionQueue(RTCConfig(execution_horizon=max(1, self._left)))
        self._index = 0

    def receive(self, rows: np.ndarray, delay: int) -> None:
        """Merge a chunk in; the queue drops its first `delay` rows."""
        actions = torch.as_tensor(rows)
        self._queue.merge(actions, actions, delay, self._index)

    def look(self, tick: int, observation: Observation, idle: bool) -> ChunkWanted | None:
        """Ask when few actions are left, with those as the plan to meet."""
        if not idle or self._queue.qsize() > self._left:
            return None
        self._index = self._queue.get_action_index()
        left = self._queue.get_left_over()
        return ChunkWanted(observation, tick, self._nothing if left is None else left.numpy())

    def command(self) -> np.ndarray | None:
        """Return the next action of the queue, None if it is empty."""
        action = self._queue.get()
        return None if action is None else action.numpy()


@dataclass(frozen=True)
class LeRobotRtc(Sampler):
    """LeRobot's guidance around our policy: its flow time runs from 1, noise, to 0, action."""

    def draw(self, context: Context) -> Draw:
        """Integrate LeRobot's guided velocity; see `Sampler.draw`."""
        boundary, count = context.boundary, self.steps(context.policy)
        end = max(1, context.policy.horizon - boundary.execution_horizon)
        guided = RTCProcessor(RTCConfig(execution_horizon=end)).denoise_step
        left = boundary.previous[:, :end] if boundary.rows else None
        x = context.noise
        for step in range(count):
            now = 1.0 - step / count

            def velocity(x: torch.Tensor, now: float = now) -> torch.Tensor:
                return -context.velocity(x, 1.0 - now)

            x = x - guided(x, left, boundary.delay, now, velocity) / count
        return Draw(x.detach())
