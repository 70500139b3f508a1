# SPDX-License-Identifier: Apache-2.0
"""
`python -m tools pace`: steps per second of the bench beside those of the bare environment.

A unit of rollouts is played by the bench; then the same episodes are begun again and the same
commands sent to the environments themselves, with nothing between. What the policy took is timed
inside the bench's run. So the two rates have the same steps, and are measured one after the other.
Time is that of the processor, which other work on the machine does not add to.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import typer

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rollout import ClosedLoopRun, Question, Seed, Server
from async_chunking.bench.scene import Bench, Scene
from async_chunking.bench.sweep import BATCH, Cell, Unit
from async_chunking.strategies import resolve
from async_chunking.tables import Table, show


class UnitPace(NamedTuple):
    """
    Times of one unit.

    Attributes:
        steps: Steps of all its environments.
        bench_s: The bench, with everything [s].
        policy_s: Policy calls within it [s].
        bare_s: The same steps of the environments alone [s].
    """

    steps: int
    bench_s: float
    policy_s: float
    bare_s: float

    @property
    def of_bare(self) -> float:
        """Rate of the bench as a share of that of the environments alone."""
        return self.bare_s / self.bench_s

    @property
    def of_both(self) -> float:
        """Rate of the bench as a share of that of environments and policy without the bench."""
        return (self.bare_s + self.policy_s) / self.bench_s


@dataclass
class Timed:
    """
    A server that counts the time of its answers.

    Attributes:
        server: What answers.
        seconds: Spent so far [s].
    """

    server: Server
    seconds: float = 0.0

    def answer(self, questions: Sequence[Question]) -> None:
        """Answer every question."""
        begin = time.process_time()
        self.server.answer(questions)
        self.seconds += time.process_time() - begin


@dataclass
class PacedScene:
    """
    One environment with its policy, unit by unit.

    Attributes:
        scene: Both of them.
        cell: What is played.
        paces: Measured so far.
    """

    scene: Scene
    cell: Cell
    paces: list[UnitPace] = field(default_factory=list)

    def add(self, start: int) -> None:
        """Play the rollouts from `start` on, by the bench and bare."""
        served, behaviour = self.scene.serve(self.cell.strategy)
        server = Timed(served)
        loops: list[ClosedLoopRun] = []
        environments: list[Any] = []

        def make(environment: Any, config: Any, delays: Any, seed: Seed) -> ClosedLoopRun:
            environments.append(environment)
            rest = self.scene.arena.rest
            loops.append(ClosedLoopRun(environment, config, behaviour, delays, seed, rest))
            return loops[-1]

        begin = time.process_time()
        self.scene.play_with(Unit(self.cell, start), server, make)
        whole = time.process_time() - begin
        commands = [loop.run().command for loop in loops]
        bare = sum(map(_bare, environments, commands, (loop.seed for loop in loops)))
        self.paces.append(UnitPace(sum(map(len, commands)), whole, server.seconds, bare))


def _bare(environment: Any, commands: Any, seed: Seed) -> float:
    """Begin an episode again, send it all the commands, and return how long that took [s]."""
    begin = time.process_time()
    environment.reset(seed.rng(0))
    inner = getattr(environment, 'inner', environment)
    orders = [environment.action(c) for c in commands] if inner is not environment else commands
    for order in orders:
        inner.step(order)
    return time.process_time() - begin


def pace(
    env: Annotated[str, typer.Option(help='Environment, as of `bench delay`.')] = (
        'metaworld:push-v3'
    ),
    policy: Annotated[str, typer.Option(help='Policy, as of `bench delay`.')] = '',
    strategy: Annotated[str, typer.Option(help='Strategy.')] = 'naive',
    delay: Annotated[int, typer.Option(min=0, help='Delay [steps].')] = 4,
    rounds: Annotated[int, typer.Option(min=1, help='Units of 16 rollouts.')] = 4,
) -> None:
    """Compare the pace of the bench with that of the bare environment."""
    import torch

    torch.set_num_threads(1)
    bench = Bench('', policy)
    scene, horizon = bench.scene(env), bench.horizon(env)
    digest = bench.digest(env, resolve(strategy))
    usual = bench.execution_horizon(env)
    timing = PacedScene(scene, Cell(env, digest, strategy, DelayModel(delay), usual, horizon))
    timing.add(0)  # Loads and warms up what is loaded once.
    timing.paces.clear()
    for number in range(rounds):
        timing.add(BATCH * (1 + number))
    show(table(env, timing.paces))


def table(env: str, paces: Sequence[UnitPace]) -> Table:
    """Return what was measured, and the sum of all."""
    total = UnitPace(*(sum(column) for column in zip(*paces, strict=True)))
    named = [*((str(n), one) for n, one in enumerate(paces, 1)), ('all', total)]
    rows = tuple(
        (
            name,
            f'{one.steps}',
            *(f'{1e6 * s / one.steps:.0f}' for s in (one.bare_s, one.policy_s, one.bench_s)),
            f'{one.of_bare:.2f}',
            f'{one.of_both:.2f}',
        )
        for name, one in named
    )
    columns = (
        'round', 'steps', 'environment [µs a step]', 'policy [µs a step]', 'bench [µs a step]',
        'bench / environment', 'bench / both',
    )  # fmt: skip
    return Table(f'Pace of the bench, {env}, {BATCH} rollouts a round', columns, rows)
