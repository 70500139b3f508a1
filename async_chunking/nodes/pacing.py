# SPDX-License-Identifier: Apache-2.0
"""What a command loop waits on: absolute deadlines on a steady or a simulated clock."""

from __future__ import annotations

import ctypes
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

_LEAD_NS = 1_500_000  # A tick takes a tenth of this; the rest is for being woken late [ns].
_JUMP_NS = 1_000_000_000  # More than this that passed unseen is no lateness any more [ns].
_MCL_CURRENT_AND_FUTURE = 3
_PR_SET_TIMERSLACK = 29


class Due(NamedTuple):
    """A tick that is due.

    Attributes:
        deadline_ns: Time at which it is due; at most `Pace.lead_ns` from now.
        missed: Ticks before it whose whole period passed unseen.
        jumped: Whether the clock was set, or much time passed unseen, since the tick before; the
            grid begins anew, and no tick is counted as missed.
        silent: Periods that really passed then, whatever the clock says.
    """

    deadline_ns: int
    missed: int
    jumped: bool = False
    silent: int = 0


class Pace(ABC):
    """Deadlines on a fixed grid: first deadline, first + period, first + 2 periods, ...

    Args:
        period_ns: [ns].

    Attributes:
        lead_ns: How long before its deadline a tick is given out, so that work comes first [ns].
    """

    def __init__(self, period_ns: int, lead_ns: int = 0) -> None:
        self.period_ns = period_ns
        self.lead_ns = lead_ns
        self._next = 0
        self._jumped = False
        self._real_ns = time.monotonic_ns()  # When the last tick was given out.

    @abstractmethod
    def now_ns(self) -> int:
        """Return the time on the clock of the deadlines [ns]."""

    @abstractmethod
    def wait(self, timeout_s: float) -> Due | None:
        """Sleep until the next tick is due; None if it is not within `timeout_s` of wall time."""

    def hold(self, deadline_ns: int) -> None:  # noqa: B027
        """Wait for the deadline of a tick that was given out."""

    def close(self) -> None:  # noqa: B027
        """Give back what the clock needs; most need nothing."""

    def restart(self) -> None:
        """Let the grid begin now, and forget what was missed."""
        self._next = self.now_ns() + self.period_ns

    def _take(self, now: int) -> Due:
        missed = max(now - self._next, 0) // self.period_ns
        if missed * self.period_ns > max(_JUMP_NS, 2 * self.period_ns):
            self._next, self._jumped, missed = now, True, 0
        deadline = self._next + missed * self.period_ns
        self._next = deadline + self.period_ns
        jumped, self._jumped = self._jumped, False
        before, self._real_ns = self._real_ns, time.monotonic_ns()
        silent = max((self._real_ns - before) // self.period_ns - 1, 0) if jumped else 0
        return Due(deadline, missed, jumped, silent)


class SteadyPace(Pace):
    """The machine's monotonic clock.

    It sleeps until shortly before the tick is given out, and spins from there to the deadline: by
    then the work is done, and a sleeper that was woken late has made up for it.
    """

    def __init__(self, period_ns: int) -> None:
        super().__init__(period_ns, min(_LEAD_NS, period_ns // 8))

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC [ns]."""
        return time.monotonic_ns()

    def wait(self, timeout_s: float) -> Due | None:
        """See `Pace.wait`."""
        left = self._next - self.lead_ns - time.monotonic_ns()
        if left > timeout_s * 1e9:
            time.sleep(timeout_s)
            return None
        if left > 0:
            time.sleep(left * 1e-9)
        return self._take(time.monotonic_ns())

    def hold(self, deadline_ns: int) -> None:
        """See `Pace.hold`."""
        while time.monotonic_ns() < deadline_ns:
            pass


class SimPace(Pace):
    """The clock that a simulation publishes.

    Args:
        period_ns: [ns].
        next_time: Returns the next time of that clock [ns], None if none comes within so many
            seconds of wall time.
    """

    def __init__(self, period_ns: int, next_time: Callable[[float], int | None]) -> None:
        super().__init__(period_ns)
        self._now = 0
        self._next_time = next_time

    def now_ns(self) -> int:
        """Return the newest time that `wait` saw [ns]."""
        return self._now

    def wait(self, timeout_s: float) -> Due | None:
        """See `Pace.wait`; a clock that jumps back restarts the grid."""
        now = self._next_time(timeout_s)
        if now is None:
            return None
        back, self._now = now < self._now, now
        if back or not self._next:
            self._jumped = back
            self.restart()
        return self._take(now) if now >= self._next else None


def prepare(priority: int, lock_memory: bool) -> list[str]:
    """Make the calling thread as punctual as the system permits.

    Args:
        priority: SCHED_FIFO priority, 0 to stay an ordinary thread.
        lock_memory: Keep all memory of the process in RAM.

    Returns:
        A sentence for each wish that was not granted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
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

    Those of the middleware hold locks that the command loop needs now and then; preempted by other
    processes they would hold it up.
    """
    for thread in os.listdir('/proc/self/task'):
        with suppress(OSError):  # It ended, or must not; the command thread will tell.
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
