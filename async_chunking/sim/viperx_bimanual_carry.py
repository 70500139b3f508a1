# SPDX-License-Identifier: Apache-2.0
"""
ViperX bimanual carry: two arms carry a tray past posts on a moving belt and set it on a stand.

The tray lies where the two grippers are. It is lost when they do not stay as far apart as it is
long, it tips when one is higher than the other, and it is dropped when one of them opens anywhere
but on the stand. So each arm depends on the other all the way.
"""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

from async_chunking.robot.embodiment import load
from async_chunking.sim.plant import MODELS, Plant
from async_chunking.sim.slalom import Course, Slalom
from async_chunking.sim.viperx_kinematics import pointing_down

APART = 0.80  # Between the bases, which face each other along x [m].
GRASP = 0.03  # Half the distance between the grippers on the tray [m].
SLIP = 0.035  # The tray is lost when their distance is off by this [m].
TIP = 0.030  # It tips when one is higher than the other by this [m].
TRAY = np.array([0.038, 0.016])  # Half its extents, along the grippers and across [m].
STAND = 0.052  # Height of the grippers when the tray is on the stand [m].
ON_STAND = 0.008  # It may be dropped from this much higher [m],
OVER_STAND = 0.022  # and this far from the middle [m].
POST_RADIUS = 0.005  # [m]
FINGER = (0.021, 0.057)  # Closed, open [m].
HOLD, LET_GO, RELEASE = 0.15, 0.35, 0.55  # Gripper, 0 closed to 1 open.


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

    def __init__(self, *arguments: Any) -> None:
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
    """Two grippers, one tray, two posts, one stand."""

    name = 'viperx_bimanual_carry'
    embodiment = 'viperx_bimanual'
    instruction = 'carry the tray past the posts and set it on the stand'
    course = Course(
        lane=0.0, height=0.08, start=-0.33, spacing=0.40, first=(0.28, 0.34), swerve=0.075
    )

    def __init__(self) -> None:
        joints = load(self.embodiment).joint_names
        self._carried = True
        self._loss = ''
        super().__init__(AlohaPlant(build_model(), joints, self.control_rate_hz))
        self._tray = int(self.plant.model.body('tray').mocapid[0])
        self._grippers = [joints.index(f'{side}_gripper') for side in ('left', 'right')]

    @property
    def tips(self) -> np.ndarray:
        """Points between the fingers, left and right [2, 3] [m]."""
        return np.array([self.plant.site('left_tip'), self.plant.site('right_tip')])

    @property
    def point(self) -> np.ndarray:
        """Between the grippers, the middle of the tray while they carry it."""
        return self.tips.mean(axis=0)

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; both hands point down."""
        del near  # The solution is in closed form.
        grip = HOLD + release * (RELEASE - HOLD)
        left = point + np.array([APART / 2.0 - GRASP, 0.0, 0.0])
        right = np.array([APART / 2.0 - GRASP - point[0], -point[1], point[2]])
        return np.hstack([pointing_down(left), grip, pointing_down(right), grip])

    def finish(self) -> tuple[float, float]:
        """See `Slalom.finish`; the tray is lowered on the stand, then both grippers open."""
        over = self.distance < OVER_STAND / 2.0 or not self._carried
        low = self.point[2] < STAND + ON_STAND / 2.0
        return STAND if over else self.course.height, float(low)

    def _begin(self, rng: np.random.Generator) -> None:
        self._carried, self._loss = True, ''
        super()._begin(rng)

    def _advance(self, command: np.ndarray) -> None:
        super()._advance(command)
        if self._carried:
            self._carry()

    def _carry(self) -> None:
        """Decide whether the tray is still carried, is on the stand, or is lost."""
        off = self.tips[1] - self.tips[0] - (2.0 * GRASP, 0.0, 0.0)
        self._carried = bool((self._grips < LET_GO).all())
        if np.hypot(*off[:2]) > SLIP:
            self._loss = 'lost the tray'
        elif abs(off[2]) > TIP:
            self._loss = 'tipped the tray'
        elif not self._carried and not self._on_stand:
            self._loss = 'dropped the tray'

    @property
    def _grips(self) -> np.ndarray:
        return self.plant.positions[self._grippers]

    @property
    def _on_stand(self) -> bool:
        return self.distance < OVER_STAND and self.point[2] < STAND + ON_STAND

    def _place(self) -> None:
        super()._place()
        data, (left, right) = self.plant.data, self.tips
        if not self._carried:
            data.mocap_pos[self._tray, :2] = self.goal
            return
        along = right - left
        yaw, pitch = math.atan2(along[1], along[0]), -math.atan2(along[2], along[0])
        data.mocap_pos[self._tray] = self.point
        mujoco.mju_euler2Quat(data.mocap_quat[self._tray], [0.0, pitch, yaw], 'XYZ')

    def _done(self) -> bool:
        """The tray is on the stand and both grippers are open."""
        return not self._carried and bool((self._grips > LET_GO).all())

    def _failed(self) -> str:
        return self._loss or super()._failed()

    def _hit(self) -> bool:
        along = (self.tips[1] - self.tips[0])[:2]
        along /= np.hypot(*along)
        away = self.posts - self.point[:2]
        off = np.abs(np.stack([away @ along, away @ (-along[1], along[0])], axis=1))
        return bool((off < TRAY + POST_RADIUS).all(axis=1).any())
