# SPDX-License-Identifier: Apache-2.0
"""`async-chunking up` from start to end, and what Ctrl-C leaves behind: nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, '-m', 'async_chunking.cli', 'up', 'viperx']
PATIENCE = 150.0


def descendants(root: int) -> set[int]:
    """Return the ids of all processes that a process started, and those that these started."""
    parents = {}
    for entry in Path('/proc').glob('[0-9]*'):
        try:
            fields = entry.joinpath('stat').read_text().rsplit(') ', 1)[1].split()
        except OSError:  # It ended just now.
            continue
        parents[int(entry.name)] = int(fields[1])
    pids = {root}
    while more := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= more
    return pids - {root}


def alive(pids: set[int]) -> set[int]:
    """Return those that still run; a zombie does not."""
    running = set()
    for pid in pids:
        try:
            state = Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()[0]
        except OSError:
            continue
        if state != 'Z':
            running.add(pid)
    return running


def test_up_writes_the_figures_of_a_run(tmp_path: Path) -> None:
    out, bag = tmp_path / 'out.json', tmp_path / 'bag'
    words = ['strategy:=naive', 'latency_ms:=120', 'duration:=6', f'record:={bag}']
    done = subprocess.run(
        [*COMMAND, *words, '--json', str(out)],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'naive' in done.stdout
    figures = json.loads(out.read_text())
    assert figures['strategy'] == 'naive'
    assert figures['latency_ms'] == '120'
    assert {'p50', 'max'} <= set(figures['delay_steps'])
    assert {'p50', 'p99', 'max'} <= set(figures['period_ms'])
    for name in ('success', 'consistency_rad', 'seam_jump_rad', 'missed_ticks', 'late_chunks'):
        assert name in figures
    # 120 ms on purpose are six steps at 50 Hz; a busy machine adds to them, nothing subtracts.
    assert figures['delay_steps']['p50'] >= 6
    assert figures['consistency_rad'] > 0.0
    assert figures['ticks'] > 200
    assert figures['starved_ticks'] >= 0
    assert figures['rejected_chunks'] >= 0
    assert figures['limits']['exceeded'] == 0
    assert (bag / 'metadata.yaml').is_file()
    # Times for people, and no warning of what every episode ends with.
    (told,) = re.findall(r'\[INFO\] \[(.+)\] \[recorder\]: \d+ messages in', done.stderr)
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}', told)
    assert 'safe stop' not in done.stderr


@pytest.mark.parametrize('whole_group', [False, True])
def test_ctrl_c_stops_everything_and_ends_with_0(tmp_path: Path, whole_group: bool) -> None:
    process = subprocess.Popen(
        [*COMMAND, 'strategy:=sync', f'record:={tmp_path / "bag"}'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while len(children := descendants(process.pid)) < 5:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline, f'only {children} started'
            time.sleep(0.2)
        if not whole_group:  # Else while they still import what they need.
            time.sleep(2.0)
        children = descendants(process.pid)
        if whole_group:  # A terminal sends it to every process of the foreground group.
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        assert 'Traceback' not in output
        assert alive(children) == set()
    finally:
        process.kill()


def test_nodes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, f'record:={tmp_path / "bag"}'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE
    while len(children := descendants(process.pid)) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.kill()
    process.wait()
    while alive(children):
        assert time.monotonic() < deadline + 60.0, f'{alive(children)} outlived their parent'
        time.sleep(0.2)


def refused(*words: str) -> str:
    """Return why a robot is not started."""
    done = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    return done.stderr


def test_a_missing_checkpoint_stops_the_start(tmp_path: Path) -> None:
    assert f'{tmp_path} holds no checkpoint' in refused(f'policy_path:={tmp_path}')


def test_a_node_that_cannot_start_ends_the_start_with_its_reason() -> None:
    reason = refused('device:=cuda:99')
    assert re.search(r"policy could not start: device 'cuda:99'", ' '.join(reason.split()))


def test_a_robot_that_does_not_start_in_time_is_given_up() -> None:
    reason = refused('start_timeout_s:=0.01')
    assert 'no chunk was executed within 0.01 s' in reason
    assert 'a large policy takes longer: set start_timeout_s' in reason
