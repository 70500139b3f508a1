# SPDX-License-Identifier: Apache-2.0
"""The figures of `tools stream` from known times, and the parts of a tick from real ones."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scripted import scripted_run
from tools_command import invoke

from tools.recordings.export import write_run
from tools.stream.command import (
    CONTENDERS,
    FIFO,
    PLAIN,
    RECORDED,
    steadiness,
    table,
)
from tools.stream.running import MeasuringError, Turn, require_recorded

PERIOD = 20_000_000
NOTHING = np.empty(0, np.int64)


def turn(sent: np.ndarray, received: np.ndarray = NOTHING, cpu: float = 0.0) -> Turn:
    return Turn(np.asarray(sent, np.int64), np.asarray(received, np.int64), cpu)


def test_a_perfect_stream_has_no_error() -> None:
    table = steadiness([turn(np.arange(100) * PERIOD, cpu=0.1)])
    assert (table.p50_ms, table.max_ms, table.missed, table.drift_ms) == (0.0, 0.0, 0, 0.0)
    assert (table.commands, table.cpu) == (100, 0.1)


def test_a_gap_is_missed_and_slow_periods_drift() -> None:
    gap = np.delete(np.arange(100) * PERIOD, [50, 51])
    table = steadiness([turn(gap)])
    assert table.missed == 2
    assert table.max_ms == pytest.approx(40.0)
    slow = steadiness([turn(np.arange(100) * 20_100_000)])
    assert slow.p50_ms == pytest.approx(0.1)
    # 99 periods of 20.1 ms are 9.9 ms more than 99 of 20 ms: less than a period, so none missed.
    assert slow.drift_ms == pytest.approx(9.9 / (99 * 20.1) * 60e3)


def test_a_contender_that_never_sent_is_shown() -> None:
    silent = steadiness([turn(NOTHING)])
    assert math.isnan(silent.p99_ms)
    shown = table(dict.fromkeys(CONTENDERS, silent), '').markdown()
    assert shown.count('\n') == len(CONTENDERS) + 2


def test_rounds_are_told_apart_and_a_late_arrival_is_seen() -> None:
    even, slow = np.arange(100) * PERIOD, np.arange(100) * (PERIOD + 400_000)
    late = even + 50_000
    late[70] += 9_000_000
    table = steadiness([turn(even, late), turn(slow), turn(slow)])
    assert table.p99_ms == pytest.approx(0.4)
    assert table.spread_ms == pytest.approx((0.0, 0.4))
    assert table.way_ms == pytest.approx(9.05)


def test_each_priority_is_compared_with_its_own_timer() -> None:
    plain, ours = turn(np.arange(9) * 21_000_000), turn(np.arange(9) * 20_500_000)
    quick = turn(np.arange(9) * 20_100_000)
    figures = {
        PLAIN: steadiness([plain]), 'ours': steadiness([ours]),
        PLAIN + FIFO: steadiness([quick]), f'ours{FIFO}': steadiness([ours]),
    }  # fmt: skip
    assert [row[5] for row in table(figures, '').rows] == ['1.00', '0.50', '1.00', '5.00']


def test_a_recorder_is_compared_with_none() -> None:
    alone = steadiness([turn(np.arange(100) * 20_100_000)])
    beside = steadiness([turn(np.arange(100) * 20_300_000)])
    shown = table(dict(zip(RECORDED, (alone, beside), strict=True)), '').rows
    assert [row[5] for row in shown] == ['1.00', '3.00']


def test_a_recorder_that_lost_commands_is_no_contender(tmp_path) -> None:
    run = scripted_run()
    write_run(run, tmp_path / 'bag')
    times = np.rint(run.emitted * 1e9).astype(np.int64)
    require_recorded(tmp_path / 'bag', times)
    require_recorded(tmp_path / 'bag', times[100:200])
    twice = np.sort(np.concatenate((times, times[:-1] + 5_000_000)))
    with pytest.raises(MeasuringError, match='only 300 of 599 commands were recorded'):
        require_recorded(tmp_path / 'bag', twice)


LOADED = """
import sys, time
from tools.stream.command import load
with load(1):
    print('loaded', flush=True)
    time.sleep(600)
"""


def running(pid: str) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1]
    except OSError:
        return False
    return not state.startswith('Z')


def test_the_load_ends_with_the_process_that_made_it() -> None:
    parent = subprocess.Popen([sys.executable, '-c', LOADED], stdout=subprocess.PIPE)
    assert parent.stdout.readline()
    children = Path(f'/proc/{parent.pid}/task/{parent.pid}/children').read_text().split()
    assert len(children) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60.0
    while any(map(running, children)):
        assert time.monotonic() < deadline, f'{children} outlived their parent'
        time.sleep(0.1)


def test_the_parts_of_a_tick_are_timed(tmp_path) -> None:
    pytest.importorskip('rclpy')
    pytest.importorskip('async_chunking.msg')
    from tools.stream.anatomy import ADMIT, PARTS, TAKE

    path = tmp_path / 'tick.json'
    result = invoke('tick', '--ticks', '100', '--markdown', '--json', str(path))
    assert result.exit_code == 0, result.output
    figures = json.loads(path.read_text())
    for part in (*PARTS, TAKE, ADMIT):
        assert f'| {part} |' in result.output
        assert 0.0 < figures[part]['p50_us'] <= figures[part]['p99_us']
