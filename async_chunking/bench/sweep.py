# SPDX-License-Identifier: Apache-2.0
"""What to run: strategy × delay × execution horizon × task × seed, from one YAML file.

A file is a number of rollouts and a list of grids; a grid is a product of five axes::

    rollouts: 64
    grids:
      - tasks: [viperx_slalom]
        strategies: [sync, naive, paint]      # or: all
        delays: [0, 2, {steps: 4, truth: spiky, told: maximum}]
        execution_horizons: [8]               # `delay` stands for max(1, delay)
        seeds: [0]

Everything in it is checked before the first rollout. A cell that two grids share runs once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, field_validator

from async_chunking.bench.delays import DelayModel, require_feasible
from async_chunking.settings import Settings, load_yaml, validated
from async_chunking.strategies import NAMES, Strategy, resolve

BATCH = 16
"""Rollouts of one unit of work. Results do not depend on how units are spread over processes, but
a batch of another size rounds differently, so the size is fixed."""


class Delay(Settings):
    """A delay with its pattern; see `DelayModel`."""

    steps: int = Field(ge=0)
    truth: str = 'constant'
    told: str = 'exact'

    def model_post_init(self, context: Any) -> None:
        """Refuse unknown patterns."""
        del context  # Unused.
        DelayModel(self.steps, self.truth, self.told)


class Grid(Settings):
    """A product of axes; every combination must be feasible."""

    tasks: tuple[str, ...] = Field(min_length=1)
    strategies: tuple[str, ...] = Field(min_length=1)
    delays: tuple[Delay, ...] = Field(min_length=1)
    execution_horizons: tuple[int | Literal['delay'], ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)

    @field_validator('strategies', mode='before')
    @classmethod
    def _all(cls, value: Any) -> Any:
        value = NAMES if value == 'all' else value
        for name in value if isinstance(value, list | tuple) else ():
            resolve(str(name))
        return value

    @field_validator('delays', mode='before')
    @classmethod
    def _plain_numbers(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple({'steps': v} if isinstance(v, int) else v for v in value)


class Sweep(Settings):
    """What to run.

    Attributes:
        rollouts: Per cell; a multiple of `BATCH`.
        grids: Grids of cells.
    """

    rollouts: int = Field(ge=BATCH, multiple_of=BATCH)
    grids: tuple[Grid, ...] = Field(min_length=1)


def load(path: Path) -> Sweep:
    """Return the sweep that a YAML file describes.

    Raises:
        SettingsError: The file or a value in it cannot be used.
    """
    return validated(Sweep, load_yaml(path), path)


@dataclass(frozen=True)
class Cell:
    """One condition: all its rollouts differ in their randomness alone.

    Attributes:
        task: Name.
        policy: Digest of the checkpoints that serve the strategy, so that rows of another
            training never mix with these.
        strategy: Name, as the user wrote it.
        delay: Model of the delays.
        execution_horizon: s [steps].
        horizon: H [steps].
        seed: Seed of the sweep.
    """

    task: str
    policy: str
    strategy: str
    delay: DelayModel
    execution_horizon: int
    horizon: int
    seed: int = 0

    @property
    def key(self) -> str:
        """Short digest that identifies the cell."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Unit:
    """The rollouts `start` to `start + BATCH - 1` of a cell: what one process does at a time."""

    cell: Cell
    start: int

    @property
    def name(self) -> str:
        """Name of its shard of rows."""
        return f'{self.cell.key}-{self.start:05d}'


class Policies(Protocol):
    """What a sweep must know of the policies before it runs; see `async_chunking.bench.scene`."""

    def horizon(self, task: str) -> int:
        """Return the rows of a chunk; refuses an unknown task."""

    def digest(self, task: str, strategy: Strategy) -> str:
        """Return the digest of the checkpoints that serve a strategy."""

    def refusal(self, task: str, strategy: Strategy) -> str:
        """Return why the task's checkpoints cannot serve a strategy, empty if they can."""


@dataclass(frozen=True)
class Skipped:
    """A strategy that a task's policies cannot serve."""

    task: str
    strategy: str
    reason: str


def expand(sweep: Sweep, policies: Policies) -> tuple[list[Cell], list[Skipped]]:
    """Return every cell once, and what cannot be served.

    Raises:
        AsyncChunkingError: A task is unknown, or a combination is infeasible.
    """
    cells: dict[Cell, None] = {}
    skipped: dict[Skipped, None] = {}
    for grid in sweep.grids:
        for task, name in product(grid.tasks, grid.strategies):
            horizon = policies.horizon(task)
            strategy = resolve(name)
            timings = list(_timings(grid, horizon, strategy.rests))
            reason = policies.refusal(task, strategy)
            if reason:
                skipped[Skipped(task, name, reason)] = None
                continue
            digest = policies.digest(task, strategy)
            for (delay, execution_horizon), seed in product(timings, grid.seeds):
                cells[Cell(task, digest, name, delay, execution_horizon, horizon, seed)] = None
    return list(cells), list(skipped)


def _timings(grid: Grid, horizon: int, rests: bool) -> Iterator[tuple[DelayModel, int]]:
    for setting, wanted in product(grid.delays, grid.execution_horizons):
        delay = DelayModel(setting.steps, setting.truth, setting.told)
        execution_horizon = max(1, delay.steps) if wanted == 'delay' else wanted
        if rests and wanted == 'delay':  # There are no more rows to execute.
            execution_horizon = min(execution_horizon, horizon)
        require_feasible(delay.steps, execution_horizon, horizon, rests)
        yield delay, execution_horizon


def units(cells: list[Cell], rollouts: int) -> list[Unit]:
    """Return all work, the first batch of every cell before the second of any."""
    return [Unit(cell, start) for start in range(0, rollouts, BATCH) for cell in cells]
