# SPDX-License-Identifier: Apache-2.0
"""Pictures of a task, rendered without a display; `python -m async_chunking.sim.picture`."""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import numpy as np

from async_chunking.sim.task import Task

CAMERA = 'front'


class Painter:
    """
    Renders a task's scene from its own copy of the state, so that the task may go on meanwhile.

    Args:
        task: Whose model has a camera `front`.
        width: [pixels].
        height: [pixels].
        shadows: Draw them, which takes most of the time.

    Attributes:
        focal_length: [pixels].
    """

    def __init__(self, task: Task, width: int, height: int, shadows: bool = True) -> None:
        self._plant = task.plant
        angle = np.deg2rad(task.plant.model.camera(CAMERA).fovy[0])
        self.focal_length = float(0.5 * height / np.tan(0.5 * angle))
        self._data = mujoco.MjData(task.plant.model)
        self._renderer = mujoco.Renderer(task.plant.model, height, width)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows

    def paint(self) -> np.ndarray:
        """Return the scene as it is now [height, width, 3], uint8."""
        source = self._plant.data
        self._data.qpos[:] = source.qpos
        self._data.mocap_pos[:] = source.mocap_pos
        self._data.mocap_quat[:] = source.mocap_quat
        model = self._plant.model
        mujoco.mj_kinematics(model, self._data)
        mujoco.mj_comPos(model, self._data)  # Lights and cameras need it.
        mujoco.mj_camlight(model, self._data)
        self._renderer.update_scene(self._data, CAMERA)
        return self._renderer.render()

    def close(self) -> None:
        """Give the renderer's memory back."""
        self._renderer.close()


def main() -> None:
    """Write a picture of a task in the middle of an episode."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument('task')
    parser.add_argument('out', type=Path)
    parser.add_argument('--seconds', type=float, default=1.8, help='into the episode')
    parser.add_argument('--size', type=int, nargs=2, default=(640, 480), metavar=('W', 'H'))
    given = parser.parse_args()
    from PIL import Image

    from async_chunking.sim import make_task

    task = make_task(given.task)
    task.reset(np.random.default_rng(3))
    expert = task.expert(np.random.default_rng(4))
    while task.seconds < given.seconds:
        task.step(expert.action())
    painter = Painter(task, *given.size)
    Image.fromarray(painter.paint()).save(given.out, optimize=True)
    painter.close()


if __name__ == '__main__':
    main()
