# SPDX-License-Identifier: Apache-2.0
"""Humanoid place: carry a part past the posts on a moving belt to the jig behind them."""

from __future__ import annotations

import numpy as np

from async_chunking.embodiment import load
from async_chunking.sim.plant import Plant, load_model
from async_chunking.sim.reach import Reach
from async_chunking.sim.slalom import Course, Slalom

# Elbow bent, palm before the robot [rad].
REST = np.array([-0.4, -0.15, 0.0, -1.2, 0.0, 0.0, 0.0])
# Pinky, ring, middle, index, thumb pitch, thumb yaw [rad].
GRIP = np.array([-0.9, -0.9, -0.9, -0.9, 0.4, -1.3])
RELEASED = np.array([-0.2, -0.2, -0.2, -0.2, 0.0, -1.3])


class HumanoidPlace(Slalom):
    """One hand, two posts, a jig of two pins; 20 rows a second, as GR00T has them."""

    name = 'humanoid_place'
    embodiment = 'humanoid'
    instruction = 'carry the part past the posts and place it on the jig'
    control_rate_hz = 60.0
    policy_rate_hz = 20.0
    course = Course(lane=0.32, height=0.145, start=-0.42, spacing=0.28, swerve=0.052)

    def __init__(self) -> None:
        model, joints = load_model('humanoid_place'), load(self.embodiment).joint_names
        super().__init__(Plant(model, joints, self.control_rate_hz))
        self._reach = Reach(model, 'part', joints[:7], REST, upright=False)

    @property
    def point(self) -> np.ndarray:
        """Middle of the part."""
        return self.plant.site('part')

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; the fingers let go at the jig."""
        arm = self._reach(point, None if near is None else near[:7])
        return np.append(arm, GRIP + release * (RELEASED - GRIP))
