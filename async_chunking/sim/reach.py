# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics of a MuJoCo model's arm: damped least squares, redundancy kept near rest."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

_ITERATIONS = 200  # From rest; from the last tick's joints two or three are enough.
_TOLERANCE = 1e-5  # [m]
_DAMPING = 1e-6
_TO_REST = 0.1  # Share of the way to rest that is gone, per iteration, where it costs nothing.
_LARGEST_STEP = 0.2  # Of a joint, per iteration [rad].


class Reach:
    """
    Finds the joints that put a site at a point.

    Args:
        model: Whose kinematics are used.
        site: Name.
        joints: Names of the arm's joints [N].
        rest: [N] posture that redundant joints stay near [rad].
        upright: Whether the site keeps the orientation that it has at rest; all of it counts, so
            this takes six joints.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        site: str,
        joints: Sequence[str],
        rest: np.ndarray,
        upright: bool,
    ) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site(site).id
        ids = [model.joint(name).id for name in joints]
        self._positions, self._velocities = model.jnt_qposadr[ids], model.jnt_dofadr[ids]
        self._low, self._high = model.jnt_range[ids].T
        self._rest = np.array(rest, dtype=np.float64)
        self._upright = upright
        self._move(self._rest)
        self._orientation = self._data.site_xmat[self._site].reshape(3, 3).copy()

    def __call__(self, point: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
        """Return the joints [N] [rad] for a point [3] [m], searching from `near` [N] or rest."""
        joints = self._rest.copy() if near is None else np.array(near, dtype=np.float64)
        for _ in range(_ITERATIONS):
            self._move(joints)
            error, jacobian = self._error(point), self._jacobian()
            inner = jacobian @ jacobian.T + _DAMPING * np.eye(len(error))
            inverse = np.linalg.solve(inner, jacobian).T
            step = inverse @ error
            home = _TO_REST * (self._rest - joints)
            step += home - inverse @ (jacobian @ home)
            joints = np.clip(
                joints + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), self._low, self._high
            )
            if np.abs(error).max() < _TOLERANCE and np.abs(step).max() < 10.0 * _TOLERANCE:
                break
            if near is not None and np.abs(error).max() < _TOLERANCE:
                break
        return joints

    def _move(self, joints: np.ndarray) -> None:
        self._data.qpos[self._positions] = joints
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _error(self, point: np.ndarray) -> np.ndarray:
        error = point - self._data.site_xpos[self._site]
        if not self._upright:
            return error
        here = self._data.site_xmat[self._site].reshape(3, 3)
        turn = np.cross(here.T, self._orientation.T).sum(axis=0) / 2.0
        return np.append(error, turn)

    def _jacobian(self) -> np.ndarray:
        moving, turning = np.zeros((3, self._model.nv)), np.zeros((3, self._model.nv))
        mujoco.mj_jacSite(self._model, self._data, moving, turning, self._site)
        full = np.vstack([moving, turning]) if self._upright else moving
        return full[:, self._velocities]
