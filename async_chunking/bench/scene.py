# SPDX-License-Identifier: Apache-2.0
"""Plays units of work: an environment, its limits, and a policy of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from async_chunking.bench.digests import digest_of
from async_chunking.bench.rollout import (
    ClosedLoopRun,
    Environment,
    Loop,
    Seed,
    Server,
    play,
)
from async_chunking.bench.rows import Row, row_of
from async_chunking.bench.serving import SamplingServer
from async_chunking.bench.sweep import BATCH, Cell, Unit
from async_chunking.correctors import Corrector
from async_chunking.environments.arena import is_task, open_arena, shipped_name
from async_chunking.errors import StrategyError
from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.policies.checkpoint.directory import PolicyDirectory, load_corrector
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.fit import FitError, check_fit, facts_of
from async_chunking.policies.named import policy_options
from async_chunking.policies.opening import open_policy
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.samplers.base import PolicyError
from async_chunking.strategies import Strategy, resolve

Make = Callable[[Environment, ExecutorConfig, Iterator[tuple[int, int]], Seed], Loop]
"""(environment, settings, (true, told) delays, randomness) -> what drives it."""


@dataclass(frozen=True)
class Bench:
    """Environments with their policies; is a `Play` and the `Policies` of a sweep.

    Attributes:
        folder: Holds a folder of checkpoints for each environment; empty for those shipped.
        policy: The policy of all environments, in a word; see `policies.named`.
    """

    folder: str = ''
    policy: str = ''

    def horizon(self, task: str) -> int:
        """Return the rows of a chunk of the environment's policies.

        Raises:
            AsyncChunkingError: The environment is unknown, or its policy is missing or another's.
        """
        return self.scene(task).source.horizon

    def digest(self, task: str, strategy: Strategy) -> str:
        """Return the digest of what serves a strategy."""
        return self.scene(task).digest(strategy)

    def note(self, task: str) -> str:
        """Return what a user should know of the environment's limits; may be empty."""
        return self.scene(task).arena.note

    def unit(self, task: str) -> str:
        """Return the unit of the environment's actions."""
        return self.scene(task).arena.unit

    def execution_horizon(self, task: str) -> int:
        """Return the rows between two requests that the robot has unless told otherwise."""
        return self.scene(task).arena.robot.policy.execution_horizon

    def refusal(self, task: str, strategy: Strategy) -> str:
        """Return why the environment's policy cannot serve a strategy, empty if it can.

        Raises:
            StrategyError: It sets a constant that it does not have.
        """
        strategy.load_merger()
        strategy.load_sampler()
        try:
            scene = self.scene(task)
            check_strategy(strategy, facts_of(scene.source), scene.arena.modes)
        except StrategyError as error:
            return str(error)
        return ''

    def __call__(self, unit: Unit) -> list[Row]:
        """Play a unit: its rows."""
        return self.scene(unit.cell.task).play(unit)

    def scene(self, task: str) -> Scene:
        """Return the environment with its policy, loaded once; raises as `Scene` does."""
        return _scene(task, self.folder, self.policy)


@lru_cache(maxsize=4)
def _scene(task: str, folder: str, policy: str) -> Scene:
    return Scene(task, folder, policy)


