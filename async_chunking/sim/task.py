# SPDX-License-Identifier: Apache-2.0
"""What a task is: a plant, what is observed of it, when it is solved, and who can do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import numpy as np

from async_chunking.sim.plant import Plant

Observation = dict[str, np.ndarray]
"""'observation.state' [D], joint positions [rad, m], and 'observation.environment_state' [E]."""


class Expert(Protocol):
    """
    A demonstrator that may look behind the observation.

    Attributes:
        mode: How it does this episode, for example the side of each obstacle; numbers.
    """

    mode: tuple

    def action(self) -> np.ndarray:
        """Return the command [D] for the task's current tick [rad, m]."""


class Task(ABC):
    """
    An episode at a time, one control period a step; time and randomness come from outside.

    Everything random about an episode is drawn in `reset`, so that a seed and a command sequence
    fix it to the last bit.

    Attributes:
        name: In the command line and in data sets.
        embodiment: Name of the robot's description.
        instruction: What a language-conditioned policy would be told.
        control_rate_hz: Commands per second.
        policy_rate_hz: Frames of a demonstration per second; divides `control_rate_hz`.
        max_s: An episode that takes longer has failed [s].
        environment_names: What each of the E numbers of the environment state is.
        plant: The robot.
    """

    name: ClassVar[str]
    embodiment: ClassVar[str]
    instruction: ClassVar[str]
    control_rate_hz: ClassVar[float] = 50.0
    policy_rate_hz: ClassVar[float] = 50.0
    max_s: ClassVar[float]
    environment_names: ClassVar[tuple[str, ...]]
    plant: Plant

    def __init__(self) -> None:
        self._ticks = 0
        self._solved_at: int | None = None
        self._failure = ''

    @property
    def control_period(self) -> float:
        """Seconds per step [s]."""
        return 1.0 / self.control_rate_hz

    @property
    def seconds(self) -> float:
        """Simulated time since the reset [s]."""
        return self._ticks * self.control_period

    @property
    def success_s(self) -> float | None:
        """Time at which the episode was solved [s], None if it was not."""
        return None if self._solved_at is None else self._solved_at * self.control_period

    @property
    def failure(self) -> str:
        """Why the episode failed, in a few words; empty while it has not."""
        return self._failure

    def reset(self, rng: np.random.Generator) -> Observation:
        """Begin an episode and return what is observed at its first tick."""
        self._ticks = 0
        self._solved_at = None
        self._failure = ''
        self._begin(rng)
        return self.observe()

    def step(self, command: np.ndarray) -> tuple[Observation, bool, bool]:
        """
        Command the robot for one control period.

        Stepping on after the end is allowed and changes nothing about the outcome.

        Args:
            command: [D] [rad, m].

        Returns:
            What is observed after it, whether the episode is over, and whether it was solved.
        """
        self._ticks += 1
        self._advance(command)
        if self._solved_at is None and not self._failure:
            if self._solved():
                self._solved_at = self._ticks
            else:
                late = self.seconds >= self.max_s - 1e-9
                self._failure = self._failed() or ('out of time' if late else '')
        solved = self._solved_at is not None
        return self.observe(), solved or bool(self._failure), solved

    @abstractmethod
    def observe(self) -> Observation:
        """Return what is observed now; never anything that is known only later."""

    @abstractmethod
    def expert(self, rng: np.random.Generator) -> Expert:
        """Return a demonstrator for the current episode whose mode is drawn from `rng`."""

    @abstractmethod
    def _begin(self, rng: np.random.Generator) -> None:
        """Draw an episode and reset the plant."""

    @abstractmethod
    def _advance(self, command: np.ndarray) -> None:
        """Move the scene and step the plant."""

    @abstractmethod
    def _solved(self) -> bool:
        """Return whether the goal holds at this tick; called once a tick."""

    def _failed(self) -> str:
        """Return why the episode cannot be solved any more, empty if it can."""
        return ''
