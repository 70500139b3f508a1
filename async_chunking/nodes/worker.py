# SPDX-License-Identifier: Apache-2.0
"""A thread that serves what was asked last, and forgets what it did not come to."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any


class Worker:
    """
    Serves one thing at a time in a thread of its own; only the newest is kept.

    One that still waits when the next arrives is never served, since whoever asks does so again
    only when he has given the old one up. Beside that it does chores, when nothing waits.

    Args:
        name: Name of the thread.
        serve: Called with each thing that is served, in that thread; it must not raise.

    Attributes:
        active: Between `start` and `stop`.
        stopping: Since `stop`, for whatever waits in `serve`.
    """

    def __init__(self, name: str, serve: Callable[[Any], None]) -> None:
        self.active = False
        self.stopping = False
        self._name = name
        self._serve = serve
        self._arrived = threading.Condition()
        self._waiting: Any = None
        self._chores: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to serve; a thread that is still busy since before goes on."""
        with self._arrived:
            self.active, self.stopping = True, False
            self._waiting = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def stop(self, patience_s: float) -> None:
        """Take nothing more, and wait for what is served now, but not longer than that [s]."""
        with self._arrived:
            self.active, self.stopping = False, True
            self._arrived.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=patience_s)

    def sleep(
        self, now_ns: Callable[[], int], since_ns: int, length_s: float, look_s: float
    ) -> None:
        """Sleep on a clock, which may run at any pace, until it is set back or this is stopped.

        Args:
            now_ns: Clock [ns].
            since_ns: Time on it from which the length counts [ns].
            length_s: [s].
            look_s: How often to look at the clock at least [s].
        """
        while self.active and 0.0 <= (passed := (now_ns() - since_ns) * 1e-9) < length_s:
            time.sleep(min(length_s - passed, look_s))

    def offer(self, thing: Any) -> bool:
        """Take a thing to serve; return whether another one was given up for it."""
        with self._arrived:
            if not self.active:
                return False
            replaced = self._waiting is not None
            self._waiting = thing
            self._arrived.notify()
            return replaced

    def later(self, chore: Callable[[], None]) -> None:
        """Call something when nothing waits to be served, if need be after the next `start`."""
        with self._arrived:
            self._chores.append(chore)
            self._arrived.notify()

    def _busy(self) -> bool:
        return self._waiting is not None or bool(self._chores)

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._busy() or not self.active)
                if not self.active:
                    self._thread = None
                    return
                thing, self._waiting = self._waiting, None
                chore = None if thing is not None else self._chores.popleft()
            if chore is None:
                self._serve(thing)
            else:
                chore()
