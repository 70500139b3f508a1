# SPDX-License-Identifier: Apache-2.0
"""
How steady is the command stream? Our executor node and other ways to do it, under the same load.

The load runs all the time: a network that is evaluated again and again in its own process, and as
many busy processes as asked for. The contenders take turns in several rounds, so that a machine
whose speed drifts treats all alike; what counts is the ratio between them.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from async_chunking.bags.files import find
from async_chunking.bags.reading import RunReader
from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.processes import Processes
from async_chunking.errors import AsyncChunkingError
from async_chunking.realtime import may_use_fifo
from async_chunking.ros_environment import environment
from async_chunking.storage import write_json
from async_chunking.tables import Table, show

NAMESPACE = '/bench_stream'  # No robot that happens to run shall hear it.
PERIOD_MS = 20.0
ROUNDS = 3
WARM_UP = 3.0  # Discovery and imports; commands of this time do not count [s].
PLAIN = 'rclpy timer, SingleThreadedExecutor'
CONTENDERS = {
    'executor node': 'ours',
    'executor node, SCHED_FIFO': 'ours_fifo',
    PLAIN: 'single_threaded',
    'rclpy timer, MultiThreadedExecutor': 'multi_threaded',
    'rclpy timer, EventsExecutor': 'events',
    'time.sleep loop': 'sleep',
}
# What a recorder beside it costs.
RECORDED = {
    'executor node': 'ours',
    'executor node, recorder beside it': 'ours_recorded',
}
_INSTANT = 1e-3  # Well below a period [s].
# Processes of the load end with the one that started them, however that ends.
_WHILE = 'import os, sys\nwhile os.getppid() == int(sys.argv[1]): '
_BUSY = f'{_WHILE}sum(range(10000))'
_INFERENCE = (
    'import torch; torch.set_num_threads(1); torch.set_grad_enabled(False); '
    'm = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)])\n'
    f'{_WHILE}m(torch.randn(64, 512))'
)


class StreamError(AsyncChunkingError):
    """A stream was not measured under the conditions that were asked for."""


class Steadiness(NamedTuple):
    """
    What became of the stream.

    Attributes:
        p50_ms: Median of |period - 20 ms|.
        p99_ms: 99th percentile of it.
        max_ms: Largest.
        missed: Periods in which no command was sent, of those that passed.
        drift_ms: Last command against the grid that the first one began, per minute; absolute
            deadlines keep it below the error of one period.
        cpu: Share of one core.
        commands: That were sent.
    """

    p50_ms: float
    p99_ms: float
    max_ms: float
    missed: int
    drift_ms: float
    cpu: float
    commands: int


def steadiness(rounds: list[np.ndarray], cpu: float) -> Steadiness:
    """
    Return the figures of several rounds.

    Args:
        rounds: Times of the commands [ns] of each.
        cpu: Share of one core.
    """
    found = [times for times in rounds if len(times) > 2]
    if not found:
        return Steadiness(*[math.nan] * 3, 0, math.nan, cpu, 0)
    error = np.abs(np.concatenate([np.diff(times) for times in found]) * 1e-6 - PERIOD_MS)
    spans = [(times[-1] - times[0]) * 1e-6 for times in found]
    expected = [round(span / PERIOD_MS) + 1 for span in spans]
    missed = sum(max(n - len(times), 0) for n, times in zip(expected, found, strict=True))
    drifts = [
        (span - (n - 1) * PERIOD_MS) / span * 6e4 for span, n in zip(spans, expected, strict=True)
    ]
    p50, p99 = np.quantile(error, [0.5, 0.99])
    return Steadiness(
        float(p50), float(p99), float(error.max()), missed,
        float(np.median(np.abs(drifts))), cpu, sum(map(len, found)),
    )  # fmt: skip


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


def measure(kind: str, seconds: float) -> tuple[np.ndarray, float]:
    """
    Run one contender.

    Returns:
        Times of its commands [ns], those of the warm-up left out, and its share of one core.

    Raises:
        StreamError: Its recorder did not record every one of these commands.
    """
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder, 'bag') if kind == 'ours_recorded' else None
        times, share = _measured(kind, seconds, Path(folder, 'times.npy'), bag)
        times = times[times > times[-1] - int(seconds * 1e9)] if len(times) else times
        if bag is not None and len(times):
            require_recorded(bag, times)
        return times, share


def _measured(kind: str, seconds: float, path: Path, bag: Path | None) -> tuple[np.ndarray, float]:
    with ExitStack() as stack:
        ours = kind.startswith('ours')
        if ours:
            nodes = stack.enter_context(
                Processes(_nodes(kind, bag), NAMESPACE, 'error', subprocess.DEVNULL)
            )
        arguments = ['peer' if ours else kind, str(seconds + WARM_UP), str(path), NAMESPACE]
        watched = subprocess.Popen(
            [sys.executable, '-m', 'tools.stream.contenders', *arguments],
            env=environment(), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(watched.kill)
        pid = nodes.pid('executor') if ours else watched.pid
        used, begun = math.nan, time.monotonic()
        while watched.poll() is None:
            used = _cpu_s(pid, used)
            time.sleep(0.1)
        share = used / (time.monotonic() - begun)
        return np.load(path) if path.exists() else np.empty(0, np.int64), share


def _nodes(kind: str, bag: Path | None) -> list[NodeSpec]:
    common = {'embodiment': 'viperx', 'autostart': True}
    executor = common | {
        'blend_s': 0.0, 'realtime_priority': 50 if kind == 'ours_fifo' else 0, 'lock_memory': True,
    }  # fmt: skip
    nodes = [NodeSpec('executor_node', 'executor', executor)]
    if bag is not None:
        nodes.insert(0, NodeSpec('recorder_node', 'recorder', common | {'path': str(bag)}))
    return nodes


def require_recorded(bag: Path, times: np.ndarray) -> None:
    """
    Refuse a measurement whose recorder had less to do than it should.

    Args:
        bag: What it recorded.
        times: Of the commands [ns] [n].

    Raises:
        StreamError: Some of them are not in the recording.
    """
    first, last = times[0] * 1e-9 - _INSTANT, times[-1] * 1e-9 + _INSTANT
    recorded = sum(
        int(((run.missed == 0) & (run.emitted > first) & (run.emitted < last)).sum())
        for found in find([bag])
        for _, run in RunReader(found).pieces()
    )
    if recorded < len(times):
        msg = f'only {recorded} of {len(times)} commands were recorded; is the disk too slow?'
        raise StreamError(msg)


def _cpu_s(pid: int, before: float) -> float:
    """Return the processor time of a process so far [s]."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    except OSError:
        return before
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def stream(
    seconds: Annotated[float, typer.Option(help='Of each contender [s].', min=3.0)] = 60.0,
    busy: Annotated[int, typer.Option('--load', min=0, help='Busy processes beside.')] = 0,
    recorder: Annotated[
        bool, typer.Option('--recorder', help='Our node alone, without and with a recorder.')
    ] = False,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the figures.')] = None,
) -> None:
    """Compare the steadiness of command streams under the same load, in one run."""
    console = Console(stderr=True)
    contenders = dict(RECORDED if recorder else CONTENDERS)
    if not may_use_fifo() and contenders.pop('executor node, SCHED_FIFO', None):
        console.print('SCHED_FIFO is not permitted here; see docs/stream.md')
    turns = [name for _ in range(ROUNDS) for name in contenders]
    times: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    shares: dict[str, list[float]] = {name: [] for name in contenders}
    with load(busy):
        for name in track(turns, 'measuring', console=console, transient=True):
            found, share = measure(contenders[name], seconds / ROUNDS)
            times[name].append(found)
            shares[name].append(share)
    figures = {name: steadiness(times[name], float(np.mean(shares[name]))) for name in contenders}
    show(table(figures, seconds, busy), markdown)
    if json_path is not None:
        content = {'seconds': seconds, 'load': busy, 'rounds': ROUNDS}
        write_json(content | {name: f._asdict() for name, f in figures.items()}, json_path)


def table(figures: dict[str, Steadiness], seconds: float, busy: int) -> Table:
    """Return a row for each contender; ratios are to the plain timer, else to the first."""
    title = (
        f'{seconds:.0f} s each in {ROUNDS} rounds, {os.cpu_count()} cores, load: one inference '
        f'process and {busy} busy ones; period error, missed ticks, drift, CPU'
    )
    columns = ('stream', 'p50', 'p99', 'max', 'p99 ratio', 'missed', 'drift', 'CPU', 'commands')
    plain = figures.get(PLAIN, next(iter(figures.values()))).p99_ms
    rows = tuple(
        (
            name, f'{f.p50_ms:.2f} ms', f'{f.p99_ms:.2f} ms', f'{f.max_ms:.1f} ms',
            f'{f.p99_ms / plain:.2f}', str(f.missed), f'{f.drift_ms:.1f} ms/min',
            f'{100.0 * f.cpu:.0f} %', str(f.commands),
        )
        for name, f in figures.items()
    )  # fmt: skip
    return Table(title, columns, rows)
