# SPDX-License-Identifier: Apache-2.0
"""What is planned for which tick: the active plans, seen through a merger, with the blend-in."""

from __future__ import annotations

import numpy as np

from async_chunking.chunk import Plan
from async_chunking.mergers import Merger

_WINDOW = 34  # Ticks that are evaluated at once, since one costs nearly as much [ticks].


class Timeline:
    """
    The plans that are active, as one function of the tick.

    Args:
        merger: How the plans joined, and what they say together.
        stride: Ticks per policy step.
        blend_ticks: Ticks in which a fresh start is blended in.
        action_dim: D.
    """

    def __init__(self, merger: Merger, stride: float, blend_ticks: float, action_dim: int) -> None:
        self.merger = merger
        self._stride = stride
        self._blend_ticks = blend_ticks
        self._none = np.zeros(action_dim)
        self.clear()

    def clear(self) -> None:
        """Forget every plan."""
        self._plans: tuple[Plan, ...] = ()
        self._offset = self._none
        self._blend_start = 0.0
        self._blend_end = 0.0
        self._forget()

    def _forget(self) -> None:
        """Drop what was evaluated ahead: it no longer holds."""
        self._first, self._window = 0, np.empty((0, len(self._none)))

    def __bool__(self) -> bool:
        return bool(self._plans)

    @property
    def newest(self) -> Plan:
        """The plan that joined last."""
        return self._plans[-1]

    def join(self, plan: Plan, merger: Merger) -> None:
        """Let a plan take over, from when on `merger` says what the active plans say together.

        While a fresh start is blended in, what is left of the offset is kept only as far as the
        new plan differs by it from what was about to be executed: a chunk that was drawn to agree
        with that has it in its rows.
        """
        tick = float(plan.takeover)
        now = np.array([tick])
        blending = self._offset is not self._none and tick < self._blend_end
        before = self.actions(now)[0] if blending else self._none
        left = self._fade(now)[0] if blending else self._none
        self.merger = merger
        self._plans = merger.join(self._plans, plan)
        self._offset = self._none
        if blending and not merger.waits:
            missing = before - self.actions(now)[0]
            if missing[0] == missing[0]:  # Not NaN: something is planned by both.
                self._offset = np.clip(missing, np.minimum(left, 0.0), np.maximum(left, 0.0))
                self._blend_start = tick
        self._forget()

    def around(self, tick: int) -> np.ndarray:
        """Return what is planned at the tick before, at `tick` and at the one after, [3, D]."""
        skipped = tick - 1 - self._first
        if not 0 <= skipped <= len(self._window) - 3:
            self._first, skipped = tick - 1, 0
            self._window = self.actions(self._first + np.arange(float(_WINDOW)))
        return self._window[skipped : skipped + 3]

    def actions(self, ticks: np.ndarray) -> np.ndarray:
        """Return what is planned at `ticks` [n]: [n, D] [rad, m], NaN where nothing is."""
        actions = self.merger.actions(self._plans, ticks)
        if self._offset is self._none or ticks[0] >= self._blend_end:
            return actions
        return actions + self._fade(ticks)

    def covers(self, tick: int) -> bool:
        """Return whether anything is planned at `tick`."""
        return bool(self) and not np.isnan(self.around(tick)[1, 0])

    def upcoming(self, tick: int, horizon: int) -> np.ndarray:
        """Return what will be executed from `tick` on if no chunk comes, [R <= horizon, D]."""
        if not self or not horizon:
            return np.empty((0, len(self._none)))
        rows = self.actions(tick + self._stride * np.arange(horizon))
        absent = np.isnan(rows[:, 0])
        return rows[: int(np.argmax(absent))] if absent.any() else rows

    def blend_from(self, position: np.ndarray, tick: int) -> None:
        """Begin at `position` [D] at `tick` and fade the difference to the plan out."""
        if self._blend_ticks:
            self._offset = self._none
            self._offset = position - self.actions(np.array([float(tick)]))[0]
            self._blend_start = float(tick)
            self._blend_end = tick + self._blend_ticks
            self._forget()

    def _fade(self, ticks: np.ndarray) -> np.ndarray:
        """Return the share [n, D] of the offset that is left (smoothstep)."""
        length = self._blend_end - self._blend_start
        x = np.minimum(np.maximum((ticks - self._blend_start) / length, 0.0), 1.0)
        return (1.0 - x * x * (3.0 - 2.0 * x))[:, None] * self._offset
