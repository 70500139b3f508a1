# SPDX-License-Identifier: Apache-2.0
"""What a robot can do: position, velocity, acceleration, and jerk where it is known."""

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
