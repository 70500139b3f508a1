# SPDX-License-Identifier: Apache-2.0
"""How `tools recordings` measures memory, and that it measures at all."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tools_command import invoke

from tools.recordings.benchmark import watched

MEGABYTES = 60
TWO = f"""
import subprocess, sys, time
held = bytearray({MEGABYTES}_000_000)
code = 'import time; held = bytearray({MEGABYTES}_000_000); print(1, flush=True); time.sleep(1)'
child = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
child.stdout.readline()
time.sleep(0.5)
child.wait()
print('done')
"""


def test_the_memory_of_all_processes_counts() -> None:
    output, peak = watched([sys.executable, '-c', TWO])
    assert output == 'done\n'
    assert 2 * MEGABYTES < peak < 4 * MEGABYTES


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        watched([sys.executable, '-c', 'raise SystemExit(3)'])


def test_recordings_are_made_and_measured(tmp_path) -> None:
    path = tmp_path / 'figures.json'
    words = ['--minutes', '0.5', '--joints', '3', '--bags', '3', '--json', str(path)]
    result = invoke('recordings', *words)
    assert result.exit_code == 0, result.output
    rows = {row['recording']: row for row in json.loads(path.read_text())}
    assert rows.keys() == {'0.05 min', '0.5 min', '3 of 10 s'}
    assert rows['0.5 min']['messages'] > 2 * 1500
    assert all(0.0 < row['peak_mb'] < 10_000 for row in rows.values())
