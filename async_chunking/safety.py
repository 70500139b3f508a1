# SPDX-License-Identifier: Apache-2.0
"""
Limits that no command exceeds: position, velocity, acceleration, and jerk where it is known.

`Limiter` turns any sequence of targets, however wild, into commands whose position, velocity and
acceleration stay inside the limits for ever: it keeps, for each joint, a speed from which it can
still stop before the position limit. A target stream inside the limits passes through unchanged,
with no lag; a jump is caught up along a braking curve, without overshoot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from async_chunking.chunk import frozen_array


@dataclass(frozen=True)
class Limits:
    """
    Limits of each joint, all [D]; an unknown one is infinite.

    Attributes:
        lower: [rad, m].
        upper: [rad, m].
        velocity: [rad/s, m/s].
        acceleration: [rad/s^2, m/s^2].
        jerk: [rad/s^3, m/s^3]; one number stands for all joints.

    Raises:
        ValueError: Lengths differ, `lower` is not below `upper`, or a rate limit is not positive.
    """

    lower: np.ndarray
    upper: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray = field(default_factory=lambda: np.array([np.inf]))

    def __post_init__(self) -> None:
        size = len(np.atleast_1d(self.lower))
        if np.shape(self.jerk) == (1,):
            object.__setattr__(self, 'jerk', np.repeat(self.jerk, size))
        for name in ('lower', 'upper', 'velocity', 'acceleration', 'jerk'):
            array = frozen_array(getattr(self, name), ndim=1)
            if len(array) != size or np.isnan(array).any():
                msg = f'limits.{name} must hold {size} numbers, got {array.tolist()}'
                raise ValueError(msg)
            object.__setattr__(self, name, array)
        if not (self.lower < self.upper).all():
            joint = int(np.flatnonzero(self.lower >= self.upper)[0])
            msg = (
                f'limits of joint {joint}: lower {self.lower[joint]} must be below '
                f'upper {self.upper[joint]}'
            )
            raise ValueError(msg)
        for name in ('velocity', 'acceleration', 'jerk'):
            if not (getattr(self, name) > 0.0).all():
                msg = f'limits.{name} must be positive, got {getattr(self, name).tolist()}'
                raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.lower)


def _braking_speed(distance: np.ndarray, step: np.ndarray) -> np.ndarray:
    """
    Largest first displacement per tick from which braking covers at most `distance`.

    Braking takes `step` off the displacement every tick: u + (u - step) + (u - 2 step) + ...
    With x = u / step that sum is step * (n + 1) * (x - n / 2) for n <= x < n + 1, solved for x.

    Args:
        distance: [D] what is left, >= 0.
        step: [D] acceleration * dt^2 > 0, may be infinite.
    """
    with np.errstate(invalid='ignore'):
        ratio = distance / step
    finite = np.isfinite(step) & np.isfinite(ratio)
    ratio = np.where(finite, ratio, 0.0)
    whole = np.floor((np.sqrt(1.0 + 8.0 * ratio) - 1.0) / 2.0)
    speed = whole + (ratio - whole * (whole + 1.0) / 2.0) / (whole + 1.0)
    return np.where(finite, speed * np.where(finite, step, 1.0), distance)


class Limiter:
    """
    The last gate before the robot; the state is the last command and its velocity.

    A jerk limit is met by lowering the acceleration limit to jerk * period / 2: a change from full
    braking to full acceleration in one tick is then within it. At 50 Hz that binds only where
    jerk < 2 * acceleration / period.

    Args:
        limits: Of the robot.
        period: Control period [s].
    """

    def __init__(self, limits: Limits, period: float) -> None:
        if not period > 0.0:
            msg = f'period must be positive, got {period}'
            raise ValueError(msg)
        self.limits = limits
        self.period = period
        acceleration = np.minimum(limits.acceleration, limits.jerk * period / 2.0)
        # All in displacement per tick, so that one addition advances the command.
        self._step = acceleration * period**2
        self._top = limits.velocity * period
        self.position = np.clip(np.zeros(len(limits)), limits.lower, limits.upper)
        self.displacement = np.zeros(len(limits))

    def start(self, position: np.ndarray, velocity: np.ndarray | float = 0.0) -> None:
        """Begin from a pose [D], even one slightly outside the limits, at a velocity [D]."""
        self.position = np.array(position, dtype=np.float64)
        self.displacement = np.full(len(self.limits), velocity) * self.period

    @property
    def velocity(self) -> np.ndarray:
        """Velocity [D] of the last command [rad/s, m/s]."""
        return self.displacement / self.period

    def follow(self, target: np.ndarray, advance: np.ndarray) -> np.ndarray:
        """
        Return the next command [D] towards `target` [D].

        Args:
            target: Where the plan is at this tick.
            advance: How far the plan moved since the tick before [rad, m per tick]; the braking
                curve is relative to it, which is why a moving plan is followed without lag.
        """
        advance = np.minimum(np.maximum(advance, -self._top), self._top)
        gap = target - advance - self.position
        closing = np.copysign(_braking_speed(np.abs(gap), self._step), gap)
        return self._move(advance + closing)

    def brake(self) -> np.ndarray:
        """Return the next command [D] on the quickest way to rest."""
        return self._move(np.zeros_like(self.displacement))

    def _move(self, displacement: np.ndarray) -> np.ndarray:
        low = np.maximum(
            -self._top,
            -_braking_speed(np.maximum(self.position - self.limits.lower, 0.0), self._step),
        )
        high = np.minimum(
            self._top,
            _braking_speed(np.maximum(self.limits.upper - self.position, 0.0), self._step),
        )
        # Acceleration wins over the position bound: inside the limits they never conflict, and
        # from a pose outside (a measured start) the way back is as gentle as any other.
        wanted = np.minimum(np.maximum(displacement, low), high)
        wanted = np.minimum(
            np.maximum(wanted, self.displacement - self._step), self.displacement + self._step
        )
        self.displacement = wanted
        self.position = self.position + wanted
        return self.position
