# SPDX-License-Identifier: Apache-2.0
"""Work that hangs ends its process, also where it holds the interpreter."""

from __future__ import annotations

import faulthandler
import subprocess
import sys
from contextlib import suppress

import pytest

HANGING = """
import ctypes, sys, time
from async_chunking.nodes import deadline

deadline._GRACE_S = 0.2
guard = deadline.Deadline('an inference', 0.2)
with guard:
    assert not guard.passed
for _ in range(3):  # What is in time does no harm, however much of it there is.
    with guard:
        time.sleep(0.1)
assert not guard.passed
with guard:
    {}
"""


@pytest.mark.parametrize('how', ['time.sleep(60.0)', 'ctypes.PyDLL(None).sleep(60)'])
def test_what_hangs_ends_its_process_and_shows_where_it_was(how: str) -> None:
    """`PyDLL` keeps the interpreter, as a library with a fault does."""
    pytest.importorskip('rclpy')
    done = subprocess.run(
        [sys.executable, '-c', HANGING.format(how)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'Timeout' in done.stderr
    assert 'line 14' in done.stderr


def test_it_says_in_time_what_took_too_long() -> None:
    import time

    pytest.importorskip('rclpy')
    from async_chunking.nodes.deadline import Deadline

    guard = Deadline('an inference', 0.05)
    with guard:
        time.sleep(0.1)
        assert guard.passed == 'an inference took longer than 0.05 s; the process ends'
    assert not guard.passed


def test_work_that_has_ended_leaves_nothing_that_would_end_the_process(monkeypatch) -> None:
    pytest.importorskip('rclpy')
    from async_chunking.nodes.deadline import Deadline

    armed: list[float] = []
    monkeypatch.setattr(
        faulthandler, 'dump_traceback_later', lambda seconds, **_: armed.append(seconds)
    )
    monkeypatch.setattr(faulthandler, 'cancel_dump_traceback_later', armed.clear)
    guard = Deadline('an inference', 10.0)
    with guard:
        assert armed == [15.0]
    assert not armed
    with suppress(ValueError), guard:
        raise ValueError
    assert not armed
