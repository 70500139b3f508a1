# SPDX-License-Identifier: Apache-2.0
"""What a command thread waits on: absolute deadlines on a steady or a simulated clock."""

from __future__ import annotations

import ctypes
import gc
import os
import queue
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import NamedTuple

_SPIN_NS = 60_000  # The kernel wakes a sleeper this much late at best.
_MCL_CURRENT_AND_FUTURE = 3
_PR_SET_TIMERSLACK = 29
_SWITCH = 0.0005  # Python lets another thread run after this; 5 ms by default [s].


class Due(NamedTuple):
    """A tick that is due.

    Attributes:
        deadline_ns: When it was due.
        missed: Ticks before it whose whole period passed unseen.
    """

    deadline_ns: int
    missed: int


class Pace(ABC):
    """Deadlines on a fixed grid: first deadline, first + period, first + 2 periods, ...

    Args:
        period_ns: [ns].
    """

    def __init__(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self._next = 0

    @abstractmethod
    def now_ns(self) -> int:
        """Return the time on the clock of the deadlines [ns]."""

    @abstractmethod
    def wait(self, timeout: float) -> Due | None:
        """Sleep until the next tick is due; None if it is not within `timeout` [s, wall time]."""

    def close(self) -> None:  # noqa: B027
        """Give back what the clock needs; most need nothing."""

    def restart(self) -> None:
        """Let the grid begin now, and forget what was missed."""
        self._next = self.now_ns() + self.period_ns

    def _take(self, now: int) -> Due:
        missed = max(now - self._next, 0) // self.period_ns
        deadline = self._next + missed * self.period_ns
        self._next = deadline + self.period_ns
        return Due(deadline, missed)


class SteadyPace(Pace):
    """The machine's monotonic clock: sleeps until shortly before the deadline, then spins."""

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC [ns]."""
        return time.monotonic_ns()

    def wait(self, timeout: float) -> Due | None:
        """See `Pace.wait`."""
        left = self._next - time.monotonic_ns()
        if left > timeout * 1e9:
            time.sleep(timeout)
            return None
        if left > _SPIN_NS:
            time.sleep((left - _SPIN_NS) * 1e-9)
        now = time.monotonic_ns()
        while now < self._next:
            now = time.monotonic_ns()
        return self._take(now)


class SimPace(Pace):
    """The clock that a simulation publishes; `feed` is called from another thread."""

    def __init__(self, period_ns: int) -> None:
        super().__init__(period_ns)
        self._now = 0
        self._clock: queue.SimpleQueue[int] = queue.SimpleQueue()

    def feed(self, now_ns: int) -> None:
        """Tell what the simulation's clock shows [ns]."""
        self._clock.put(now_ns)

    def now_ns(self) -> int:
        """Return the newest time that `wait` saw [ns]."""
        return self._now

    def wait(self, timeout: float) -> Due | None:
        """See `Pace.wait`; a clock that jumps back restarts the grid."""
        try:
            now = self._clock.get(timeout=timeout)
        except queue.Empty:
            return None
        jumped_back, self._now = now < self._now, now
        if jumped_back or not self._next:
            self.restart()
        return self._take(now) if now >= self._next else None


def prepare_thread(priority: int, lock_memory: bool) -> list[str]:
    """Make the calling thread as punctual as the system permits.

    Args:
        priority: SCHED_FIFO priority, 0 to stay an ordinary thread.
        lock_memory: Keep all memory of the process in RAM.

    Returns:
        A sentence for each wish that was not granted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    sys.setswitchinterval(_SWITCH)
    denied = []
    if priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            denied.append(f'no real-time priority: {error.strerror}; allow it with `ulimit -r`')
    if lock_memory and libc.mlockall(_MCL_CURRENT_AND_FUTURE):
        reason = os.strerror(ctypes.get_errno())
        denied.append(f'memory is not locked: {reason}; allow it with `ulimit -l unlimited`')
    return denied


def raise_all_threads(priority: int) -> None:
    """Give the threads that there are now a SCHED_FIFO priority, where the system permits.

    Those that receive, and those of the middleware, hold locks that the command thread needs now
    and then; preempted by other processes they would hold it up.
    """
    for thread in os.listdir('/proc/self/task'):
        with suppress(OSError):  # It ended, or must not; the command thread will tell.
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))


class Garbage:
    """Collects garbage between ticks instead of whenever Python likes.

    What lives when the thread starts is set aside; what is left to look at is little.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._ticks = 0

    def __enter__(self) -> Garbage:
        gc.collect()
        gc.freeze()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.unfreeze()

    def tick(self) -> None:
        """Collect the youngest generation now and then; call it when a tick's work is done."""
        self._ticks += 1
        if self._ticks % self._every == 0:
            gc.collect(1 if self._ticks % (20 * self._every) == 0 else 0)
