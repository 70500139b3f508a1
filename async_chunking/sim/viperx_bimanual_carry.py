# SPDX-License-Identifier: Apache-2.0
"""ViperX bimanual carry: two arms carry a tray past posts on a moving belt to a stand."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from async_chunking.embodiment import load
from async_chunking.sim.plant import MODELS, Plant
from async_chunking.sim.slalom import Course, Slalom
from async_chunking.sim.viperx_kinematics import pointing_down

APART = 0.80  # Between the bases, which face each other along x [m].
GRASP = 0.03  # Half the distance between the grippers on the tray [m].
SLIP = 0.04  # A grasp is lost when it is off by this [m].
TRAY = (0.042, 0.020)  # Half the extents of tray and grippers, x and y [m].
POST_RADIUS = 0.008  # [m]
FINGER = (0.021, 0.057)  # Closed, open [m].
HOLD, RELEASE = 0.15, 0.5  # Gripper, 0 closed to 1 open.


def build_model() -> mujoco.MjModel:
    """Return two of the package's ViperX at a belt; grippers count from 0 closed to 1 open."""
    scene = mujoco.MjSpec.from_file(str(MODELS / 'viperx_bimanual_carry.xml'))
    for side, x, yaw in (('left', -APART / 2.0, 0.0), ('right', APART / 2.0, math.pi)):
        arm = mujoco.MjSpec.from_file(str(MODELS / 'viperx.xml'))
        quat = [math.cos(yaw / 2.0), 0.0, 0.0, math.sin(yaw / 2.0)]
        frame = scene.worldbody.add_frame(pos=[x, 0.0, 0.0], quat=quat)
        scene.attach(arm, prefix=f'{side}_', frame=frame)
        scene.actuator(f'{side}_left_finger').name = f'{side}_gripper'
        for geom in scene.geoms:
            geom.contype = geom.conaffinity = 0  # Collisions are judged by the task.
    return scene.compile()


class AlohaPlant(Plant):
    """
    Two arms whose grippers are commanded and measured from 0 closed to 1 open.

    It follows every command that it can, as the driver does, which checks no limits.
    """

    def __init__(self, *arguments: object) -> None:
        self._gain, self._bias = 1.0, 0.0
        super().__init__(*arguments)
        self._gain = np.where(self.linear, FINGER[1] - FINGER[0], 1.0)
        self._bias = np.where(self.linear, FINGER[0], 0.0)

    @property
    def positions(self) -> np.ndarray:
        """See `Plant.positions`."""
        return (super().positions - self._bias) / self._gain

    @property
    def velocities(self) -> np.ndarray:
        """See `Plant.velocities`."""
        return super().velocities / self._gain

    def _checked(self, values: np.ndarray) -> np.ndarray:
        return super()._checked(values) * self._gain + self._bias


class ViperXBimanualCarry(Slalom):
    """Two grippers, one tray, two posts."""

    name = 'viperx_bimanual_carry'
    embodiment = 'viperx_bimanual'
    instruction = 'carry the tray past the posts and hold it over the stand'
    course = Course(
        lane=0.0, height=0.08, start=-0.33, spacing=0.40, first=(0.28, 0.34), swerve=0.075
    )

    def __init__(self) -> None:
        joints = load(self.embodiment).joint_names
        super().__init__(AlohaPlant(build_model(), joints, self.control_rate_hz))
        self._tray = int(self.plant.model.body('tray').mocapid[0])

    @property
    def tips(self) -> np.ndarray:
        """Points between the fingers, left and right [2, 3] [m]."""
        return np.array([self.plant.site('left_tip'), self.plant.site('right_tip')])

    @property
    def point(self) -> np.ndarray:
        """Middle of the tray."""
        return self.tips.mean(axis=0)

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; both hands point down."""
        del near  # The solution is in closed form.
        grip = HOLD + release * (RELEASE - HOLD)
        left = point + np.array([APART / 2.0 - GRASP, 0.0, 0.0])
        right = np.array([APART / 2.0 - GRASP - point[0], -point[1], point[2]])
        return np.hstack([pointing_down(left), grip, pointing_down(right), grip])

    def _place(self) -> None:
        super()._place()
        data = self.plant.data
        data.mocap_pos[self._tray] = self.point

    def _failed(self) -> str:
        left, right = self.tips
        if np.linalg.norm(right - left - (2.0 * GRASP, 0.0, 0.0)) > SLIP:
            return 'lost the tray'
        off = np.abs(self.posts - self.point[:2])
        if (off < np.array(TRAY) + POST_RADIUS).all(axis=1).any():
            return 'hit a post'
        return self.plant.fault
