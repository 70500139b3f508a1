# SPDX-License-Identifier: Apache-2.0
"""How near a stream of commands came to the robot's limits, from the commands alone."""

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
    """

    margin: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray
    tolerance: np.ndarray

    def figures(self) -> dict[str, object]:
        """Return the worst joint of each, and how many limits were exceeded."""
        uses = (self.velocity, self.acceleration, self.jerk)
        exceeded = sum(
            int((use > 1.0 + slack).sum()) for use, slack in zip(uses, self.tolerance, strict=True)
        )
        return {
            'position_margin_rad': float(self.margin.min()),
            'velocity_use': float(np.fmax.reduce(self.velocity)),
            'acceleration_use': float(np.fmax.reduce(self.acceleration)),
            'jerk_use': float(np.fmax.reduce(self.jerk)),
            'exceeded': exceeded + int((self.margin < -_RESOLUTION * 4.0).sum()),
        }


def limit_use(
    command: np.ndarray, period: float, limits: Limits, tick: np.ndarray | None = None
) -> LimitUse:
    """
    Return how near commands [T, D] came to the limits, whatever enforced them.

    Raises:
        ValueError: The limits are for another number of joints.
    """
    size = command.shape[1]
    if size != len(limits):
        msg = f'commands have {size} joints, the limits {len(limits)}'
        raise ValueError(msg)
    bounds = (limits.velocity, limits.acceleration, limits.jerk)
    margin = np.minimum(command - limits.lower, limits.upper - command)
    velocity, acceleration, jerk = (
        _share(derivative(command, period, order, tick), bound)
        for order, bound in enumerate(bounds, start=1)
    )
    slack = [
        2.0**order * _RESOLUTION / 2.0 / period**order / bound
        for order, bound in enumerate(bounds, start=1)
    ]
    return LimitUse(margin.min(0, initial=math.inf), velocity, acceleration, jerk, np.array(slack))


def _share(rates: np.ndarray, bound: np.ndarray) -> np.ndarray:
    largest = np.abs(rates).max(0, initial=0.0)
    return np.where(np.isfinite(bound), largest / bound, np.nan)


def worse(one: LimitUse, two: LimitUse) -> LimitUse:
    """Return the nearer of both, joint by joint."""
    return LimitUse(
        np.minimum(one.margin, two.margin),
        np.maximum(one.velocity, two.velocity),
        np.maximum(one.acceleration, two.acceleration),
        np.maximum(one.jerk, two.jerk),
        one.tolerance,
    )
