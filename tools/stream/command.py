# SPDX-License-Identifier: Apache-2.0
"""
How steady is the command stream? Our executor node and other ways to do it, under the same load.

The load runs all the time: a network that is evaluated again and again in its own process, and as
many busy processes as asked for. The contenders take turns in several rounds, so that a machine
whose speed drifts treats all alike; all run in one session and, where it is said, with the same
real-time priority. What counts is the ratio between them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from async_chunking.realtime import may_use_fifo
from async_chunking.storage import write_json
from async_chunking.tables import Table, show
from tools.stream.running import Contender, Turn, measure

PERIOD_MS = 20.0
PLAIN = 'rclpy timer, SingleThreadedExecutor'
FIFO = ', SCHED_FIFO 50'
CONTENDERS = {
    'executor node': Contender('executor'),
    'absolute deadlines in Python': Contender('absolute'),
    PLAIN: Contender('single_threaded'),
    'rclpy timer, MultiThreadedExecutor': Contender('multi_threaded'),
    'rclpy timer, EventsExecutor': Contender('events'),
    'time.sleep loop': Contender('sleep'),
    'loop in C, nothing sent': Contender('c'),
    f'executor node{FIFO}': Contender('executor', fifo=True),
    f'absolute deadlines in Python{FIFO}': Contender('absolute', fifo=True),
    f'{PLAIN}{FIFO}': Contender('single_threaded', fifo=True),
    f'loop in C, nothing sent{FIFO}': Contender('c', fifo=True),
}
# What a recorder beside it costs.
RECORDED = {
    'executor node': Contender('executor'),
    'executor node, recorder beside it': Contender('executor', recorded=True),
}
# What joint states cost.
HEARING = {
    f'executor node, joint states at {rate} Hz{FIFO}': Contender(
        'executor', fifo=True, joints_hz=rate
    )
    for rate in (50, 100, 500, 1000)
}
# Processes of the load end with the one that started them, however that ends.
_WHILE = 'import os, sys\nwhile os.getppid() == int(sys.argv[1]): '
_BUSY = f'{_WHILE}sum(range(10000))'
_INFERENCE = (
    'import torch; torch.set_num_threads(1); torch.set_grad_enabled(False); '
    'm = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)])\n'
    f'{_WHILE}m(torch.randn(64, 512))'
)


class Steadiness(NamedTuple):
    """
    What became of the stream: medians of the rounds, but for what is summed up.

    Attributes:
        p50_ms: Median of |period - 20 ms|.
        p99_ms: 99th percentile of it.
        spread_ms: Least and largest p99 of a round.
        max_ms: Largest of all rounds.
        missed: Periods in which no command was sent, of those that passed.
        drift_ms: Last command against the grid that the first one began, per minute; absolute
            deadlines keep it below the error of one period.
        way_ms: Longest time from sending a command to having it at the subscriber.
        cpu: Share of one core.
        commands: That were sent.
    """

    p50_ms: float
    p99_ms: float
    spread_ms: tuple[float, float]
    max_ms: float
    missed: int
    drift_ms: float
    way_ms: float
    cpu: float
    commands: int


def steadiness(rounds: list[Turn]) -> Steadiness:
    """Return the figures of several rounds."""
    streams = [turn.sent for turn in rounds if len(turn.sent) > 2]
    cpu = float(np.mean([turn.cpu for turn in rounds]))
    if not streams:
        nan = math.nan
        return Steadiness(nan, nan, (nan, nan), nan, 0, nan, nan, cpu, 0)
    errors = [np.abs(np.diff(times) * 1e-6 - PERIOD_MS) for times in streams]
    p50, p99 = np.array([np.quantile(error, [0.5, 0.99]) for error in errors]).T
    spans = [(times[-1] - times[0]) * 1e-6 for times in streams]
    expected = [round(span / PERIOD_MS) + 1 for span in spans]
    missed = sum(max(n - len(times), 0) for n, times in zip(expected, streams, strict=True))
    drifts = [
        (span - (n - 1) * PERIOD_MS) / span * 6e4 for span, n in zip(spans, expected, strict=True)
    ]
    return Steadiness(
        float(np.median(p50)), float(np.median(p99)), (float(p99.min()), float(p99.max())),
        float(max(map(np.max, errors))), missed, float(np.median(np.abs(drifts))),
        max((_way_ms(turn) for turn in rounds), default=math.nan), cpu, sum(map(len, streams)),
    )  # fmt: skip


def _way_ms(turn: Turn) -> float:
    """Return the longest time that a command was on its way [ms], NaN if none is known."""
    sent, received = turn.sent, np.sort(turn.received)
    place = np.searchsorted(received, sent - 100_000)  # A stamp may be a little early.
    there = place < len(received)
    ways = (received[place[there]] - sent[there]) * 1e-6
    return float(ways.max()) if len(ways) else math.nan


@contextmanager
def load(busy: int) -> Iterator[None]:
    """Run an inference process and `busy` more that only burn time."""
    codes = [_INFERENCE, *[_BUSY] * busy]
    environment_one = os.environ | {'OMP_NUM_THREADS': '1'}
    running = [
        subprocess.Popen([sys.executable, '-c', code, str(os.getpid())], env=environment_one)
        for code in codes
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def stream(
    seconds: Annotated[float, typer.Option(help='Length of each turn [s].', min=3.0)] = 60.0,
    rounds: Annotated[int, typer.Option(min=1, help='Turns of each contender.')] = 5,
    busy: Annotated[int, typer.Option('--load', min=0, help='Busy processes beside.')] = 0,
    recorder: Annotated[
        bool, typer.Option('--recorder', help='Our node alone, without and with a recorder.')
    ] = False,
    joints: Annotated[
        bool, typer.Option('--joint-states', help='Our node alone, with 50 to 1000 a second.')
    ] = False,
    only: Annotated[str, typer.Option(help='Contenders whose name contains this.')] = '',
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
) -> None:
    """Compare the steadiness of command streams under the same load, in one run."""
    console = Console(stderr=True)
    contenders = RECORDED if recorder else HEARING if joints else CONTENDERS
    contenders = {name: c for name, c in contenders.items() if only in name}
    if not may_use_fifo():
        contenders = {name: c for name, c in contenders.items() if not c.fifo}
        console.print('SCHED_FIFO is not permitted here; see docs/stream.md')
    order = [name for _ in range(rounds) for name in contenders]
    turns: dict[str, list[Turn]] = {name: [] for name in contenders}
    with load(busy):
        for name in track(order, 'measuring', console=console, transient=True):
            turns[name].append(measure(contenders[name], seconds))
    figures = {name: steadiness(measured) for name, measured in turns.items()}
    title = (
        f'{rounds} rounds of {seconds:.0f} s, {os.cpu_count()} cores, load: one inference process '
        f'and {busy} busy ones; period error, missed ticks, drift, longest way, CPU'
    )
    show(table(figures, title), markdown)
    if json_path is not None:
        content = {'seconds': seconds, 'load': busy, 'rounds': rounds}
        write_json(content | {name: f._asdict() for name, f in figures.items()}, json_path)


def table(figures: dict[str, Steadiness], title: str) -> Table:
    """Return a row for each contender; ratios are to the plain timer of its priority."""
    columns = (
        'stream', 'p50', 'p99', '(rounds)', 'max', 'p99 ratio', 'missed', 'drift', 'on its way',
        'CPU', 'commands',
    )  # fmt: skip
    first = next(iter(figures.values()))
    plain = {
        fifo: figures.get(PLAIN + FIFO * fifo, first).p99_ms or math.nan for fifo in (False, True)
    }
    rows = tuple(
        (
            name, f'{f.p50_ms:.2f} ms', f'{f.p99_ms:.2f} ms',
            '{:.2f}–{:.2f}'.format(*f.spread_ms), f'{f.max_ms:.1f} ms',
            f'{f.p99_ms / plain[name.endswith(FIFO)]:.2f}', str(f.missed),
            f'{f.drift_ms:.1f} ms/min', '–' if math.isnan(f.way_ms) else f'{f.way_ms:.1f} ms',
            f'{100.0 * f.cpu:.0f} %', str(f.commands),
        )
        for name, f in figures.items()
    )  # fmt: skip
    return Table(title, columns, rows)
