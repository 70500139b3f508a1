# SPDX-License-Identifier: Apache-2.0
"""Record in the background: whoever hands messages over never waits for the disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces import Qos

from async_chunking.bags.writer import BagWriter

_FLUSH_S = 1.0  # A sudden end loses no more than this [s].
_PATIENCE_S = 0.2  # How soon the end of a quiet recording is noticed [s].
_WAITING = 50_000  # Messages that may wait for a slow disk, some 30 MB of a small robot.


class _Message(NamedTuple):
    topic: str
    stamp: int
    data: bytes


class Recording:
    """
    A recording in progress, written by a thread of its own.

    Args:
        path: Folder to make.

    Attributes:
        dropped: Messages that were lost because the disk was too slow.
        failure: Why the recording ended early; empty while it goes on.

    Raises:
        BagError: The folder exists or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        self.failure = ''
        self._writer = BagWriter(path)
        self._queue: queue.Queue[_Message] = queue.Queue(_WAITING)
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='recording', daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """Messages written."""
        return self._writer.count

    def add(self, topic: str, kind: str, qos: Sequence[Qos] = ()) -> None:
        """
        Announce a topic.

        Args:
            topic: Name of the topic.
            kind: Type of its messages, 'package/msg/Name'.
            qos: What its publishers offer, for those who play the recording.

        Raises:
            BagError: The definition of the type is not found.
        """
        with self._lock:
            self._writer.add(topic, kind, qos)

    def put(self, topic: str, stamp: int, data: bytes) -> None:
        """Record a message of an announced topic, received at `stamp` [ns]; returns at once."""
        try:
            if not self.failure:
                self._queue.put_nowait(_Message(topic, stamp, data))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, and finish the files."""
        self._ending.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.failure = f'{self.path}: the disk takes longer than {timeout_s:g} s; gave up'

    def _run(self) -> None:
        try:
            self._write_all()
            self._writer.close()
        except OSError as error:
            self._writer.abort()
            self.failure = (
                f'{self.path}: recording ended after {self.count} messages: {error.strerror}; '
                'what was written before can be read'
            )

    def _write_all(self) -> None:
        flushed = time.monotonic()
        while not (self._ending.is_set() and self._queue.empty()):
            try:
                message = self._queue.get(timeout=_PATIENCE_S)
            except queue.Empty:
                message = None
            with self._lock:
                if message is not None:
                    self._writer.write(*message)
                if time.monotonic() - flushed >= _FLUSH_S:
                    self._writer.flush()
                    flushed = time.monotonic()
