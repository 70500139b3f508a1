# SPDX-License-Identifier: Apache-2.0
"""What a merger is: how a finished chunk joins the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from async_chunking.chunk import Plan


@dataclass(frozen=True)
class Merger:
    """
    How a chunk joins the stream; the base class is the plainest one.

    A merger is a value. What evolves is the tuple of active plans, oldest first, which the
    executor holds and passes in. `join` and `actions` must be cheap; `prepare` may be slow because
    it runs off the command thread.

    Attributes:
        waits: The robot rests while a chunk is computed, instead of executing the old plan on.
        continuous: What is planned never jumps when a chunk takes over, however much it differs.
    """

    waits: ClassVar[bool] = False
    continuous: ClassVar[bool] = False

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows [H, D] that shall be executed for a finished chunk's rows [H, D]."""
        return rows

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        """Return the plans that are active from `new.takeover` on, the new one last."""
        del active  # Unused.
        return (new,)

    def actions(self, active: tuple[Plan, ...], ticks: np.ndarray) -> np.ndarray:
        """
        Return the actions [n, D] planned for `ticks` [n], NaN where nothing is planned.

        `active` is not empty; each plan in it says from which tick on it counts.
        """
        return active[-1].at(ticks)
