# SPDX-License-Identifier: Apache-2.0
"""Garbage collection of a loop that must not be held up."""

from __future__ import annotations

import gc


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
