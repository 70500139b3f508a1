# SPDX-License-Identifier: Apache-2.0
"""Pictures of a plant, where OpenGL is at hand (headless: MUJOCO_GL=egl and pyopengl)."""

from __future__ import annotations

import mujoco
import numpy as np

from async_chunking.sim.plant import Plant, PlantError


class Camera:
    """
    One of a model's cameras; close it when done.

    Args:
        plant: What is seen.
        name: Of the camera.
        width, height: Of the pictures [px].

    Raises:
        PlantError: The model has no such camera.
    """

    def __init__(self, plant: Plant, name: str, width: int = 640, height: int = 480) -> None:
        names = [plant.model.camera(i).name for i in range(plant.model.ncam)]
        if name not in names:
            msg = f"the model has no camera '{name}'. Its cameras: {', '.join(names) or 'none'}"
            raise PlantError(msg)
        self._plant = plant
        self._name = name
        self._renderer = mujoco.Renderer(plant.model, height, width)

    def picture(self) -> np.ndarray:
        """Return what the camera sees now, [height, width, 3] 0 to 255."""
        self._renderer.update_scene(self._plant.data, self._name)
        return self._renderer.render()

    def close(self) -> None:
        """Give the OpenGL context back."""
        self._renderer.close()
