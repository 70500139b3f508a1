# SPDX-License-Identifier: Apache-2.0
"""Episode after episode, whoever commands. Knows no ROS and no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from async_chunking.sim.task import Observation, Task

_STAND_S = 0.2  # A new scene stands still this long, so that its joint positions are known [s].
_PATIENCE_S = 3.0  # The executor is asked again after this [s].
_STILL = 1e-6  # Commands that differ by less do not move the robot [rad, m].
_DISCARD_S = 0.04  # Commands that were meant for the last scene may arrive this late [s].


class EpisodePhase(enum.Enum):
    """What an episode loop is doing."""

    STANDING = 'a new scene stands still'
    RESETTING = 'a new run is due'
    AWAITING = 'the executor was asked to begin a new run'
    CLEARING = 'late commands are thrown away'
    READY = 'the first command that moves the robot begins the episode'
    RUNNING = 'the episode is played'
    PAUSING = 'the episode is over'
    FINISHED = 'all episodes were played'


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode ended."""

    episode: int
    seed: int
    success: bool
    duration_s: float
    failure: str


class EpisodeLoop:
    """Steps a task at its control rate.

    Args:
        task: To play.
        seed: Fixes all episodes.
        episodes: To play, 0 for no end.
        pause_s: Between two [s].

    Attributes:
        phase: What it is doing.
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
        self._set_scene(EpisodePhase.READY)

    def restart(self) -> None:
        """Show the scene anew, for an executor that may be in the middle of a run."""
        self._set_scene(EpisodePhase.STANDING)

    def command(self, values: np.ndarray) -> None:
        """Take a command [D]; what the servos hold until the next one."""
        self._command = values

    def reset_requested(self) -> None:
        """Tell that the executor was asked to begin a new run."""
        self._enter(EpisodePhase.AWAITING)

    def reset_answered(self, reset: bool) -> None:
        """Tell whether the executor began a new run; if not, it is asked again."""
        if self.phase is EpisodePhase.AWAITING:
            self._enter(EpisodePhase.CLEARING if reset else EpisodePhase.STANDING)

    def step(self) -> EpisodeResult | None:
        """Let one control period pass; return the result if an episode ended in it."""
        self._left -= 1
        if self.phase is EpisodePhase.READY and self._moves():
            self.phase = EpisodePhase.RUNNING
        elif self.phase in (EpisodePhase.STANDING, EpisodePhase.AWAITING) and self._left <= 0:
            self.phase = EpisodePhase.RESETTING
        elif self.phase is EpisodePhase.CLEARING and self._left <= 0:
            self._command = self._held = None
            self.phase = EpisodePhase.READY
        elif self.phase is EpisodePhase.PAUSING and self._left <= 0:
            self._next()
        if self.phase in (EpisodePhase.RUNNING, EpisodePhase.PAUSING, EpisodePhase.FINISHED):
            return self._advance()
        return None

    def _moves(self) -> bool:
        """Return whether the robot was told to move: one that waits for its policy holds still."""
        if self._command is None:
            return False
        if self._held is None:
            self._held = self._command
        return bool(np.abs(self._command - self._held).max() > _STILL)

    def _advance(self) -> EpisodeResult | None:
        assert self._command is not None  # It moved the robot.
        self.observation, over, solved = self._task.step(self._command)
        if self.phase is not EpisodePhase.RUNNING or not over:
            return None
        solved_s = self._task.success_s if solved else None
        duration_s = self._task.seconds if solved_s is None else solved_s
        result = EpisodeResult(self._episode, self._seed, solved, duration_s, self._task.failure)
        self._episode += 1
        self._enter(EpisodePhase.PAUSING)
        return result

    def _next(self) -> None:
        if self._episodes and self._episode >= self._episodes:
            self.phase = EpisodePhase.FINISHED
        else:
            self._set_scene(EpisodePhase.STANDING)

    def _set_scene(self, phase: EpisodePhase) -> None:
        rng = np.random.default_rng([self._seed, self._episode])
        self.observation: Observation = self._task.reset(rng)
        self._command = self._held = None
        self._enter(phase)

    def _enter(self, phase: EpisodePhase) -> None:
        self.phase = phase
        seconds = {
            EpisodePhase.STANDING: _STAND_S,
            EpisodePhase.AWAITING: _PATIENCE_S,
            EpisodePhase.CLEARING: _DISCARD_S,
            EpisodePhase.PAUSING: self._pause_s,
        }
        self._left = round(seconds.get(phase, 0.0) * self._task.control_rate_hz)
