# SPDX-License-Identifier: Apache-2.0
"""
A MuJoCo robot behind position servos, stepped one control period at a time.

Knows no task: a model whose actuators carry the names of the embodiment's joints is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import mujoco
import numpy as np

from async_chunking.errors import AsyncChunkingError

MODELS = Path(str(files('async_chunking.sim'))) / 'models'


class PlantError(AsyncChunkingError):
    """A model does not fit its robot, or a command does not fit the plant."""


def load_model(name: str) -> mujoco.MjModel:
    """
    Compile one of the package's models.

    Raises:
        PlantError: There is no such model; the message lists those there are.
    """
    path = MODELS / f'{name}.xml'
    if not path.is_file():
        choices = ', '.join(sorted(p.stem for p in MODELS.glob('*.xml')))
        msg = f"unknown model '{name}'. Choices: {choices}"
        raise PlantError(msg)
    return mujoco.MjModel.from_xml_path(str(path))


class Plant:
    """
    A simulated robot that follows position commands.

    Args:
        model: Compiled; plants may share one, it is only read.
        joints: Names of the position actuators, in command order [D].
        control_rate_hz: Commands per second; its period must be a whole number of physics steps.

    Attributes:
        data: State of the simulation, for a task's own bodies and contacts.
        linear: [D] whether a joint moves in metres rather than radians.
        period: Time between two commands [s].
        fault: Why the driver has ended the motion, empty while it has not.

    Raises:
        PlantError: An actuator is missing, or the rates do not divide.
    """

    def __init__(
        self, model: mujoco.MjModel, joints: Sequence[str], control_rate_hz: float
    ) -> None:
        names = [model.actuator(i).name for i in range(model.nu)]
        missing = [name for name in joints if name not in names]
        if missing:
            msg = f'the model has no actuator {missing[0]!r}. Its actuators: {", ".join(names)}'
            raise PlantError(msg)
        substeps = 1.0 / (control_rate_hz * model.opt.timestep)
        if abs(substeps - round(substeps)) > 1e-6 or round(substeps) < 1:
            msg = (
                f'control_rate_hz {control_rate_hz} is not a whole number of physics steps of '
                f'{model.opt.timestep} s'
            )
            raise PlantError(msg)
        self.model = model
        self.data = mujoco.MjData(model)
        self.joints = tuple(joints)
        self.period = 1.0 / control_rate_hz
        self.fault = ''
        self._substeps = round(substeps)
        self._actuators = np.array([names.index(name) for name in joints])
        driven = model.actuator_trnid[self._actuators, 0]
        self._positions = model.jnt_qposadr[driven]
        self._velocities = model.jnt_dofadr[driven]
        self.linear = model.jnt_type[driven] == mujoco.mjtJoint.mjJNT_SLIDE
        mujoco.mj_forward(model, self.data)

    @property
    def action_dim(self) -> int:
        """Joints that are commanded, D."""
        return len(self.joints)

    @property
    def positions(self) -> np.ndarray:
        """Measured joint positions [D] [rad, m], a copy."""
        return self.data.qpos[self._positions]

    @property
    def velocities(self) -> np.ndarray:
        """Measured joint velocities [D] [rad/s, m/s], a copy."""
        return self.data.qvel[self._velocities]

    def reset(self, positions: np.ndarray) -> None:
        """
        Put the robot at rest at `positions` [D], holding them.

        Joints that mirror a commanded one (a second finger) take its position.
        """
        positions = self._checked(positions)
        mujoco.mj_resetData(self.model, self.data)
        self.fault = ''
        self.data.qpos[self._positions] = positions
        self._mirror()
        self.data.ctrl[self._actuators] = positions
        mujoco.mj_forward(self.model, self.data)

    def step(self, command: np.ndarray) -> None:
        """Advance one control period with the servos set to `command` [D] [rad, m]."""
        self.data.ctrl[self._actuators] = self._checked(command)
        mujoco.mj_step(self.model, self.data, self._substeps)

    def site(self, name: str) -> np.ndarray:
        """
        Return a site's position in the world [3] [m], a copy.

        MuJoCo integrates after it has placed the bodies, so this is where the site was one physics
        step before `positions`.
        """
        return self.data.site(name).xpos.copy()

    def _checked(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (self.action_dim,) or not np.isfinite(values).all():
            msg = (
                f'a command must hold {self.action_dim} finite numbers for '
                f'{", ".join(self.joints)}; got {values.tolist()}'
            )
            raise PlantError(msg)
        return values

    def _mirror(self) -> None:
        model = self.model
        for i in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_JOINT):
            follower, leader = model.jnt_qposadr[[model.eq_obj1id[i], model.eq_obj2id[i]]]
            powers = self.data.qpos[leader] ** np.arange(5)
            self.data.qpos[follower] = float(model.eq_data[i, :5] @ powers)
