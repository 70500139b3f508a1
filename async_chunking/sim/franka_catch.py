# SPDX-License-Identifier: Apache-2.0
"""Franka catch: reach past the posts on a moving belt and catch the puck behind them."""

from __future__ import annotations

import math

import numpy as np

from async_chunking.embodiment import load
from async_chunking.safety import Limits
from async_chunking.sim.plant import Plant, load_model
from async_chunking.sim.reach import Reach
from async_chunking.sim.slalom import Course, Slalom

REST = np.array([0.0, -0.2, 0.0, -2.5, 0.0, 2.3, math.pi / 4.0])  # Pointing down [rad].
OPEN, CLOSED = 0.028, 0.004  # Of one finger [m].

# The motion generator sees the commands at its own 1000 Hz; here they come in steps of up to this
# time, over which a jump of the set-point is spread before it is judged.
STEP_SECONDS = 0.02
TOLERANCE = 1.5  # A limit may be exceeded by this factor, for the jitter of a 50 Hz stream.


class FrankaPlant(Plant):
    """
    Refuses what the robot's motion generator refuses.

    A set-point that jumps ahead faster than the velocity limit allows ends the motion, with the
    words of the robot; it stays where it is until the next reset.

    Args:
        limits: Of the joints [D].
    """

    def __init__(self, limits: Limits, *arguments: object) -> None:
        super().__init__(*arguments)
        self._limits = limits
        self._setpoint = self._frozen = self.positions
        self._waited = 0.0

    def reset(self, positions: np.ndarray) -> None:
        """See `Plant.reset`."""
        super().reset(positions)
        self._setpoint, self._waited = np.array(positions), 0.0

    def step(self, command: np.ndarray) -> None:
        """See `Plant.step`."""
        command = self._checked(command)
        self._waited += self.period
        jump = np.abs(command - self._setpoint)
        if jump.any():
            allowed = TOLERANCE * self._limits.velocity * max(self._waited, STEP_SECONDS)
            worst = int(np.argmax(jump / allowed))
            if jump[worst] > allowed[worst] and not self.fault:
                self.fault = (
                    f'joint_motion_generator_velocity_discontinuity at {self.joints[worst]}'
                )
                self._frozen = self.positions
            self._setpoint, self._waited = np.array(command), 0.0
        super().step(self._frozen if self.fault else command)


class FrankaCatch(Slalom):
    """One gripper, three posts, one puck; 15 rows a second, as DROID has them."""

    name = 'franka_catch'
    embodiment = 'franka'
    instruction = 'reach past the posts and catch the puck'
    control_rate_hz = 60.0
    policy_rate_hz = 15.0
    course = Course(lane=0.48, height=0.06, start=-0.36, posts=3, swerve=0.045)

    def __init__(self) -> None:
        robot, model = load(self.embodiment), load_model('franka_catch')
        plant = FrankaPlant(robot.limits, model, robot.joint_names, self.control_rate_hz)
        super().__init__(plant)
        self._reach = Reach(model, 'tip', robot.joint_names[:7], REST, upright=True)

    @property
    def point(self) -> np.ndarray:
        """Between the fingers."""
        return self.plant.site('tip')

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; the hand points down."""
        arm = self._reach(point, None if near is None else near[:7])
        return np.append(arm, CLOSED + release * (OPEN - CLOSED))
