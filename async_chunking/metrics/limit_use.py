# SPDX-License-Identifier: Apache-2.0
"""
The judge of commands: how near they came to the robot's limits, by plain differences.

It shares nothing with what keeps the limits. Each command counts as one period after the one
before it. After silence, a robot that brakes at its acceleration limit has what speed it then has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from async_chunking.safety import Limits

# Rounding of a position that is recorded as a 32 bit number, for magnitudes below 4 rad.
_RESOLUTION = 2.0**-22


def derivative(
    positions: np.ndarray, period: float, order: int, tick: np.ndarray | None = None
) -> np.ndarray:
    """
    Return the finite differences [n, D] of an order, over the rows that follow each other.

    Args:
        positions: [T, D].
        period: [s].
        order: 1 velocity, 2 acceleration, 3 jerk.
        tick: [T] counter of the rows; without it none is missing.
    """
    values = np.diff(positions.astype(np.float64), n=order, axis=0) / period**order
    if tick is None or not len(values):
        return values
    return values[tick[order:] - tick[:-order] == order]


@dataclass(frozen=True)
class LimitUse:
    """
    How near the commands came to each limit, all [D]; from the commands alone.

    Attributes:
        margin: Smallest distance to a position limit [rad, m], negative outside.
        velocity: Largest velocity as a share of its limit, NaN where that is unknown.
        acceleration: Likewise.
        jerk: Likewise.
        tolerance: What rounding of the recorded positions may add to the three shares, [3, D].
        not_finite: Commands that are NaN or infinite.
    """

    margin: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray
    tolerance: np.ndarray
    not_finite: np.ndarray

    def figures(self) -> dict[str, object]:
        """Return the worst joint of each, and how many limits were exceeded.

        A joint that was told what is no number has exceeded one more.
        """
        uses = (self.velocity, self.acceleration, self.jerk)
        exceeded = sum(
            int((use > 1.0 + slack).sum()) for use, slack in zip(uses, self.tolerance, strict=True)
        )
        exceeded += int((self.margin < -_RESOLUTION * 4.0).sum())
        return {
            'position_margin_rad': float(self.margin.min()),
            'velocity_use': float(np.fmax.reduce(self.velocity)),
            'acceleration_use': float(np.fmax.reduce(self.acceleration)),
            'jerk_use': float(np.fmax.reduce(self.jerk)),
            'not_finite': int(self.not_finite.sum()),
            'exceeded': exceeded + int((self.not_finite > 0).sum()),
        }


def limit_use(
    command: np.ndarray,
    period: float,
    limits: Limits,
    tick: np.ndarray | None = None,
    silent: np.ndarray | None = None,
) -> LimitUse:
    """
    Return how near commands [T, D] came to the limits, whatever enforced them.

    Args:
        command: [T, D] [rad, m].
        period: [s].
        limits: Limits of the robot.
        tick: [T] counter of the commands; those that do not follow each other say nothing of each
            other. Without it all do.
        silent: [T] ticks before each command on which nothing was sent; without it none.

    Raises:
        ValueError: The limits are for another number of joints.
    """
    size = command.shape[1]
    if size != len(limits):
        msg = f'commands have {size} joints, the limits {len(limits)}'
        raise ValueError(msg)
    rows = command.astype(np.float64)
    known = np.isfinite(rows)
    rows[~known] = np.nan
    silent = np.zeros(len(rows), dtype=np.int64) if silent is None else silent
    follows = np.ones(max(len(rows) - 1, 0), dtype=bool)
    if tick is not None:
        follows = np.diff(tick) == silent[1:] + 1
    with np.errstate(invalid='ignore', over='ignore'):
        rates = _rates(rows, period, limits, follows, silent[1:, None])
        margin = np.fmin(rows - limits.lower, limits.upper - rows)
        margin = np.fmin.reduce(margin, axis=0, initial=math.inf)
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    velocity, acceleration, jerk = map(_share, rates, bounds)
    slack = [
        2.0**order * _RESOLUTION / 2.0 / period**order / bound
        for order, bound in enumerate(bounds, start=1)
    ]
    missing = (~known).sum(axis=0)
    return LimitUse(margin, velocity, acceleration, jerk, np.array(slack), missing)


def _rates(
    rows: np.ndarray, period: float, limits: Limits, follows: np.ndarray, silent: np.ndarray
) -> list[np.ndarray]:
    """Return velocities, accelerations and jerks; NaN where nothing is known of what was before.

    A robot that was told nothing brakes as hard as it may: a period less or more, and the time
    that its acceleration takes to build up, are not held against it.
    """
    velocity = np.where(follows[:, None], np.diff(rows, axis=0) / period, np.nan)
    before, now, quiet = velocity[:-1], velocity[1:], silent[1:]
    loss = np.where(np.isfinite(limits.acceleration), limits.acceleration * period, np.inf)
    ramp = np.where(np.isfinite(limits.jerk), loss / (limits.jerk * period**2), 0.0)
    kept = [
        np.copysign(np.maximum(np.abs(before) - np.where(n > 0, n * loss, 0.0), 0.0), before)
        for n in (quiet + 1, np.maximum(quiet - 1 - ramp, 0.0))
    ]
    braked = np.clip(now, np.minimum(*kept), np.maximum(*kept))
    acceleration = (now - np.where(quiet > 0, braked, before)) / period
    jerk = np.diff(acceleration, axis=0) / period
    heard = (silent[2:] == 0) & (silent[1:-1] == 0) & (silent[:-2] == 0)
    return [velocity, acceleration, np.where(heard, jerk, np.nan)]


def _share(rates: np.ndarray, bound: np.ndarray) -> np.ndarray:
    largest = np.fmax.reduce(np.abs(rates), axis=0, initial=0.0)
    return np.where(np.isfinite(bound), largest / bound, np.nan)


def worse(one: LimitUse, two: LimitUse) -> LimitUse:
    """Return the nearer of both, joint by joint."""
    return LimitUse(
        np.minimum(one.margin, two.margin),
        np.maximum(one.velocity, two.velocity),
        np.maximum(one.acceleration, two.acceleration),
        np.maximum(one.jerk, two.jerk),
        one.tolerance,
        one.not_finite + two.not_finite,
    )
