# SPDX-License-Identifier: Apache-2.0
"""
ViperX slalom: reach past the posts on a moving belt and catch the puck behind them.

Seen from above; the belt runs towards -y and changes its speed without notice::

        x                     belt
        |      <----------------------------------
        |            ,-.       ,-.                       each post may be passed on either side,
        |    tip >--'   o     o   `-  ...  puck          and at any pace
        |                `---'
        +-------------------------------------- y

Why delay hurts here. The joint positions do not tell the side that was chosen for the next post,
until the arm has moved aside, and never the pace. So two chunks drawn one after the other may pass
a post on different sides, and an execution that goes from one to the other in mid-way hits it.
Three posts in a row give three occasions. Reacting late, in contrast, costs little: the belt
changes its speed by at most 4 cm/s, which makes a centimetre in a quarter of a second.
"""

from __future__ import annotations

import numpy as np

from async_chunking.robot.embodiment import load
from async_chunking.sim.plant import Plant, load_model
from async_chunking.sim.slalom import Course, Slalom
from async_chunking.sim.task import Observation
from async_chunking.sim.viperx_kinematics import pointing_down

OPEN, CLOSED = 0.042, 0.026  # Gripper [m].
CATCH_RADIUS = 0.02  # [m]


class ViperXSlalom(Slalom):
    """One gripper, three posts, one puck; the tracker does not report the tip's height."""

    name = 'viperx_slalom'
    embodiment = 'viperx'
    instruction = 'reach past the posts and catch the puck'
    max_s = 7.0
    environment_names = (
        'puck_x', 'puck_y', 'post_x', 'post_y', 'second_post_x', 'second_post_y', 'belt_speed',
    )  # fmt: skip
    course = Course(
        lane=0.30, height=0.06, start=-0.36, posts=3, spread=(0.01, 0.01, 0.01), release=3.125
    )

    def __init__(self) -> None:
        model, joints = load_model('viperx_slalom'), load(self.embodiment).joint_names
        super().__init__(Plant(model, joints, self.control_rate_hz))

    @property
    def point(self) -> np.ndarray:
        """Between the fingers."""
        return self.plant.site('tip')

    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """See `Slalom.pose`; the hand points down."""
        del near  # The solution is closed.
        return np.append(pointing_down(point), CLOSED + release * (OPEN - CLOSED))

    def finish(self) -> tuple[float, float]:
        """See `Slalom.finish`; the fingers open before the puck."""
        return self.course.height, float(self.distance < 3.0 * CATCH_RADIUS)

    def observe(self) -> Observation:
        """Return joint positions and what the tracker reports."""
        observation = super().observe()
        state = np.delete(observation['observation.environment_state'], -2)  # The height.
        return {**observation, 'observation.environment_state': state}

    def _done(self) -> bool:
        """The puck is between the fingers."""
        return self.distance < CATCH_RADIUS
