# SPDX-License-Identifier: Apache-2.0
"""A point that shall reach a moving goal, and a policy for it: small, but a closed loop."""

from __future__ import annotations

import numpy as np
import torch

from async_chunking.bench.rollout import ClosedLoopRun, Seed, play
from async_chunking.bench.rows import Row, row_of
from async_chunking.bench.serving import SamplingServer
from async_chunking.bench.sweep import BATCH, Unit
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.mergers import MERGERS
from async_chunking.policies.base import FlowPolicy
from async_chunking.safety import Limits
from async_chunking.samplers.plain import Plain
from async_chunking.strategies import PLAIN, Strategy, resolve

HORIZON = 16
FREE = Limits([-100.0] * 2, [100.0] * 2, [np.inf] * 2, [np.inf] * 2)


def config(execution_horizon: int, **changes: object) -> ExecutorConfig:
    settings = {'control_rate_hz': 50.0, 'policy_rate_hz': 50.0, 'blend_s': 0.0, **changes}
    return ExecutorConfig(FREE, ('x', 'y'), HORIZON, execution_horizon, **settings)


class Chase:
    """The point follows the command half-way each tick; the goal drifts; near it is success."""

    def __init__(self, ticks: int = 60) -> None:
        self._ticks = ticks

    def reset(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        self._tick = 0
        self._position = rng.uniform(-0.1, 0.1, 2)
        self._goal = rng.uniform(0.5, 1.0, 2)
        self._drift = rng.normal(0.0, 0.005, (self._ticks, 2))
        return self._observe()

    def step(self, command: np.ndarray) -> tuple[dict[str, np.ndarray], bool, bool]:
        self._position = self._position + 0.5 * (command - self._position)
        self._goal = self._goal + self._drift[self._tick]
        self._tick += 1
        solved = bool(np.linalg.norm(self._goal - self._position) < 0.2)
        return self._observe(), solved or self._tick == self._ticks, solved

    def _observe(self) -> dict[str, np.ndarray]:
        return {
            'observation.state': self._position.copy(),
            'observation.environment_state': self._goal - self._position,
        }


class Towards(FlowPolicy):
    """Velocity -> straight lines to the goal, each row displaced by its own noise."""

    horizon = HORIZON
    action_dim = 2
    num_steps = 3

    def encode(self, observation: dict[str, torch.Tensor]) -> torch.Tensor:
        share = torch.arange(1, HORIZON + 1)[:, None] / 40.0
        start = observation['observation.state'][:, None]
        return start + share * observation['observation.environment_state'][:, None]

    def velocity(
        self, actions: torch.Tensor, flow_time: torch.Tensor, encoding: torch.Tensor
    ) -> torch.Tensor:
        """Velocity of (1 - t) noise + t (lines + noise / 50)."""
        time = flow_time.reshape(-1, 1, 1)
        noise = (actions - time * encoding) / (1.0 - 0.98 * time)
        return encoding - 0.98 * noise


class ToyPolicies:
    """What a sweep asks of the policies; serves whatever needs no training."""

    def horizon(self, task: str) -> int:
        assert task == 'chase'
        return HORIZON

    def digest(self, task: str, strategy: Strategy) -> str:
        return 'toy'

    def refusal(self, task: str, strategy: Strategy) -> str:
        return '' if strategy.sampler == PLAIN else f'{strategy.name} is not for toys'


def play_unit(unit: Unit) -> list[Row]:
    """Play a unit of the toy; in a module, so that worker processes find it."""
    cell = unit.cell
    strategy = resolve(cell.strategy)
    behaviour = Behaviour(strategy.name, MERGERS[strategy.merger](), Corrector())
    loops = []
    for rollout in range(unit.start, unit.start + BATCH):
        seed = Seed(cell.seed, rollout)
        delays = cell.delay.draws(HORIZON, cell.execution_horizon, seed.rng(1))
        loop = ClosedLoopRun(Chase(), config(cell.execution_horizon), behaviour, delays, seed)
        loops.append(loop)
    runs = play(loops, SamplingServer(Towards(), Plain()))
    return [
        row_of(cell, loop.seed.rollout, run, loop.calls)
        for loop, run in zip(loops, runs, strict=True)
    ]
