# SPDX-License-Identifier: Apache-2.0
"""A task on stage: episode after episode, whoever commands. Knows no ROS and no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from async_chunking.sim.task import Observation, Task

_SHOW = 0.2  # A new scene stands still this long, so that its joint positions are known [s].
_PATIENCE = 3.0  # The executor is asked again after this [s].
_STILL = 1e-6  # Commands that differ by less do not move the robot [rad, m].
_DISCARD = 0.04  # Commands that were meant for the last scene may arrive this late [s].


class Act(enum.Enum):
    """What happens on stage."""

    SHOWING = 'a new scene stands still'
    RESETTING = 'a new run is due'
    AWAITING = 'the executor was asked to begin a new run'
    CLEARING = 'late commands are thrown away'
    READY = 'the first command that moves the robot begins the episode'
    RUNNING = 'the episode is played'
    PAUSING = 'the episode is over'
    FINISHED = 'all episodes were played'


@dataclass(frozen=True)
class Outcome:
    """How an episode ended."""

    episode: int
    seed: int
    success: bool
    duration: float
    failure: str


class Stage:
    """Steps a task at its control rate.

    Args:
        task: To play.
        seed: Fixes all episodes.
        episodes: To play, 0 for no end.
        pause_s: Between two [s].

    Attributes:
        act: What happens now.
        observation: What is observed now.
    """

    def __init__(self, task: Task, seed: int, episodes: int, pause_s: float) -> None:
        self._task = task
        self._seed = seed
        self._episodes = episodes
        self._pause_s = pause_s
        self._episode = 0
        self._command: np.ndarray | None = None
        self._held: np.ndarray | None = None
        self._set_scene(Act.READY)

    def restart(self) -> None:
        """Show the scene anew, for an executor that may be in the middle of a run."""
        self._set_scene(Act.SHOWING)

    def command(self, values: np.ndarray) -> None:
        """Take a command [D]; what the servos hold until the next one."""
        self._command = values

    def asked(self) -> None:
        """Tell that the executor was asked to begin a new run."""
        self._enter(Act.AWAITING)

    def answered(self, reset: bool) -> None:
        """Tell whether the executor began a new run; if not, it is asked again."""
        if self.act is Act.AWAITING:
            self._enter(Act.CLEARING if reset else Act.SHOWING)

    def step(self) -> Outcome | None:
        """Let one control period pass; return the outcome if an episode ended in it."""
        self._left -= 1
        if self.act is Act.READY and self._moves():
            self.act = Act.RUNNING
        elif self.act in (Act.SHOWING, Act.AWAITING) and self._left <= 0:
            self.act = Act.RESETTING
        elif self.act is Act.CLEARING and self._left <= 0:
            self._command = self._held = None
            self.act = Act.READY
        elif self.act is Act.PAUSING and self._left <= 0:
            self._next()
        if self.act in (Act.RUNNING, Act.PAUSING, Act.FINISHED):
            return self._play()
        return None

    def _moves(self) -> bool:
        """Return whether the robot was told to move: one that waits for its policy holds still."""
        if self._command is None:
            return False
        if self._held is None:
            self._held = self._command
        return bool(np.abs(self._command - self._held).max() > _STILL)

    def _play(self) -> Outcome | None:
        self.observation, over, solved = self._task.step(self._command)
        if self.act is not Act.RUNNING or not over:
            return None
        duration = self._task.success_seconds if solved else self._task.seconds
        outcome = Outcome(self._episode, self._seed, solved, duration, self._task.failure)
        self._episode += 1
        self._enter(Act.PAUSING)
        return outcome

    def _next(self) -> None:
        if self._episodes and self._episode >= self._episodes:
            self.act = Act.FINISHED
        else:
            self._set_scene(Act.SHOWING)

    def _set_scene(self, act: Act) -> None:
        rng = np.random.default_rng([self._seed, self._episode])
        self.observation: Observation = self._task.reset(rng)
        self._command = self._held = None
        self._enter(act)

    def _enter(self, act: Act) -> None:
        self.act = act
        seconds = {
            Act.SHOWING: _SHOW,
            Act.AWAITING: _PATIENCE,
            Act.CLEARING: _DISCARD,
            Act.PAUSING: self._pause_s,
        }
        self._left = round(seconds.get(act, 0.0) * self._task.control_rate_hz)
