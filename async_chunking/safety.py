# SPDX-License-Identifier: Apache-2.0
"""What a robot can do: position, velocity, acceleration, and jerk where it is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from async_chunking.chunk import frozen_array

LEAST = 1e-9  # Of a range and a rate: what is made of it is still a number above 0.
FARTHEST = 1e9  # Stands for no limit; its cube is still a number [rad, m].


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
        ValueError: Lengths differ, less than `LEAST` lies between `lower` and `upper` within
            `FARTHEST`, or a rate limit is below `LEAST`.
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
        width = np.minimum(self.upper, FARTHEST) - np.maximum(self.lower, -FARTHEST)
        if not (width >= LEAST).all():
            joint = int(np.flatnonzero(width < LEAST)[0])
            msg = (
                f'limits of joint {joint}: lower {self.lower[joint]} must be {LEAST} or more '
                f'below upper {self.upper[joint]}, between {-FARTHEST:g} and {FARTHEST:g}'
            )
            raise ValueError(msg)
        for name in ('velocity', 'acceleration', 'jerk'):
            if not (getattr(self, name) >= LEAST).all():
                msg = f'limits.{name} must be at least {LEAST}, got {getattr(self, name).tolist()}'
                raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.lower)
