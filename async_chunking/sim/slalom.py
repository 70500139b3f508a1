# SPDX-License-Identifier: Apache-2.0
"""
A slalom for any robot: past posts on a moving belt, to a goal behind them that moves along.

Seen from above; the belt runs towards -y and changes its speed without notice. Each post may be
passed on either side and at any pace, and what is measured tells neither until the robot has moved
aside. So two chunks drawn one after the other may disagree, and an execution that changes from one
to the other in mid-way runs into the post. A task says which point of its robot passes the posts,
how wide that is, which joints put it where, and what is to be done at the goal.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from async_chunking.sim.plant import Plant
from async_chunking.sim.task import Observation, Task


@dataclass(frozen=True)
class Course:
    """
    A belt along y with posts and a goal on it.

    Attributes:
        lane: x of its middle [m].
        height: z of the robot's point on the way [m].
        start: y of the robot's point at the start [m].
        posts: How many.
        spacing: Between posts, and from the last one to the goal [m].
        first: Least and largest distance from the start to the first post [m].
        swerve: Sideways distance at which the expert passes a post [m].
        belt_speed: Least and largest [m/s].
        paces: Speeds of the robot's point over the ground, slow and fast [m/s].
        sight: How far along the belt the robot sees [m].
        done_s: What is to be done at the goal must last to have solved the task [s].
        spread: How far the start may be off, x, y and z [m].
        release: Pace at which the expert's gripper or hand lets go or closes [1/s].
    """

    lane: float
    height: float
    start: float
    posts: int = 2
    spacing: float = 0.26
    first: tuple[float, float] = (0.20, 0.30)
    swerve: float = 0.04
    belt_speed: tuple[float, float] = (0.07, 0.11)
    paces: tuple[float, float] = (0.09, 0.18)
    sight: float = 0.3
    done_s: float = 0.3
    spread: tuple[float, float, float] = (0.01, 0.01, 0.0)
    release: float = 2.5


class Slalom(Task):
    """
    What all robots' slaloms share.

    The environment state holds what a tracker on the robot's point reports, relative to that
    point, x across and y along the belt [m]: the goal, the next post and the one after it; how
    high the point is [m]; and the belt's speed [m/s]. Things out of sight, or posts that are
    passed, read (0, sight).

    The model has mocap bodies `post_0` ... and a body `goal`, which is moved too if it is one.
    """

    course: ClassVar[Course]
    max_s = 10.0
    environment_names = (
        'goal_x', 'goal_y', 'post_x', 'post_y', 'second_post_x', 'second_post_y', 'height',
        'belt_speed',
    )  # fmt: skip

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self.plant = plant
        names = (*(f'post_{i}' for i in range(self.course.posts)), 'goal')
        bodies = np.array([int(plant.model.body(name).mocapid[0]) for name in names])
        self._moved = np.flatnonzero(bodies >= 0)  # Those of the objects that are.
        self._bodies = bodies[self._moved]
        self._objects = np.zeros((len(names), 2))  # x, y of the posts and, last, the goal.
        self._belt = np.zeros(1)  # Speed at each tick.
        self._ticks_done = 0  # In a row.

    # --- what a robot adds ------------------------------------------------------------------

    @property
    @abstractmethod
    def point(self) -> np.ndarray:
        """What passes the posts and reaches the goal [3] [m]."""

    @abstractmethod
    def pose(self, point: np.ndarray, release: float, near: np.ndarray | None) -> np.ndarray:
        """
        Return the joints [D] that put the point somewhere.

        Args:
            point: [3] [m].
            release: What the gripper or hand does: 0 on the way, 1 is the other extreme.
            near: Joints to begin the search at, None for those of rest.
        """

    @abstractmethod
    def finish(self) -> tuple[float, float]:
        """Return the height [m] and the release (see `pose`) that the expert wants by now."""

    @abstractmethod
    def _done(self) -> bool:
        """Return whether what is to be done at the goal is done at this tick."""

    # --- episode ----------------------------------------------------------------------------

    def _begin(self, rng: np.random.Generator) -> None:
        course = self.course
        ticks = math.ceil(self.max_s * self.control_rate_hz) + 1
        self._belt = belt_speeds(rng, course.belt_speed, ticks, self.control_rate_hz)
        count = len(self._objects)
        self._objects[:, 1] = course.start + rng.uniform(*course.first)
        self._objects[:, 1] += course.spacing * np.arange(count)
        self._objects[:-1] += rng.uniform(-0.01, 0.01, (course.posts, 2))
        self._objects[:, 0] = course.lane + rng.uniform(-0.01, 0.01, count)
        self._ticks_done = 0
        start = np.array([course.lane, course.start, course.height])
        start += rng.uniform(np.negative(course.spread), course.spread)
        self.plant.reset(self.pose(start, 0.0, None))
        self._place()

    def _advance(self, command: np.ndarray) -> None:
        self._objects[:, 1] -= self.belt_speed * self.control_period
        self._place()
        self.plant.step(command)
        self._ticks_done = self._ticks_done + 1 if self._done() else 0

    def _place(self) -> None:
        self.plant.data.mocap_pos[self._bodies, :2] = self._objects[self._moved]

    def _solved(self) -> bool:
        return self._ticks_done >= self.course.done_s * self.control_rate_hz - 1e-9

    def _failed(self) -> str:
        return self.plant.fault or ('hit a post' if self._hit() else '')

    def _hit(self) -> bool:
        """Return whether something touches a post; only what may do so has contacts."""
        return self.plant.data.ncon > 0

    # --- what is seen -----------------------------------------------------------------------

    @property
    def belt_speed(self) -> float:
        """Speed of the belt at this tick [m/s]."""
        return float(self._belt[min(self._ticks, len(self._belt) - 1)])

    @property
    def goal(self) -> np.ndarray:
        """Position of the goal, x and y [m]."""
        return self._objects[-1]

    @property
    def distance(self) -> float:
        """The vector from the robot's point to the goal, seen from above [m]."""
        return float(np.hypot(*(self.point[:2] - self.goal)))

    @property
    def posts(self) -> np.ndarray:
        """Positions of the posts, x and y [posts, 2] [m]."""
        return self._objects[:-1]

    def observe(self) -> Observation:
        """Return joint positions and what the tracker reports."""
        (*point, height), sight = self.point, self.course.sight
        ahead = self.posts[self.posts[:, 1] - point[1] > -self.course.spacing / 2.0]
        seen = np.full((3, 2), (0.0, sight))
        relative = np.vstack([self.goal, ahead[:2]]) - point
        relative[relative[:, 1] > sight] = (0.0, sight)
        seen[: len(relative)] = relative
        return {
            'observation.state': self.plant.positions,
            'observation.environment_state': np.append(seen.ravel(), (height, self.belt_speed)),
        }

    def expert(self, rng: np.random.Generator) -> SlalomExpert:
        """Return a demonstrator with its own choice of sides and paces."""
        return SlalomExpert(self, rng)


