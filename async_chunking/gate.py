# SPDX-License-Identifier: Apache-2.0
"""
The last gate: the only way by which a command reaches a robot.

`Gate` takes any numbers whatever and gives commands that are finite and whose position, velocity,
acceleration and jerk, as differences of the commands that the driver got, are within the limits.
A target stream that stays within them by a millionth passes unchanged, without lag; a jump is
caught up in about the least time, without overshoot.

All is counted in ticks: with the command p, its displacement u = p - p_before and the change of
that, a = u - u_before, a tick chooses one number per joint, the next a. Why it never fails is in
docs/stream.md; in short, an a is only let through if the hardest braking after it still ends
before every limit, and between braking and what is wanted lies nothing that breaks one.
"""

from __future__ import annotations

import numpy as np

from async_chunking.safety import FARTHEST, Limits

_LONG = 10_000  # Whatever moved is at rest after so many ticks.
_FIT = 1.0 + 1e-9  # Rounding of a target that is exactly at a limit.
_NEARLY = 1.0 + 1e-6  # A hair's breadth beside a plan that is itself at a limit.
_NEAR = 1e-9  # Rounding of a position at a limit [rad, m].
_TINY = 1e-30  # A difference of what is no larger than 1e18.
_CARE = 0.95  # Share of acceleration and jerk that an approach plans with, as ticks are whole,
_MARGIN = 0.6  # and what it stops short by, as a share of its braking, for the same reason.
_CHOICES = np.linspace(0.0, 1.0, 5)[:, None]  # Between which an approach interpolates.
_SIDES = np.array([1.0, 1.0, -1.0, -1.0])[:, None]


