# SPDX-License-Identifier: Apache-2.0
"""Humanoid place: carry a part past the posts on a moving belt and lower it on the jig's pins."""

from __future__ import annotations

import numpy as np

from async_chunking.robot.embodiment import load
from async_chunking.sim.plant import Plant, load_model
from async_chunking.sim.reach import Reach
from async_chunking.sim.slalom import Course, Slalom

# Elbow bent, palm before the robot, the part's handle upright [rad].
REST = np.array([-0.4, -0.15, 0.0, -1.1708, 0.0, 0.0, 0.0])
# Pinky, ring, middle, index, thumb pitch, thumb yaw [rad].
GRIP = np.array([-0.9, -0.9, -0.9, -0.9, 0.4, -1.3])
RELEASED = np.array([-0.2, -0.2, -0.2, -0.2, 0.0, -1.3])
FINGERS = slice(7, 11)
LET_GO = -0.55  # Fingers that are more open than this do not hold the part [rad].

PINS = np.array([(0.0, -0.02), (0.0, 0.02)])  # From the middle of the jig, x and y [m].
PIN_TOP = 0.105  # Height of their tops [m].
THICK = 0.005  # Half of the part [m].
CLEARANCE = 0.012  # How far a hole may be off its pin, whose tip is a cone [m].
SEATED = 0.086  # Height of the part on the jig, with some play [m].


class HumanoidPlace(Slalom):
    """One hand, two posts, a jig of two pins; 20 rows a second, as GR00T has them."""

    name = 'humanoid_place'
    embodiment = 'humanoid'
    instruction = 'carry the part past the posts and place it on the pins of the jig'
    control_rate_hz = 60.0
    policy_rate_hz = 20.0
    course = Course(lane=0.32, height=0.13, start=-0.42, spacing=0.28, swerve=0.052)

    def __init__(self) -> None:
        model, joints = load_model('humanoid_place'), load(self.embodiment).joint_names
        super().__init__(Plant(model, joints, self.control_rate_hz))
        self._reach = Reach(model, 'part', joints[:7], REST, upright=True)

    @property
    def point(self) -> np.ndarray:
        """Middle of the part."""
        return self.plant.site('part')

    @property
    def off_pins(self) -> float:
        """How far the worse of the part's holes is off its pin, seen from above [m]."""
        holes = np.array([self.plant.site(name)[:2] for name in ('hole_0', 'hole_1')])
        return float(np.hypot(*(holes - self.goal - PINS).T).max())

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; the handle stays upright."""
        arm = self._reach(point, None if near is None else near[:7])
        return np.append(arm, GRIP + release * (RELEASED - GRIP))

    def finish(self) -> tuple[float, float]:
        """See `Slalom.finish`; the part is lowered over the pins, then the fingers let go."""
        over = self.off_pins < CLEARANCE / 2.0 or self._on_pins
        height = SEATED - THICK if over else self.course.height
        return height, float(self._on_pins and self.point[2] < SEATED)

    @property
    def _on_pins(self) -> bool:
        return self.point[2] - THICK < PIN_TOP and self.off_pins < CLEARANCE

    @property
    def _let_go(self) -> bool:
        return bool(self.plant.positions[FINGERS].mean() > LET_GO)

    def _done(self) -> bool:
        """The part is down on the pins and the fingers have let go."""
        return self._on_pins and self.point[2] < SEATED and self._let_go

    def _failed(self) -> str:
        low = self.point[2] - THICK < PIN_TOP
        if low and not self._on_pins:
            return 'missed the pins'
        if self._let_go and self.point[2] > SEATED:
            return 'dropped the part'
        return super()._failed()
