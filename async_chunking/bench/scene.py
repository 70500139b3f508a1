# SPDX-License-Identifier: Apache-2.0
"""Plays units of work: a simulated task, its robot's limits, and the policies trained for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from async_chunking.bench.rollout import ClosedLoopRun, SamplingServer, Seed, play
from async_chunking.bench.rows import Row, row_of
from async_chunking.bench.sweep import BATCH, Cell, Unit
from async_chunking.correctors import Corrector
from async_chunking.errors import StrategyError
from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.policies.base import FlowPolicy
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.fit import facts_of
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.robot import embodiment
from async_chunking.robot.action_modes import ActionModes
from async_chunking.sim import make_task
from async_chunking.sim.task import Task
from async_chunking.strategies import Strategy, resolve


@dataclass(frozen=True)
class Bench:
    """The tasks of the package with their policies; is a `Play` and the `Policies` of a sweep.

    Attributes:
        folder: Holds a folder of checkpoints for each task; empty for those that are shipped.
    """

    folder: str = ''

    def horizon(self, task: str) -> int:
        """Return the rows of a chunk of the task's policies.

        Raises:
            AsyncChunkingError: The task is unknown, or its checkpoints are missing or another's.
        """
        return _scene(task, self.folder).directory.horizon

    def digest(self, task: str, strategy: Strategy) -> str:
        """Return the digest of the checkpoints that serve a strategy."""
        return _scene(task, self.folder).digest(strategy)

    def refusal(self, task: str, strategy: Strategy) -> str:
        """Return why the task's checkpoints cannot serve a strategy, empty if they can.

        Raises:
            StrategyError: It sets a constant that it does not have.
        """
        strategy.load_merger()
        strategy.load_sampler()
        try:
            scene = _scene(task, self.folder)
            check_strategy(strategy, facts_of(scene.directory), scene.modes)
        except StrategyError as error:
            return str(error)
        return ''

    def __call__(self, unit: Unit) -> list[Row]:
        """Play a unit: its rows."""
        return _scene(unit.cell.task, self.folder).play(unit)


@lru_cache(maxsize=4)
def _scene(task: str, folder: str) -> Scene:
    return Scene(task, folder)


class Scene:
    """One task with everything that is loaded once for it.

    Args:
        task: Name.
        folder: See `Bench`.

    Attributes:
        directory: The task's checkpoints.

    Raises:
        AsyncChunkingError: The task is unknown, or the checkpoints are of another task or robot.
    """

    def __init__(self, task: str, folder: str) -> None:
        self._tasks: list[Task] = [make_task(task)]
        place = Path(folder) / task if folder else policy_directory(task)
        self.directory = PolicyDirectory(place)
        self._robot = embodiment.load(self._tasks[0].embodiment)
        self._servers: dict[str, tuple[SamplingServer, Behaviour]] = {}
        for name, sidecar in self.directory.sidecars.items():
            if sidecar.task != task:
                raise CheckpointError(
                    f"{place}: checkpoint '{name}' is of task '{sidecar.task}', not of '{task}'"
                )

    @property
    def modes(self) -> ActionModes:
        """What the robot's actions mean."""
        return self._robot.action_modes

    def digest(self, strategy: Strategy) -> str:
        """Return the digest of the checkpoints that serve a strategy, with all their settings."""
        needed = [self.directory.recipe_for(strategy)]
        needed += ['weak'] if 'weak_policy' in strategy.needs else []
        needed += [strategy.corrector] if strategy.corrector != 'none' else []
        parts = b''.join(self.directory.sidecars[name].dump() for name in needed)
        return hashlib.sha256(parts).hexdigest()[:16]

    def play(self, unit: Unit) -> list[Row]:
        """Play a unit: its rows."""
        server, behaviour = self._serve(unit.cell.strategy)
        config = self._config(unit.cell)
        while len(self._tasks) < BATCH:
            self._tasks.append(make_task(unit.cell.task))
        loops = []
        for index, task in enumerate(self._tasks):
            seed = Seed(unit.cell.seed, unit.start + index)
            delays = unit.cell.delay.draws(config.horizon, config.execution_horizon, seed.rng(1))
            loops.append(ClosedLoopRun(task, config, behaviour, delays, seed))
        runs = play(loops, server)
        return [
            row_of(unit.cell, loop.seed.rollout, run, loop.calls, task.failure)
            for loop, run, task in zip(loops, runs, self._tasks, strict=True)
        ]

    def _config(self, cell: Cell) -> ExecutorConfig:
        sidecar = next(iter(self.directory.sidecars.values()))
        return ExecutorConfig(
            self._robot.limits,
            self._robot.joint_names,
            horizon=cell.horizon,
            execution_horizon=cell.execution_horizon,
            control_rate_hz=self._tasks[0].control_rate_hz,
            policy_rate_hz=sidecar.policy_rate_hz,
            continuous=self._robot.continuous,
        )

    def _serve(self, name: str) -> tuple[SamplingServer, Behaviour]:
        """Return what answers the requests of a strategy, and what its executor does."""
        if name not in self._servers:
            strategy = resolve(name)
            policy = self.directory.policy_for(strategy)
            if not isinstance(policy, FlowPolicy):
                raise CheckpointError(f'{self.directory.path} has no flow policy to bench')
            weak = self.directory.weak_policy() if 'weak_policy' in strategy.needs else None
            server = SamplingServer(policy, strategy.load_sampler(), weak)
            corrector = Corrector()
            if strategy.corrector != 'none':
                corrector = self.directory.corrector(strategy.corrector)
            behaviour = Behaviour(name, strategy.load_merger(), corrector)
            self._servers[name] = server, behaviour
        return self._servers[name]