class Gate:
    """
    What a robot is told, one command per tick; the state is what its driver got last.

    Where a range is so narrow, or a velocity limit so low, that the acceleration limit could not
    be used up and taken back within it, a lower one is kept.

    Args:
        limits: Limits of the robot, D joints.
        period: Control period [s].

    Attributes:
        position: [D] the last command [rad, m].

    Raises:
        ValueError: The period is not above 0.
    """

    def __init__(self, limits: Limits, period: float) -> None:
        if not period > 0.0:
            msg = f'period must be positive, got {period}'
            raise ValueError(msg)
        self.limits = limits
        self.period = period
        self._lower = np.maximum(limits.lower, -FARTHEST)
        self._upper = np.minimum(limits.upper, FARTHEST)
        width = self._upper - self._lower
        top = np.minimum(limits.velocity * period, FARTHEST)
        step = np.minimum(limits.acceleration * period**2, 2.0 * top)
        jerk = np.minimum(limits.jerk * period**3, 2.0 * step)
        # From braking at one limit to braking at the other, and from rest to the top speed.
        step = np.minimum(step, np.minimum(width / 4.0, np.cbrt(width * jerk**2 / 16.0)))
        step = np.minimum(step, np.maximum(np.sqrt(2.0 * jerk * top), jerk / 2.0))
        jerk = np.minimum(jerk, 2.0 * step)
        self._top, self._step, self._jerk = top, step, jerk
        self._ramp, self._slope = 2.0 * step / jerk + 3.0, 0.5 / step
        self._curve = 0.5 / jerk
        self._most = np.stack([top, top, step, step, jerk, jerk, jerk]) * _FIT
        self._lowest = np.stack([self._lower, -top, -top])
        self._highest = np.stack([self._upper, top, top])
        self._room = np.stack([self._upper, self._upper, -self._lower, -self._lower])
        self.start(np.clip(np.zeros(len(limits)), self._lower, self._upper))

    # --- what the driver has --------------------------------------------------------------------

    def start(self, position: np.ndarray, velocity: np.ndarray | float = 0.0) -> None:
        """
        Begin where a driver that got no command yet is: the one jump that there can be.

        Args:
            position: [D] measured, even outside the limits [rad, m].
            velocity: [D] [rad/s, m/s].

        Raises:
            ValueError: A number is not finite, or no place of a joint.
        """
        position = np.array(position, dtype=np.float64)
        moved = np.zeros_like(position) + np.asarray(velocity, dtype=np.float64) * self.period
        if not ((np.abs(position) <= FARTHEST).all() and np.isfinite(moved).all()):
            msg = f'a gate cannot start at {position.tolist()} with velocity {velocity}'
            raise ValueError(msg)
        self.position = position
        self._moved = np.minimum(np.maximum(moved, -self._top), self._top)
        self._change = np.zeros_like(position)
        self._before = (self.position, self._moved, self._change)

    @property
    def velocity(self) -> np.ndarray:
        """Velocity [D] of the robot after the last command and the silence since [rad/s, m/s]."""
        return self._moved / self.period

    def silence(self, ticks: int) -> None:
        """Account for ticks on which nothing was sent: the robot brakes and the command stands."""
        if ticks > _LONG:
            self._moved = self._change = np.zeros_like(self._moved)
        for _ in range(ticks):
            if not (self._moved.any() or self._change.any()):
                return
            low, high = self._reach()
            self._change = np.minimum(np.maximum(self._stopping(), low), high)
            self._moved = self._moved + self._change

    def lost(self, joints: np.ndarray | bool = True) -> None:
        """Take back the last command, which did not reach the driver of some joints [D] or all.

        Before any silence that follows it is told of.
        """
        sent = (self.position, self._moved, self._change)
        self.position, self._moved, self._change = self._before
        self.silence(1)
        now = (self.position, self._moved, self._change)
        self.position, self._moved, self._change = (
            np.where(joints, one, other) for one, other in zip(now, sent, strict=True)
        )

    # --- what it gets ---------------------------------------------------------------------------

    def follow(
        self, target: np.ndarray, advance: np.ndarray, then: np.ndarray | None = None
    ) -> np.ndarray:
        """
        Return the next command [D] towards a target; one that is not finite makes it brake.

        Args:
            target: [D] where the plan is at this tick [rad, m].
            advance: [D] how far the plan moved since the tick before [rad, m per tick].
            then: [D] how far it will move until the next one; without it, as far again.
        """
        orders = np.array((target, advance, advance if then is None else then))
        finite = np.isfinite(orders)
        if not finite.all():
            if not finite[0].all():
                return self.brake()
            orders[np.isnan(orders)] = 0.0
        orders = np.minimum(np.maximum(orders, self._lowest), self._highest)
        target, advance, later = orders[0], orders[1], orders[2]
        asked = np.empty_like(self._most)
        moved = np.subtract(target, self.position, out=asked[0])
        change = np.subtract(moved, self._moved, out=asked[2])
        after = np.subtract(later, moved, out=asked[3])
        # On the plan now and still on it at the next two ticks: nothing else is asked.
        asked[1] = later
        np.subtract(change, self._change, out=asked[4])
        np.subtract(after, change, out=asked[5])
        np.subtract(later - advance, after, out=asked[6])
        asked = np.abs(asked)
        if (asked <= self._most).all() and self._free(target, moved, change).all():
            return self._send(target, moved, change)
        stays = (asked <= self._most * _NEARLY).all(axis=0)  # The guard takes off what is over.
        low, high = self._reach()
        wanted = self._approach(target, advance, low, high)
        return self._guard(np.where(stays, change, wanted), low, high)

    def brake(self) -> np.ndarray:
        """Return the next command [D] on the quickest way to rest."""
        return self._guard(self._stopping(), *self._reach())

    def _send(self, position: np.ndarray, moved: np.ndarray, change: np.ndarray) -> np.ndarray:
        self._before = (self.position, self._moved, self._change)
        self.position, self._moved, self._change = position, moved, change
        return position

    def _reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest change [D] that jerk and acceleration allow."""
        return (
            np.maximum(self._change - self._jerk, -self._step),
            np.minimum(self._change + self._jerk, self._step),
        )

    def _stopping(self) -> np.ndarray:
        """Return the change [D] that leads to rest soonest, without turning round."""
        return -np.copysign(_first(np.abs(self._moved), self._jerk), self._moved)

    # --- what may pass --------------------------------------------------------------------------

    def _guard(self, wanted: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """
        Return the next command with the change [D] nearest to `wanted` that can be braked from.

        How far beyond a limit the hardest braking ends is a convex function of the change, not
        above 0 at the hardest braking itself: so the straight line between that and `wanted` is
        above it, and where the line is at 0 nothing ends beyond the limit.
        """
        change = np.minimum(np.maximum(wanted, low), high)
        moved = self._moved + change
        if not self._free(self.position + moved, moved, change).all():
            beyond = self._beyond(np.stack((change, low, -change, -high)))
            # Outside, or too fast for a limit: back at once, as far as the other limit lets it.
            outside = _SIDES[1::2] * self.position - self._room[1::2] > _NEAR
            lost = (beyond[1::2] > 0.0) | outside
            if lost.any():
                change = np.where(lost[0], low, np.where(lost[1], high, change))
                change = np.where(lost.all(axis=0), self._stopping(), change)
                change = np.minimum(np.maximum(change, low), high)
                beyond = self._beyond(np.stack((change, low, -change, -high)))
            share = -beyond[1::2] / np.maximum(beyond[::2] - beyond[1::2], _TINY)
            over = (beyond[::2] > 0.0) & ~lost
            share = np.where(over, np.minimum(np.maximum(share, 0.0), 1.0), 1.0)
            change = np.where(share[0] < 1.0, low + share[0] * (change - low), change)
            change = np.where(share[1] < 1.0, high + share[1] * (change - high), change)
            # What still comes on top while an acceleration ends keeps below the top speed.
            up = _first(np.maximum(self._top - self._moved, 0.0), self._jerk)
            down = _first(np.maximum(self._top + self._moved, 0.0), self._jerk)
            change = np.minimum(np.maximum(np.minimum(np.maximum(change, -down), up), low), high)
            moved = self._moved + change
        return self._send(self.position + moved, moved, change)

    def _free(self, position: np.ndarray, moved: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Return where [D] no limit is near: a bound that costs little, on the safe side."""
        change = np.abs(change)
        most = np.abs(moved) + change * (change * self._curve + 0.5)
        far = most * (self._ramp + most * self._slope)
        room = np.minimum(self._upper - position, position - self._lower)
        return (far <= room) & (most <= self._top)

    def _beyond(self, change: np.ndarray) -> np.ndarray:
        """
        Return how far beyond its limit a joint ends by the hardest braking after a change.

        After the change a, the displacement falls by a - jerk, a - 2 jerk, ... and, from
        -step on, by that. What is summed up are the displacements that still go on.

        Args:
            change: [4, D] two towards the upper limit, two mirrored, towards the lower one.
        """
        jerk, step = self._jerk, self._step
        moved = _SIDES * self._moved + change
        ramp = np.floor((change + step) / jerk)  # Ticks until the acceleration is -step.
        half = change - jerk / 2.0
        ticks = np.floor((half + np.sqrt(np.maximum(half**2 + 2.0 * jerk * moved, 0.0))) / jerk)
        n = np.minimum(np.maximum(ticks, 0.0), ramp)
        gone = n * (moved + (n + 1.0) * (change / 2.0 - jerk * (n + 2.0) / 6.0))
        left = moved + ramp * (change - jerk * (ramp + 1.0) / 2.0)
        m = np.where(n >= ramp, np.floor(np.maximum(left, 0.0) / step), 0.0)
        gone = np.maximum(gone + m * (left - step * (m + 1.0) / 2.0), 0.0)
        return _SIDES * self.position + moved + gone - self._room

    # --- what is wanted -------------------------------------------------------------------------

    def _approach(
        self, target: np.ndarray, advance: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """
        Return the change [D] after which braking ends on the moving target.

        Commands are the control points of a uniform cubic spline, whose jerk is their third
        difference: its rest point after a full braking (jerk down, hold, jerk up) is known in
        closed form, and rises with the change. It is taken at five changes, and interpolated.
        """
        jerk, step = _CARE * self._jerk, _CARE * self._step
        change = low + (high - low) * _CHOICES
        speed = self._moved - advance + change / 2.0  # Of the spline, against the target.
        away = self.position - (target - advance) + change / 6.0
        side = np.where(speed + change * np.abs(change) / (2.0 * jerk) < 0.0, -1.0, 1.0)
        speed, start = side * speed, side * change
        most = np.sqrt(np.maximum(jerk * speed + start**2 / 2.0, 0.0))
        most = np.maximum(np.minimum(step, most), 1e-9 * jerk)  # The largest deceleration.
        falls = (start + most) / jerk
        later = speed + falls * (start - jerk * falls / 2.0)
        holds = np.maximum(later / most - most / (2.0 * jerk), 0.0)
        path = falls * (speed + falls * (start / 2.0 - jerk * falls / 6.0))
        path += holds * (later - most * holds / 2.0) + most**3 / (6.0 * jerk**2)
        rest = away + side * (path + _MARGIN * most)
        index = np.minimum(np.maximum((rest < 0.0).sum(axis=0) - 1, 0), len(_CHOICES) - 2)
        joints = np.arange(len(index))
        one, two = rest[index, joints], rest[index + 1, joints]
        share = np.minimum(np.maximum(-one / np.maximum(two - one, _TINY), 0.0), 1.0)
        return change[index, joints] + share * (change[index + 1, joints] - change[index, joints])


def _first(total: np.ndarray, less: np.ndarray) -> np.ndarray:
    """
    Return the largest x >= 0 with x + (x - less) + (x - 2 less) + ... at most `total`.

    With x = less * r that sum is less * (n + 1) * (r - n / 2) for n <= r < n + 1, solved for r.

    Args:
        total: >= 0.
        less: > 0.
    """
    ratio = total / less
    whole = np.floor((np.sqrt(1.0 + 8.0 * ratio) - 1.0) / 2.0)
    return less * (whole + (ratio - whole * (whole + 1.0) / 2.0) / (whole + 1.0))
