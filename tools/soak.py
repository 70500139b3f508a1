# SPDX-License-Identifier: Apache-2.0
"""`python -m tools soak`: does anything grow, or drift, while a robot runs for a long time?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from async_chunking.bags.overview import overview
from async_chunking.bringup.describe import Bringup, describe
from async_chunking.bringup.processes import Processes
from async_chunking.bringup.up import Interrupts, RunError
from async_chunking.realtime import may_use_fifo
from async_chunking.ros_environment import environment
from async_chunking.storage import write_json
from async_chunking.tables import Table, show

_START_S = 120.0  # [s].
_SAMPLES = 300  # In the whole time.
_LEAST_PERIOD_S = 1.0  # Between two samples [s].
_PAGE = os.sysconf('SC_PAGE_SIZE')
_SETTLED = 0.2  # Share of the time that caches and pools get to fill; growth counts from there.
# What a process may grow by, in all the time after that: a leak would not stop at it.
MOST_GROWTH = 0.02
MOST_MISSED = 0.01  # Share of the ticks that a loaded machine may cost.


@dataclass
class Samples:
    """One process over time.

    Attributes:
        seconds: Times of the samples [s].
        memory: Resident set size [bytes].
        files: Open file descriptors.
    """

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def take(self, pid: int, seconds: float) -> None:
        """Look at a process; one that just ended is left out."""
        try:
            pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
            files = len(os.listdir(f'/proc/{pid}/fd'))
        except OSError:
            return
        self.seconds.append(seconds)
        self.memory.append(pages * _PAGE)
        self.files.append(files)

    def figures(self) -> dict[str, float]:
        """Return size and growth; the slope is a least-squares one after the first fifth."""
        if not self.seconds:
            return {}
        seconds, memory, files = map(np.array, (self.seconds, self.memory, self.files))
        settled = seconds >= seconds[0] + _SETTLED * (seconds[-1] - seconds[0])
        slope = 0.0
        if settled.sum() > 2:
            slope = float(np.polyfit(seconds[settled], memory[settled], 1)[0])
        lasted = float(np.ptp(seconds[settled]))
        return {
            'memory_mb': memory[-1] / 1e6,
            'growth_kb_per_min': slope * 60.0 / 1e3,
            'growth_share': slope * lasted / float(memory[settled][0]),
            'files_begin': int(files[settled][0]),
            'files_end': int(files[-1]),
        }


def soak(
    minutes: Annotated[float, typer.Option(help='How long.', min=0.05)] = 30.0,
    robot: Annotated[str, typer.Option(help='Which robot.')] = 'viperx',
    strategy: Annotated[str, typer.Option(help='How chunks are drawn and joined.')] = 'naive',
    attacker: Annotated[
        bool, typer.Option('--attacker', help='Let a peer that means harm run beside it.')
    ] = False,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
) -> None:
    """Run a simulated robot for long; status 1 if it missed ticks, grew or left files open."""
    console = Console(stderr=True)
    priority = 50 if may_use_fifo() else 0
    given = {'strategy': strategy, 'latency_ms': '60', 'namespace': 'soak'}
    given |= {'log_level': 'error', 'realtime_priority': priority}
    with Interrupts() as stopped, tempfile.TemporaryDirectory(prefix='async_chunking_') as folder:
        bag = Path(folder, 'bag')
        bringup = describe(robot, {**given, 'record': str(bag)})
        with _attacked(bringup.arguments.namespace) if attacker else nullcontext():
            samples, restarts = _watch(bringup, 60.0 * minutes, console, stopped)
        run = overview(bag, bringup.robot, bringup.arguments.namespace)
    nodes = {
        name: figures.figures() | {'restarts': restarts[name]} for name, figures in samples.items()
    }
    problems = [*_problems(run, nodes)]
    show(_table(run, nodes, minutes, priority), markdown)
    for problem in problems:
        console.print(f'failed: {problem}')
    if json_path is not None:
        write_json(
            {'minutes': minutes, 'priority': priority, 'run': run, 'nodes': nodes,
             'problems': problems},
            json_path,
        )  # fmt: skip
    raise typer.Exit(1 if problems else 0)


def _watch(
    bringup: Bringup, seconds: float, console: Console, stopped: Callable[[], bool]
) -> tuple[dict[str, Samples], dict[str, int]]:
    """Run for some seconds from the first chunk on, and look at every process now and then."""
    names = [node.name for node in bringup.nodes]
    samples = {name: Samples() for name in names}
    period = max(seconds / _SAMPLES, _LEAST_PERIOD_S)
    arguments = bringup.arguments
    with Processes(
        bringup.nodes, arguments.namespace, arguments.log_level, subprocess.DEVNULL
    ) as nodes:  # fmt: skip
        with _watching(arguments.namespace) as executed:
            _await(nodes, executed, stopped)
        begin = time.monotonic()
        with console.status('soaking'):
            for sample in range(int(seconds / period) + 1):
                for name in names:
                    samples[name].take(nodes.pid(name), time.monotonic() - begin)
                while time.monotonic() < begin + (sample + 1) * period and not stopped():
                    time.sleep(0.1)
                    if ended := nodes.look_after():
                        raise RunError(ended)
                if stopped() or time.monotonic() - begin >= seconds:
                    break
        nodes.stop([name for name in names if name != 'recorder'])
        nodes.stop(['recorder'])
    return samples, nodes.restarts


@contextmanager
def _attacked(namespace: str) -> Iterator[None]:
    """Let an attacker live meanwhile."""
    command = [sys.executable, '-m', 'tools.attacker', namespace, '1']
    process = subprocess.Popen(command, env=environment())
    try:
        yield
        if process.poll() is not None:
            msg = f'the attacker ended with status {process.returncode}'
            raise RunError(msg)
    finally:
        process.kill()
        process.wait()


@contextmanager
def _watching(namespace: str) -> Iterator[Callable[[], bool]]:
    """Give what tells, after a short look, whether a chunk was executed."""
    from async_chunking.nodes.watch import Watch

    watch = Watch(namespace)
    try:
        yield lambda: watch.look(0.1).executed
    finally:
        watch.close()


def _await(nodes: Processes, executed: Callable[[], bool], stopped: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while not executed() and not stopped():
        if ended := nodes.look_after():
            raise RunError(ended)
        if time.monotonic() > deadline:
            msg = f'no chunk was executed within {_START_S:.0f} s'
            raise RunError(msg)


def _problems(run: Mapping[str, Any], nodes: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    if run['missed_ticks'] > MOST_MISSED * run['ticks']:
        yield f'{run["missed_ticks"]} of {run["ticks"]} ticks missed'
    if run['limits']['exceeded']:
        yield f'{run["limits"]["exceeded"]} limits exceeded'
    if silent := run['limits']['silent_joints']:
        yield f'the commands of {", ".join(silent)} were not recorded'
    for name, figures in nodes.items():
        if not figures.get('memory_mb'):
            yield f'{name} was not seen'
        elif figures['growth_share'] > MOST_GROWTH:
            yield f'{name} grew by {100.0 * figures["growth_share"]:.1f} %'
        elif figures['files_end'] > figures['files_begin']:
            yield f'{name} has {figures["files_end"]} open files, it had {figures["files_begin"]}'
        if figures['restarts']:
            yield f'{name} was started again {figures["restarts"]} times'


def _table(
    run: Mapping[str, Any], nodes: Mapping[str, Mapping[str, float]], minutes: float, priority: int
) -> Table:
    period = run['period_ms']
    title = (
        f'{minutes:g} min, {f"SCHED_FIFO {priority}" if priority else "ordinary priority"}: '
        f'{run["ticks"]} ticks, {run["missed_ticks"]} missed, {run["starved_ticks"]} without a '
        f'plan, period {period["p50"]:.2f}/{period["p99"]:.2f}/{period["max"]:.2f} ms '
        f'(median/p99/max), {run["limits"]["exceeded"]} limits exceeded'
    )
    columns = ('process', 'memory', 'growth', 'open files, begin', 'end', 'restarts')
    return Table(title, columns, tuple(_row(name, figures) for name, figures in nodes.items()))


def _row(name: str, figures: Mapping[str, float]) -> tuple[str, ...]:
    return (
        name, f'{figures["memory_mb"]:.1f} MB', f'{figures["growth_kb_per_min"]:+.1f} kB/min',
        str(figures['files_begin']), str(figures['files_end']), str(figures['restarts']),
    )  # fmt: skip
