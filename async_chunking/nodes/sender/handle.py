# SPDX-License-Identifier: Apache-2.0
"""What the node has of its sender: starts it, tells it what to do and what is known."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Admitted, Behaviour
from async_chunking.nodes.sender.link import Link
from async_chunking.nodes.sender.values import (
    Begin,
    Known,
    KnownLayout,
    Setup,
    Start,
    Status,
    Word,
)
from async_chunking.start import held_interrupts

_START, _REST, _ANSWER = 30.0, 15.0, 2.0  # Patience [s].
_LOOK_S = 0.002  # [s].


class SenderError(AsyncChunkingError):
    """The sender refused its setup, or is gone."""


class SenderHandle:
    """A sender, from its start to its end.

    The constructor does not wait for the new process, so that both start at the same time.
    """

    def __init__(self) -> None:
        self._link = Link()
        descriptors = self._link.descriptors
        module = 'async_chunking.nodes.sender.process'
        with held_interrupts():  # It ends when the node does, which brings the robot to rest.
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *map(str, descriptors)],
                pass_fds=descriptors, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._link.attached()
        self._orders = 0
        self._layout: KnownLayout | None = None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def status(self) -> Status:
        """The newest that the sender told."""
        return self._link.status()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    # --- orders ---------------------------------------------------------------------------------

    def open(self, setup: Setup) -> None:
        """Let it make its publishers.

        Raises:
            SenderError: It could not; with its reason.
        """
        self._layout = KnownLayout(setup)
        self.tell(Known())
        if not self._order(setup, _START):
            msg = 'the sender did not start'
            raise SenderError(msg)
        if self.status.error:
            raise SenderError(self.status.error)

    def start(self, behaviour: Behaviour, displaced: str = 'keep') -> bool:
        """Let it send, as soon as a pose is known."""
        return self._order(Start(behaviour, displaced), _ANSWER)

    def tell(self, known: Known) -> None:
        """Let it know the newest."""
        assert self._layout is not None  # `open` was called.
        self._link.tell_known(self._layout.pack(known))

    def tell_time(self, now_ns: int) -> None:
        """Let it know what the clock of a simulation shows [ns]."""
        self._link.tell_time(now_ns)

    def deliver(self, chunk: Admitted) -> bool:
        """Hand it a chunk; False if too many wait already."""
        return self._order(chunk)

    def behave(self, behaviour: Behaviour) -> bool:
        """Ask with another merger and corrector from the next request on."""
        return self._order(behaviour)

    def brake(self) -> bool:
        """Bring the robot to rest until a new run begins."""
        return self._order(Word.BRAKE)

    def begin(self, most: np.ndarray, displaced: str = 'keep') -> int | None:
        """Begin a new run; return its id, or None if the sender did not answer.

        Args:
            most: [D] what a joint at rest may be off from its command [rad, m].
            displaced: What is done if it is farther off; see `pose.go_on`.
        """
        return self.status.run_id if self._order(Begin(most, displaced), _ANSWER) else None

    def rest(self) -> bool:
        """Bring the robot to rest, let go of it and send no more; False if that took too long."""
        return self._order(Word.REST) and self._wait(lambda: not self.status.active, _REST)

    def close(self) -> None:
        """Let it forget its setup."""
        self._order(Word.CLOSE, _ANSWER)

    def end(self) -> None:
        """End the process; a robot in motion is brought to rest first."""
        self._link.close()
        try:
            self._process.wait(_REST)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _order(self, order: Any, patience_s: float = 0.0) -> bool:
        number = self._orders + 1
        if not self._link.order((number, order)):
            return False
        self._orders = number
        return not patience_s or self._wait(lambda: self.status.done >= number, patience_s)

    def _wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline or self.ended:
                return False
            time.sleep(_LOOK_S)
        return True
