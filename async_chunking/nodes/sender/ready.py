# SPDX-License-Identifier: Apache-2.0
"""A publisher that has its message ready before the deadline: what is left then is to send it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message


class ReadyPublisher(Publisher):
    """
    Sends what is published at once, or, while it holds, when it is let go.

    To turn a message of Python into bytes takes most of the time of publishing, and varies most.

    """

    _holds = False
    _ready: bytes | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Make ready what is published meanwhile, in place of what was made and not sent."""
        self._ready, self._holds = None, True
        try:
            yield
        finally:
            self._holds = False

    def publish(self, message: Any) -> None:
        """Send a message, or make it ready to be sent."""
        if self._holds:
            self._ready = serialize_message(message)
        else:
            super().publish(message)

    def let_go(self) -> None:
        """Send what was made ready, if anything was."""
        ready, self._ready = self._ready, None
        if ready is not None:
            super().publish(ready)
