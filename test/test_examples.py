# SPDX-License-Identifier: Apache-2.0
"""Every file of examples/ runs and shows what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / 'examples'


def output(name: str) -> str:
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested_and_listed() -> None:
    files = {path.name for path in EXAMPLES.glob('*.py')}
    assert files == {'core.py', 'sampling.py'}
    assert all(f']({name})' in (EXAMPLES / 'README.md').read_text() for name in files)


def test_the_core_sends_one_command_a_tick_within_the_limits() -> None:
    said = re.fullmatch(
        r'100 commands, fastest (\d\.\d\d) rad/s of 3\.00 allowed\n', output('core.py')
    )
    assert said
    assert 0.5 < float(said[1]) <= 3.0


def test_strategies_keep_the_executed_rows_better_than_naive() -> None:
    pytest.importorskip('torch')
    con = {
        line.split(':')[0].strip(): float(line.split()[-1])
        for line in output('sampling.py').splitlines()
    }
    assert con['rtc'] < 0.5 * con['naive']
    assert con['paint'] < 0.5 * con['naive']
    assert con['bid'] < 0.5 * con['naive']
