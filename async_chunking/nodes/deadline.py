# SPDX-License-Identifier: Apache-2.0
"""A deadline for work that may hang: the process ends, and whoever started it begins anew."""

from __future__ import annotations

import faulthandler
import time

_GRACE_S = 5.0  # For the process to end by itself, and to say why [s].


class Deadline:
    """Guards work, as a context; it may be entered again and again.

    What hangs may hold the interpreter, so that nothing in Python can end it. Then, `_GRACE_S`
    after the deadline, the process ends with status 1 and prints where each of its threads was.

    Args:
        what: The work, in words.
        seconds: So long it may take [s].
    """

    def __init__(self, what: str, seconds: float) -> None:
        self._what, self._seconds = what, seconds
        self._began: float | None = None

    def __enter__(self) -> None:
        self._began = time.monotonic()
        faulthandler.dump_traceback_later(self._seconds + _GRACE_S, exit=True, file=2)

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._began = None

    @property
    def passed(self) -> str:
        """That the work which is done now has taken too long, in words; else empty."""
        began = self._began
        if began is None or time.monotonic() - began <= self._seconds:
            return ''
        return f'{self._what} took longer than {self._seconds:g} s; the process ends'
