# SPDX-License-Identifier: Apache-2.0
"""`python -m tools recordings`: how fast recordings are read, and with how much memory."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all
from async_chunking.bags.writer import BagWriter
from async_chunking.metrics.record import Exchange, Run
from async_chunking.storage import write_json
from async_chunking.tables import Table, show
from tools.recordings.export import TOPICS, serialize

_PERIOD = 0.02
_HORIZON = 50
_EXECUTION_HORIZON = 10
_DELAY = 6
_MINUTE = 3000  # Ticks.
_SAMPLE_S = 0.02  # How often memory is looked at [s].
_JOINTS = 'sensor_msgs/msg/JointState'


def recordings(
    minutes: Annotated[float, typer.Option(min=0.1, help='Length of the recording.')] = 60.0,
    joints: Annotated[int, typer.Option(min=1, help='Joints.')] = 14,
    bags: Annotated[int, typer.Option(min=0, help='Short recordings in a folder.')] = 1000,
    json_file: Annotated[Path | None, typer.Option('--json', help='Write the numbers.')] = None,
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
) -> None:
    """Measure how fast recordings are read, and with how much memory.

    A tenth of the recording, all of it, and a folder of recordings of 10 s, each in a fresh
    process, whose start is counted; memory is the sum over all processes. Commands and joint
    states at 50 Hz, chunks of 50 rows.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [
            _measure(f'{length:g} min', _make(folder / f'{length:g}', length, joints))
            for length in (minutes / 10.0, minutes)
        ]
        if bags:
            short = _make(folder / 'short', 1 / 6, joints)
            many = folder / 'many'
            for number in range(bags):
                shutil.copytree(short, many / f'run_{number}')
            rows.append(_measure(f'{bags} of 10 s', many))
    columns = (
        'recording', 'messages', 'size [MB]', 'time [s]', 'CPU time [s]', 'messages/s',
        'peak memory [MB]',
    )  # fmt: skip
    title = f'{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}'
    show(Table(title, columns, tuple(map(_cells, rows))), markdown)
    if json_file:
        write_json(rows, json_file)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row['recording'], f'{row["messages"]}', f'{row["size_mb"]:.0f}', f'{row["seconds"]:.2f}',
        f'{row["cpu_seconds"]:.2f}', f'{row["messages_per_s"]:.0f}', f'{row["peak_mb"]:.0f}',
    )  # fmt: skip


def _measure(name: str, path: Path) -> dict[str, Any]:
    """Read in a process of its own, whose memory is then known."""
    begin = time.perf_counter()
    output, peak = watched([sys.executable, '-m', 'tools.recordings.benchmark', str(path)])
    seconds = time.perf_counter() - begin
    figures = json.loads(output) | {'peak_mb': peak}
    size = sum(file.stat().st_size for file in path.rglob('*.mcap')) / 1e6
    return {
        'recording': name, 'size_mb': size, 'seconds': seconds,
        'messages_per_s': figures['messages'] / seconds, **figures,
    }  # fmt: skip


def watched(command: Sequence[str]) -> tuple[str, float]:
    """
    Run a command.

    Returns:
        What it printed, and the sum of the largest resident memory of each of its processes [MB];
        no less than what they had at any one time, since pages that they share count for each.

    Raises:
        CalledProcessError: It failed.
    """
    peaks: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            _note_peaks(running.pid, peaks)
            time.sleep(_SAMPLE_S)
        output = running.stdout.read() if running.stdout else ''
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command, output)
    return output, sum(peaks.values())


def _note_peaks(pid: int, peaks: dict[int, float]) -> None:
    """Note the largest resident memory so far of a process and of those it started [MB]."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
        lists = [file.read_text() for file in Path(f'/proc/{pid}/task').glob('*/children')]
    except OSError:  # It ended.
        return
    if match := re.search(r'VmHWM:\s+(\d+) kB', status):
        peaks[pid] = int(match[1]) * 1024 / 1e6
    for child in ' '.join(lists).split():
        _note_peaks(int(child), peaks)


def _read(path: Path) -> dict[str, Any]:
    bags = find([path])
    messages = 0
    for _, report in read_all(bags):
        assert report.runs
        assert not report.problems, report.problems
        # A tick comes with its joint states, a takeover with a request and a chunk.
        messages += sum(2 * (r.figures['ticks'] + r.figures['takeovers']) for r in report.runs)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        'messages': messages,
        'cpu_seconds': sum(use.ru_utime + use.ru_stime for use in used),
    }


def _make(path: Path, minutes: float, joints: int) -> Path:
    """Write a recording as a robot leaves it; minute by minute, so that any length can be made."""
    store = own_store()
    time_type, header = (
        store.types[n] for n in ('builtin_interfaces/msg/Time', 'std_msgs/msg/Header')
    )
    names = [f'joint_{number}' for number in range(joints)]
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for kind, topic in TOPICS.items():
            writer.add(f'/{topic}', kind)
        writer.add('/joint_states', _JOINTS)
        ticks = round(minutes * _MINUTE)
        for first in range(0, ticks, _MINUTE):
            run = synthetic(rng, first, min(_MINUTE, ticks - first), joints)
            for kind, stamp, data in serialize(run):
                writer.write(f'/{TOPICS[kind]}', stamp, data)
                if TOPICS[kind] == 'control_step':
                    joint_state = store.types[_JOINTS](
                        header(time_type(*divmod(stamp, 1_000_000_000)), ''), names,
                        *(np.zeros(joints) for _ in range(3)),
                    )  # fmt: skip
                    writer.write(
                        '/joint_states', stamp, bytes(store.serialize_cdr(joint_state, _JOINTS))
                    )
    return path


def synthetic(rng: np.random.Generator, first: int, ticks: int, joints: int) -> Run:
    """Return a smooth motion with chunks that disagree a little, from tick `first` on."""
    tick = first + np.arange(ticks)
    took_over = (tick % _EXECUTION_HORIZON == _DELAY) & (tick >= first + _DELAY)
    request_id = (tick - _DELAY) // _EXECUTION_HORIZON + 1
    exchanges = {}
    for taken, number in zip(
        tick[took_over].tolist(), request_id[took_over].tolist(), strict=True
    ):
        asked = taken - _DELAY
        rows = _motion(asked + np.arange(_HORIZON), joints)
        actions = rows + rng.normal(0.0, 0.02, joints)
        exchanges[number] = Exchange(number, asked, rows, actions, _DELAY, 0.01, 0.1, 0.0)
    command = _motion(tick, joints)
    emitted = tick * _PERIOD + rng.uniform(0.0, 1e-4, ticks)
    return Run(
        strategy='synthetic', control_period=_PERIOD, stride=1.0, tick=tick,
        phase=np.ones(ticks, dtype=int), command=command, planned=command, measured=command,
        request_id=np.maximum(request_id, 0), took_over=took_over,
        delay=np.where(took_over, _DELAY, -1), missed=np.zeros(ticks, dtype=bool),
        emitted=emitted, deadline=tick * _PERIOD, exchanges=exchanges,
    )  # fmt: skip


def _motion(tick: np.ndarray, joints: int) -> np.ndarray:
    return np.sin(0.7 * _PERIOD * tick[:, None] + np.arange(joints))


def main(arguments: Sequence[str]) -> None:
    """Read the recordings at a path, and print what that took."""
    sys.stdout.write(json.dumps(_read(Path(arguments[0]))))


if __name__ == '__main__':
    main(sys.argv[1:])
