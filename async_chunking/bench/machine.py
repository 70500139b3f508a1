# SPDX-License-Identifier: Apache-2.0
"""
`async-chunking bench machine`: what this machine can do with this robot and this policy.

Two questions of everybody who sets a robot up: how long does a chunk take here, with each strategy
that the policy can serve, and so which are feasible; and how steady is the command stream?
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console

from async_chunking import ros_environment
from async_chunking.delay import feasible, to_steps
from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import write_json
from async_chunking.strategies import STRATEGIES
from async_chunking.tables import NOTHING, Table, show

if TYPE_CHECKING:
    from async_chunking.bringup.describe import Bringup

MOST_ROUNDS, MOST_SECONDS = 20, 5.0  # Of each strategy.


class ChunkCost(NamedTuple):
    """
    What a chunk of one strategy takes here.

    Attributes:
        strategy: Name.
        median_ms: Median of several draws, after a warm-up.
        worst_ms: Longest of them.
        delay: The worst in steps of the policy, rounded up.
        feasible: Whether delay <= execution horizon <= horizon - delay; always so where the robot
            rests meanwhile.
    """

    strategy: str
    median_ms: float
    worst_ms: float
    delay: int
    feasible: bool


def machine(
    robot: Annotated[
        str, typer.Argument(help='Name of a file in config/, or the path of one.')
    ] = 'viperx',
    words: Annotated[list[str] | None, typer.Argument(metavar='NAME:=VALUE...')] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, help='Length of the command stream; 0 leaves it out [s].')
    ] = 20.0,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
) -> None:
    """Time the chunks of every strategy here, and the command stream of the robot's simulation."""
    from async_chunking.bringup.describe import describe, parse

    given = parse(words or [])
    bringup, console = describe(robot, given), Console()
    costs = list(chunk_costs(bringup))
    show(cost_table(bringup, costs), console=console)
    figures: dict[str, Any] = {'chunks': [cost._asdict() for cost in costs]}
    if seconds and ros_environment.origin() == 'none':
        console.print('The stream needs ROS 2: `make setup`, or source an installation.')
    elif seconds and bringup.robot.simulation is None:
        console.print('The stream is measured in simulation, which this robot does not have.')
    elif seconds:
        figures['stream'] = _stream(robot, {**given, 'duration': seconds}, console)
    if json_path is not None:
        write_json(figures, json_path)


def chunk_costs(bringup: Bringup) -> Iterator[ChunkCost]:
    """Yield what a chunk takes with each strategy that the policy can serve; imports torch."""
    from async_chunking.policies.fit import example_observation
    from async_chunking.policies.opening import open_policy
    from async_chunking.policies.placed import Placement
    from async_chunking.policies.responder import Responder
    from async_chunking.policies.source import PolicySpec

    options, robot = bringup.arguments, bringup.robot
    placement = Placement(options.device, options.precision, options.compile)
    source = open_policy(PolicySpec(robot, options))
    responder = Responder(source, options.seed, placement, robot.action_modes)
    rate = robot.policy.policy_rate_hz
    execution_horizon = options.execution_horizon or robot.policy.execution_horizon
    for name, strategy in STRATEGIES.items():
        if not strategy.needs <= source.offers:
            continue
        times: list[float] = []
        begin = time.monotonic()
        try:
            while len(times) < MOST_ROUNDS and time.monotonic() - begin < MOST_SECONDS:
                times.append(responder.warm_up(name, example_observation(robot)))
        except AsyncChunkingError:  # It needs more than offers tell, as states or shapes.
            continue
        worst = max(times)
        delay = to_steps(worst, rate)
        keeps_up = strategy.rests or feasible(delay, execution_horizon, source.horizon)
        yield ChunkCost(name, 1e3 * float(np.median(times)), 1e3 * worst, delay, keeps_up)


def cost_table(bringup: Bringup, costs: list[ChunkCost]) -> Table:
    """Return a row for each strategy, the quickest first."""
    rows = tuple(
        (
            cost.strategy,
            f'{cost.median_ms:.1f}',
            f'{cost.worst_ms:.1f}',
            str(cost.delay),
            'yes' if cost.feasible else 'no',
        )
        for cost in sorted(costs, key=lambda cost: cost.median_ms)
    )
    robot, options = bringup.robot, bringup.arguments
    execution_horizon = options.execution_horizon or robot.policy.execution_horizon
    return Table(
        f'A chunk of {bringup.policy.title} here, on {options.device}',
        ('strategy', 'median [ms]', 'worst [ms]', 'd [steps]', 'feasible'),
        rows,
        note=f'd at {robot.policy.policy_rate_hz:g} Hz; feasible: d <= execution horizon '
        f'{execution_horizon} <= horizon {bringup.policy.horizon} - d. Transport comes on top.',
    )


def _stream(robot: str, given: dict[str, Any], console: Console) -> dict[str, Any]:
    """Run the robot's simulation for a while; print and return how steady its stream was."""
    from async_chunking.bringup.up import Interrupts, run

    with Interrupts() as stopped:
        figures = run(robot, given, Console(stderr=True), stopped, quiet=True)
    if not figures:
        console.print('Nothing was recorded: it was stopped before the first command.')
        return {}
    period = figures['period_ms']
    rows = (
        *((f'period, {name} [ms]', f'{value:.2f}') for name, value in period.items()),
        ('commands', str(figures['ticks'])),
        ('missed', str(figures['missed_ticks'])),
        ('without a plan', str(figures['starved_ticks'])),
        ('delay as measured, median [steps]', _number(figures['delay_steps'])),
    )
    show(Table('The command stream, all nodes beside it', ('', 'here'), rows), console=console)
    return figures


def _number(delays: dict[str, float]) -> str:
    value = delays.get('p50', math.nan)
    return f'{value:.0f}' if math.isfinite(value) else NOTHING
