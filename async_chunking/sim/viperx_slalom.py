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

import math

import numpy as np

from async_chunking.robot.embodiment import load
from async_chunking.sim.plant import Plant, load_model
from async_chunking.sim.task import Observation, Task
from async_chunking.sim.viperx_kinematics import pointing_down

LANE = 0.30  # x of the belt's middle [m].
HEIGHT = 0.06  # Of the gripper's tip [m].
START = -0.36  # y of the tip at the start [m].
SPACING = 0.26  # Between posts [m].
POSTS = 3
SWERVE = 0.040  # Sideways distance at which the expert passes a post [m].
RANGE = 0.3  # How far along the belt the tracker sees [m].
BELT_SPEED = (0.07, 0.11)  # [m/s]
PACES = (0.09, 0.18)  # Of the tip over the table, slow and fast [m/s].
OPEN, CLOSED = 0.042, 0.026  # Gripper [m].
CATCH_RADIUS = 0.02  # [m]
CATCH_SECONDS = 0.3


class ViperXSlalom(Task):
    """
    One gripper, three posts, one puck.

    The environment state holds what a tracker on the hand reports, relative to the gripper's tip,
    x across and y along the belt [m]: the puck, the next post and the one after it; and the
    belt's speed [m/s]. What is farther away than `RANGE`, or not there, reads (0, RANGE).
    """

    name = 'viperx_slalom'
    embodiment = 'viperx'
    instruction = 'reach past the posts and catch the puck'
    max_seconds = 7.0
    environment_names = (
        'puck_x', 'puck_y', 'post_x', 'post_y', 'second_post_x', 'second_post_y', 'belt_speed',
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.plant = Plant(
            load_model('viperx_slalom'), load(self.embodiment).joint_names, self.control_rate_hz
        )
        model = self.plant.model
        self._bodies = [
            int(model.body(name).mocapid[0])
            for name in (*(f'post_{i}' for i in range(POSTS)), 'puck')
        ]
        self._objects = np.zeros((POSTS + 1, 2))  # x, y of the posts and, last, the puck.
        self._belt = np.zeros(1)  # Speed at each tick.
        self._caught = 0  # Ticks in a row.

    # --- episode ----------------------------------------------------------------------------

    def _begin(self, rng: np.random.Generator) -> None:
        ticks = math.ceil(self.max_seconds * self.control_rate_hz) + 1
        self._belt = _belt_speeds(rng, ticks, self.control_rate_hz)
        first = START + rng.uniform(0.20, 0.30)
        self._objects[:, 1] = first + SPACING * np.arange(POSTS + 1)
        self._objects[:POSTS] += rng.uniform(-0.01, 0.01, (POSTS, 2))
        self._objects[:, 0] = LANE + rng.uniform(-0.01, 0.01, POSTS + 1)
        self._caught = 0
        start = np.array([LANE, START, HEIGHT]) + rng.uniform(-0.01, 0.01, 3)
        self.plant.reset(np.append(pointing_down(start), CLOSED))
        self._place()

    def _advance(self, command: np.ndarray) -> None:
        self._objects[:, 1] -= self.belt_speed * self.control_period
        self._place()
        self.plant.step(command)
        near = np.hypot(*(self.tip[:2] - self.puck)) < CATCH_RADIUS
        self._caught = self._caught + 1 if near else 0

    def _place(self) -> None:
        self.plant.data.mocap_pos[self._bodies, :2] = self._objects

    def _solved(self) -> bool:
        return self._caught >= CATCH_SECONDS * self.control_rate_hz - 1e-9

    def _failed(self) -> str:
        # The fingers are the only things that can meet the posts.
        return 'hit a post' if self.plant.data.ncon else ''

    # --- what is seen -----------------------------------------------------------------------

    @property
    def tip(self) -> np.ndarray:
        """Point between the fingers [3] [m]."""
        return self.plant.site('tip')

    @property
    def belt_speed(self) -> float:
        """Speed of the belt at this tick [m/s]."""
        return float(self._belt[min(self._ticks, len(self._belt) - 1)])

    @property
    def puck(self) -> np.ndarray:
        """Position of the puck, x and y [m]."""
        return self._objects[POSTS]

    @property
    def posts(self) -> np.ndarray:
        """Positions of the posts, x and y [POSTS, 2] [m]."""
        return self._objects[:POSTS]

    def observe(self) -> Observation:
        """Return joint positions and what the tracker reports."""
        tip = self.tip[:2]
        ahead = self.posts[self.posts[:, 1] - tip[1] > -SPACING / 2.0]
        seen = np.full((3, 2), (0.0, RANGE))
        relative = np.vstack([self.puck, ahead[:2]]) - tip
        relative[relative[:, 1] > RANGE] = (0.0, RANGE)
        seen[: len(relative)] = relative
        return {
            'observation.state': self.plant.positions,
            'observation.environment_state': np.append(seen.ravel(), self.belt_speed),
        }

    def expert(self, rng: np.random.Generator) -> SlalomExpert:
        """Return a demonstrator with its own choice of sides and paces."""
        return SlalomExpert(self, rng)


def _belt_speeds(rng: np.random.Generator, ticks: int, rate: float) -> np.ndarray:
    """Draw a speed for each tick [m/s]: constant for 0.5 to 1.5 s, with ramps of 0.1 s between."""
    speeds = np.empty(0)
    while len(speeds) < ticks:
        length = int(rng.uniform(0.5, 1.5) * rate)
        speeds = np.append(speeds, np.full(length, rng.uniform(*BELT_SPEED)))
    width = max(int(0.1 * rate), 1)
    padded = np.append(np.full(width - 1, speeds[0]), speeds)
    return np.convolve(padded, np.full(width, 1.0 / width), mode='valid')[:ticks]


class SlalomExpert:
    """
    Follows a lane that swerves around each post, on a side and at a pace drawn beforehand.

    It plans for a point that runs ahead of the measured tip by the servos' lag and is drawn
    towards it, so that it recovers from disturbances within the arm's limits.

    Attributes:
        mode: Side (-1 or 1) of each post, then pace (0 slow, 1 fast) on the way to each.
    """

    LAG = 0.04  # Of the servos [s].
    PULL = 0.08  # Share of the deviation of the measured tip that is taken over, per tick.

    def __init__(self, task: ViperXSlalom, rng: np.random.Generator) -> None:
        self._task = task
        self._sides = rng.choice((-1, 1), POSTS)
        self._paces = rng.integers(0, 2, POSTS + 1)
        self.mode = (*self._sides.tolist(), *self._paces.tolist())
        self._point = task.tip[:2]
        self._velocity = np.zeros(2)
        self._grip = CLOSED

    def action(self) -> np.ndarray:
        """Return the command [7] for this tick."""
        task, dt = self._task, self._task.control_period
        expected = self._point - self.LAG * self._velocity
        point = self._point + self.PULL * (task.tip[:2] - expected)
        along = self._speed_along(point[1])
        ahead = point[1] + along * dt
        # On the lane exactly if the point was on it, else back to it within 0.15 s.
        across = self._lane(ahead) + (point[0] - self._lane(point[1])) * (1.0 - dt / 0.15)
        self._velocity = (np.array([across, ahead]) - point) / dt
        self._point = np.array([across, ahead])
        near = np.hypot(*(task.tip[:2] - task.puck)) < 3.0 * CATCH_RADIUS
        grip = OPEN if near else CLOSED
        self._grip += float(np.clip(grip - self._grip, -0.05 * dt, 0.05 * dt))
        return np.append(pointing_down(np.array([across, ahead, HEIGHT])), self._grip)

    def _speed_along(self, y: float) -> float:
        """Return the speed of the next tick [m/s]: this leg's pace, eased, then the puck's."""
        task = self._task
        leg = int((task.posts[:, 1] + SPACING / 2.0 < y).sum())
        wanted = min(PACES[self._paces[leg]], 4.0 * (task.puck[1] - y) - task.belt_speed)
        step = 1.0 * task.control_period
        return float(np.clip(wanted, self._velocity[1] - step, self._velocity[1] + step))

    def _lane(self, y: float) -> float:
        """Return where the lane is across the belt [m], for a place along it."""
        task = self._task
        x = LANE
        for post, side in zip(task.posts, self._sides, strict=True):
            x += _bump(y - post[1]) * (post[0] - LANE + side * SWERVE)
        return x + _bump(max(task.puck[1] - y, 0.0)) * (task.puck[0] - LANE)


def _bump(distance: float) -> float:
    """Return 1 at 0, falling smoothly to 0 at half a spacing."""
    x = min(abs(distance) / (SPACING / 2.0), 1.0)
    return 0.5 + 0.5 * math.cos(math.pi * x)
