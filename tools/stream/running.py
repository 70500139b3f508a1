# SPDX-License-Identifier: Apache-2.0
"""One contender of `tools stream`, measured: all of them in the session of who measures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from async_chunking.bags.files import find
from async_chunking.bags.reading import RunReader
from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.processes import Processes
from async_chunking.errors import AsyncChunkingError
from async_chunking.realtime import real_time
from async_chunking.ros_environment import environment

NAMESPACE = '/bench_stream'  # No robot that happens to run shall hear it.
PRIORITY = 50  # SCHED_FIFO.
WARM_UP_S = 3.0  # Discovery and imports; commands of this time do not count [s].
_INSTANT_S = 1e-3  # Well below a period [s].
_SOURCE = Path(__file__).with_name('loop.c')


class MeasuringError(AsyncChunkingError):
    """A stream was not measured under the conditions that were asked for."""


class Contender(NamedTuple):
    """
    A way to make a stream.

    Attributes:
        kind: 'executor', 'c', or one of `contenders.KINDS`.
        fifo: Whether it has SCHED_FIFO priority 50, all its threads alike.
        recorded: Whether our recorder runs beside it.
        joints_hz: Joint states that our node hears [Hz].
    """

    kind: str
    fifo: bool = False
    recorded: bool = False
    joints_hz: float = 100.0


class Turn(NamedTuple):
    """
    One turn of a contender.

    Attributes:
        sent: Times at which it says that it sent its commands [ns].
        received: Times at which a subscriber's middleware had them [ns]; empty for the C loop.
        cpu: Share of one core.
    """

    sent: np.ndarray
    received: np.ndarray
    cpu: float


def measure(contender: Contender, seconds: float) -> Turn:
    """
    Run one contender; what it sent while it warmed up is left out.

    Raises:
        MeasuringError: The recorder did not record every one of the commands.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        measured = _run(contender, seconds + WARM_UP_S, folder, stack)
        sent = measured.sent
        sent = sent[sent > sent[-1] - int(seconds * 1e9)] if len(sent) else sent
        if contender.recorded and len(sent):
            stack.close()  # The recording is complete when the recorder has ended.
            require_recorded(folder / 'bag', sent)
        return measured._replace(sent=sent)


def _run(contender: Contender, seconds: float, folder: Path, stack: ExitStack) -> Turn:
    own_node = contender.kind == 'executor'
    sent, received = folder / 'sent.npy', folder / 'received.npy'
    if own_node:
        bag = folder / 'bag' if contender.recorded else None
        # In this session, as the others are: the kernel shares the processor among sessions.
        nodes = stack.enter_context(
            Processes(
                _nodes(contender, bag), NAMESPACE, 'error', subprocess.DEVNULL, own_session=False
            )
        )
    if contender.kind == 'c':
        command = [str(_compiled(folder)), str(seconds), str(folder / 'sent.txt')]
    else:
        kind = 'peer' if own_node else contender.kind
        command = _python(kind, seconds, sent, contender.joints_hz)
        listener = _start(
            stack, _python('listen', seconds, received, float(own_node)), fifo=contender.fifo
        )
    watched = _start(stack, command, fifo=contender.fifo and not own_node)
    pid = nodes.pid('executor') if own_node else watched.pid
    used, begun = 0.0, time.monotonic()
    while watched.poll() is None:
        used = max(used, sum(map(_cpu_s, [pid, *_children(pid)])))
        time.sleep(0.1)
    share = used / (time.monotonic() - begun)
    if contender.kind == 'c':
        return Turn(np.loadtxt(folder / 'sent.txt', np.int64), np.empty(0, np.int64), share)
    listener.terminate()
    deadline = time.monotonic() + 10.0
    while not received.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return Turn(_load(sent), _load(received), share)


def _python(kind: str, seconds: float, path: Path, number: float) -> list[str]:
    module = 'tools.stream.contenders'
    return [sys.executable, '-m', module, kind, str(seconds), str(path), NAMESPACE, str(number)]


def _start(stack: ExitStack, command: list[str], fifo: bool) -> subprocess.Popen:
    with real_time(PRIORITY if fifo else 0):  # It inherits that.
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _compiled(folder: Path) -> Path:
    program = folder / 'loop'
    done = subprocess.run(
        ['cc', '-O2', '-o', program, _SOURCE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f'{_SOURCE.name} does not compile: {done.stderr.strip()}'
        raise MeasuringError(msg)
    return program


def _load(path: Path) -> np.ndarray:
    return np.load(path) if path.exists() else np.empty(0, np.int64)


def _nodes(contender: Contender, bag: Path | None) -> list[NodeSpec]:
    common = {'embodiment': 'viperx', 'autostart': True}
    executor = common | {
        'blend_s': 0.0, 'lock_memory': True,
        'realtime_priority': PRIORITY if contender.fifo else 0,
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
        times: Times of the commands [ns] [n].

    Raises:
        MeasuringError: Some of them are not in the recording.
    """
    first, last = times[0] * 1e-9 - _INSTANT_S, times[-1] * 1e-9 + _INSTANT_S
    recorded = sum(
        int(((run.missed == 0) & (run.emitted > first) & (run.emitted < last)).sum())
        for part in find([bag])
        for _, run in RunReader(part).pieces()
    )
    if recorded < len(times):
        msg = f'only {recorded} of {len(times)} commands were recorded; is the disk too slow?'
        raise MeasuringError(msg)


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process so far [s]."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
