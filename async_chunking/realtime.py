# SPDX-License-Identifier: Apache-2.0
"""Real-time priority of this thread, where the user may have it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def may_use_fifo() -> bool:
    """Return whether this user may ask for real-time priority."""
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *before)
    except OSError:
        return False
    return True


@contextmanager
def real_time(priority: int) -> Iterator[None]:
    """Give this thread a SCHED_FIFO priority for a while; 0 for none."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    if priority:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
