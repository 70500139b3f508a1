# SPDX-License-Identifier: Apache-2.0
"""Franka catch: reach past the posts on a moving belt and catch the can behind them."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.safety import Limits
from async_chunking.sim.plant import MODELS, Plant
from async_chunking.sim.reach import Reach
from async_chunking.sim.slalom import Course, Slalom

# Pointing down, the fingers open across the belt [rad].
REST = np.array([0.0, -0.2, 0.0, -2.5, 0.0, 2.3, -math.pi / 4.0])
OPEN, CLOSED = 0.034, 0.002  # Of one finger [m].
OPEN_AT = 0.10  # From here on the expert opens the fingers [m].
CLOSE_AT = 0.012  # And here it closes them; once they do, on up to half as much again [m].
DRAG = 2.0  # Of the belt on the can, the damping of its joints [N s/m].

# The motion generator sees the commands at its own 1000 Hz; here they come in steps of up to this
# time, over which a jump of the set-point is spread before it is judged.
STEP_S = 0.02
TOLERANCE = 1.5  # A limit may be exceeded by this factor, for the jitter of a 50 Hz stream.


class FrankaPlant(Plant):
    """
    Refuses what the robot's motion generator refuses.

    A set-point that jumps ahead faster than the velocity limit allows ends the motion, with the
    words of the robot; it stays where it is until the next reset.

    Args:
        limits: Limits of the joints [D].
    """

    def __init__(self, limits: Limits, *arguments: Any) -> None:
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
            allowed = TOLERANCE * self._limits.velocity * max(self._waited, STEP_S)
            worst = int(np.argmax(jump / allowed))
            if jump[worst] > allowed[worst] and not self.fault:
                self.fault = (
                    f'joint_motion_generator_velocity_discontinuity at {self.joints[worst]}'
                )
                self._frozen = self.positions
            self._setpoint, self._waited = np.array(command), 0.0
        super().step(self._frozen if self.fault else command)


def build_model(robot: Embodiment) -> mujoco.MjModel:
    """Return the package's Franka at a belt, with the names and ranges of the robot's joints."""
    scene = mujoco.MjSpec.from_file(str(MODELS / 'franka_catch.xml'))
    arm = mujoco.MjSpec.from_file(str(MODELS / 'franka.xml'))
    prefix = robot.joint_names[0].removesuffix('joint1')
    scene.attach(arm, prefix=prefix, frame=scene.worldbody.add_frame())
    scene.site(f'{prefix}tip').name = 'tip'
    for joint in robot.joints:
        scene.joint(joint.name).range = joint.lower, joint.upper
    return scene.compile()


class FrankaCatch(Slalom):
    """One gripper, three posts, one can; 15 rows a second, as DROID has them."""

    name = 'franka_catch'
    embodiment = 'franka'
    instruction = 'reach past the posts and catch the can'
    control_rate_hz = 60.0
    policy_rate_hz = 15.0
    course = Course(lane=0.48, height=0.06, start=-0.36, posts=3, swerve=0.045)

    def __init__(self) -> None:
        robot = load(self.embodiment)
        model = build_model(robot)
        super().__init__(FrankaPlant(robot.limits, model, robot.joint_names, self.control_rate_hz))
        self._reach = Reach(model, 'tip', robot.joint_names[:7], REST, upright=True)
        self._can = model.geom('can').id
        joints = [model.joint(name) for name in ('can_x', 'can_y')]
        self._can_at = [int(joint.qposadr[0]) for joint in joints]
        self._dragged = int(joints[1].dofadr[0])

    @property
    def point(self) -> np.ndarray:
        """Between the fingers."""
        return self.plant.site('tip')

    @property
    def goal(self) -> np.ndarray:
        """Position of the can, x and y [m]."""
        return self.plant.data.qpos[self._can_at]

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; the hand points down."""
        arm = self._reach(point, None if near is None else near[:7])
        return np.append(arm, CLOSED + release * (OPEN - CLOSED))

    def finish(self) -> tuple[float, float]:
        """See `Slalom.finish`; the fingers open before the can and close around it."""
        opened = self.plant.positions[-1] > 0.9 * OPEN
        near = CLOSE_AT if opened else 1.5 * CLOSE_AT
        return self.course.height, float(near < self.distance < OPEN_AT)

    def _begin(self, rng: np.random.Generator) -> None:
        super()._begin(rng)
        self.plant.data.qpos[self._can_at] = self._objects[-1]

    def _advance(self, command: np.ndarray) -> None:
        self.plant.data.qfrc_applied[self._dragged] = -DRAG * self.belt_speed
        super()._advance(command)

    def _done(self) -> bool:
        """Both fingers touch the can."""
        return len(self._touching(self._can)) == 2

    def _hit(self) -> bool:
        contacts = self.plant.data.contact.geom
        return bool((contacts != self._can).all(axis=1).any())

    def _touching(self, geom: int) -> set[int]:
        contacts = self.plant.data.contact.geom
        return set(contacts[(contacts == geom).any(axis=1)].ravel().tolist()) - {geom}


class PandaCatch(FrankaCatch):
    """The same with a Panda, whose arm has the same lengths."""

    name = 'panda_catch'
    embodiment = 'panda'