class Scene:
    """One environment with everything that is loaded once for it.

    Args:
        task: Name of the environment.
        folder: See `Bench`.
        policy: See `Bench`.

    Attributes:
        arena: The environment.
        source: The policy in it.

    Raises:
        AsyncChunkingError: The environment is unknown or not as described, or the policy is of
            another one or does not fit it.
    """

    def __init__(self, task: str, folder: str, policy: str = '') -> None:
        self.arena = open_arena(task)
        self._environments = [self.arena.make()]
        self.source, self._correctors = self._open(folder, policy)
        self._servers: dict[str, tuple[SamplingServer, Behaviour]] = {}
        for name, sidecar in getattr(self.source, 'sidecars', {}).items():
            if getattr(sidecar, 'task', task) not in (task, ''):
                raise CheckpointError(
                    f"{self.source.title}: checkpoint '{name}' is of task '{sidecar.task}', not "
                    f"of '{task}'"
                )
        check_fit(facts_of(self.source), self.arena.robot)
        if self.source.observation_steps > 1:
            raise FitError(
                f'{self.source.title}: the policy reads observations of '
                f'{self.source.observation_steps} moments; the bench has one'
            )

    def _open(self, folder: str, policy: str) -> tuple[PolicySource, str]:
        """Return the policy, and the folder of its correctors."""
        if policy:
            options = policy_options(policy)
            return open_policy(PolicySpec(self.arena.robot, options)), options.policy_path
        name = shipped_name(self.arena.name)
        own = Path(folder) / name
        place = own if folder and (own.is_dir() or is_task(name)) else policy_directory(name)
        return PolicyDirectory(place), str(place)

    def digest(self, strategy: Strategy) -> str:
        """Return the digest of what serves a strategy, with all its settings."""
        return digest_of(self.source, strategy, self.arena.digest)

    def play(self, unit: Unit) -> list[Row]:
        """Play a unit: its rows.

        Raises:
            FitError: The policy failed, or all of its chunks were turned away in an episode;
                what was played before is kept.
        """
        server, behaviour = self.serve(unit.cell.strategy)

        def make(
            environment: Environment, config: ExecutorConfig, delays: Iterator, seed: Seed
        ) -> Loop:
            return ClosedLoopRun(environment, config, behaviour, delays, seed, self.arena.rest)

        return self.play_with(unit, server, make)

    def play_with(self, unit: Unit, server: Server, make: Make) -> list[Row]:
        """Play a unit by loops that `make` makes; raises as `play` does."""
        config = self._config(unit.cell)
        while len(self._environments) < BATCH:
            self._environments.append(self.arena.make())
        loops = []
        for index, environment in enumerate(self._environments):
            seed = Seed(unit.cell.seed, unit.start + index)
            delays = unit.cell.delay.draws(config.horizon, config.execution_horizon, seed.rng(1))
            loops.append(make(environment, config, delays, seed))
        try:
            runs = play(loops, server)
        except PolicyError as error:
            raise FitError(f'{self.source.title}: {error}') from error
        if reason := next((loop.turned_away for loop in loops if loop.turned_away), ''):
            raise FitError(f'{self.source.title}: {reason}')
        return [
            row_of(unit.cell, loop.seed.rollout, run, loop.calls, environment.failure)
            for loop, run, environment in zip(loops, runs, self._environments, strict=True)
        ]

    def _config(self, cell: Cell) -> ExecutorConfig:
        robot = self.arena.robot
        blend = {} if self.arena.rest is None else {'blend_s': 0.0}
        return ExecutorConfig(
            robot.limits,
            robot.joint_names,
            horizon=cell.horizon,
            execution_horizon=cell.execution_horizon,
            control_rate_hz=self.arena.control_rate_hz,
            policy_rate_hz=self.source.policy_rate_hz or robot.policy.policy_rate_hz,
            continuous=robot.continuous,
            **blend,
        )

    def serve(self, name: str) -> tuple[SamplingServer, Behaviour]:
        """Return what answers the requests of a strategy, and what its executor does."""
        if name not in self._servers:
            strategy = resolve(name)
            policy = self.source.policy_for(strategy)
            weak = self.source.weak_policy() if 'weak_policy' in strategy.needs else None
            server = SamplingServer(policy, strategy.load_sampler(), weak)
            corrector = Corrector()
            if strategy.corrector != 'none':
                corrector = load_corrector(self._correctors, strategy.corrector)
            rows = strategy.rows(policy.horizon, committed=policy.horizon)
            behaviour = Behaviour(name, strategy.load_merger(), corrector, rows)
            self._servers[name] = server, behaviour
        return self._servers[name]
