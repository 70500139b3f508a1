# SPDX-License-Identifier: Apache-2.0
"""Joints without physics: they go where they are told, as fast as they may. Reads no clock."""

from __future__ import annotations

import math

import numpy as np

from async_chunking.safety import Limits


class Follower:
    """
    Joints that follow commands with a lag, inside their limits on position and velocity.

    Args:
        limits: Limits of the joints.
        lag_s: Time in which a joint goes 63 % of its way [s].

    Attributes:
        positions: [D], at first where `home` says [rad, m].
        velocities: [D] [rad/s, m/s].
    """

    def __init__(self, limits: Limits, lag_s: float) -> None:
        self._limits, self._lag_s = limits, lag_s
        self.positions = home(limits)
        self.velocities = np.zeros(len(limits))
        self._wanted = self.positions

    def command(self, positions: np.ndarray) -> None:
        """Take a command [D] [rad, m]; what is beyond a limit is followed up to it."""
        self._wanted = np.clip(positions, self._limits.lower, self._limits.upper)

    def step(self, seconds: float) -> None:
        """Let some time pass [s]."""
        farthest = self._limits.velocity * seconds
        share = -math.expm1(-seconds / self._lag_s)
        way = np.clip(share * (self._wanted - self.positions), -farthest, farthest)
        self.positions = self.positions + way
        self.velocities = way / seconds


def home(limits: Limits) -> np.ndarray:
    """Return where joints may stand [D]: at zero inside a range, else in the middle of it."""
    inside = (limits.lower < 0.0) & (limits.upper > 0.0)
    ended = np.isfinite(limits.lower) & np.isfinite(limits.upper)
    with np.errstate(invalid='ignore'):  # Of a range without ends the middle is not asked for.
        middle = 0.5 * (limits.lower + limits.upper)
    nearest = np.clip(0.0, limits.lower, limits.upper)
    return np.where(ended & ~inside, middle, nearest)