class SlalomExpert:
    """
    Follows a lane that swerves around each post, on a side and at a pace drawn beforehand.

    It plans for a point that runs ahead of the measured one by the servos' lag and is drawn
    towards it, so that it recovers from disturbances within the robot's limits.

    Attributes:
        mode: Side (-1 or 1) of each post, then pace (0 slow, 1 fast) on the way to each.
    """

    LAG = 0.04  # Of the servos [s].
    PULL = 4.0  # How fast the deviation of the measured point is taken over [1/s].
    RETURN = 0.15  # Time in which it comes back to the lane [s].
    LOWER = 0.08  # Speed of going down or up [m/s].

    def __init__(self, task: Slalom, rng: np.random.Generator) -> None:
        self._task = task
        count = task.course.posts
        self._sides = rng.choice((-1, 1), count)
        self._paces = rng.integers(0, 2, count + 1)
        self.mode = (*self._sides.tolist(), *self._paces.tolist())
        self._point = task.point[:2]
        self._velocity = np.zeros(2)
        self._height, self._release = task.course.height, 0.0
        self._joints: np.ndarray | None = None

    def action(self) -> np.ndarray:
        """Return the command [D] for this tick."""
        task, dt = self._task, self._task.control_period
        expected = self._point - self.LAG * self._velocity
        point = self._point + self.PULL * dt * (task.point[:2] - expected)
        along = point[1] + self._speed_along(point[1]) * dt
        # On the lane exactly if the point was on it, else back to it.
        off = point[0] - self._lane(point[1])
        across = self._lane(along) + off * (1.0 - dt / self.RETURN)
        self._velocity = (np.array([across, along]) - point) / dt
        self._point = np.array([across, along])
        height, release = task.finish()
        self._height += _clip(height - self._height, self.LOWER * dt)
        self._release += _clip(release - self._release, task.course.release * dt)
        target = np.array([across, along, self._height])
        self._joints = task.pose(target, self._release, self._joints)
        return self._joints.copy()

    def _speed_along(self, y: float) -> float:
        """Return the speed of the next tick [m/s]: this leg's pace, eased, then the goal's."""
        task = self._task
        leg = int((task.posts[:, 1] + task.course.spacing / 2.0 < y).sum())
        pace = task.course.paces[self._paces[leg]]
        wanted = min(pace, 4.0 * (task.goal[1] - y) - task.belt_speed)
        return self._velocity[1] + _clip(wanted - self._velocity[1], 1.0 * task.control_period)

    def _lane(self, y: float) -> float:
        """Return where the lane is across the belt [m], for a place along it."""
        task = self._task
        middle, half = task.course.lane, task.course.spacing / 2.0
        x = middle
        for post, side in zip(task.posts, self._sides, strict=True):
            x += _bump((y - post[1]) / half) * (post[0] - middle + side * task.course.swerve)
        return x + _bump(max(task.goal[1] - y, 0.0) / half) * (task.goal[0] - middle)


def belt_speeds(
    rng: np.random.Generator, limits: tuple[float, float], ticks: int, rate: float
) -> np.ndarray:
    """Draw a speed for each tick [m/s]: constant for 0.5 to 1.5 s, ramps of 0.1 s between."""
    speeds = np.empty(0)
    while len(speeds) < ticks:
        length = int(rng.uniform(0.5, 1.5) * rate)
        speeds = np.append(speeds, np.full(length, rng.uniform(*limits)))
    width = max(int(0.1 * rate), 1)
    padded = np.append(np.full(width - 1, speeds[0]), speeds)
    return np.convolve(padded, np.full(width, 1.0 / width), mode='valid')[:ticks]


def _bump(distance: float) -> float:
    """Return 1 at 0, falling smoothly to 0 at 1 and beyond."""
    return 0.5 + 0.5 * math.cos(math.pi * min(abs(distance), 1.0))


def _clip(value: float, largest: float) -> float:
    return float(np.clip(value, -largest, largest))
