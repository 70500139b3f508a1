# SPDX-License-Identifier: Apache-2.0
"""Episode after episode: when does a task run, who is told, and what is thrown away?"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('mujoco', reason='the simulated robots need mujoco')

from async_chunking.sim.episode_loop import EpisodeLoop, EpisodePhase


class ShortTask:
    """Solved at its third step in every second episode, else failed at its fourth."""

    control_rate_hz = 50.0

    def __init__(self) -> None:
        self.resets = 0
        self.commands: list[float] = []

    def reset(self, rng: np.random.Generator) -> dict:
        self.resets += 1
        self.ticks = 0
        self.draw = rng.random()
        return {'scene': self.resets}

    def step(self, command: np.ndarray) -> tuple[dict, bool, bool]:
        self.ticks += 1
        self.commands.append(float(command[0]))
        solved = self.resets % 2 == 1 and self.ticks >= 3
        return {'scene': self.resets}, solved or self.ticks >= 4, solved

    @property
    def seconds(self) -> float:
        return self.ticks / 50.0

    success_s = 0.06
    failure = 'too slow'


@pytest.fixture
def task() -> ShortTask:
    return ShortTask()


def play(loop: EpisodeLoop, until: EpisodePhase, limit: int = 500) -> list:
    """Step until an act begins; return the outcomes on the way."""
    results = []
    for _ in range(limit):
        results.append(loop.step())
        if loop.phase is until:
            return [result for result in results if result]
    raise AssertionError(f'{until} did not come; now {loop.phase}')


def move(loop: EpisodeLoop, position: float) -> None:
    """Hold still as an executor without a plan does, then move."""
    loop.command(np.array([position - 0.1]))
    loop.step()
    loop.command(np.array([position]))


def test_the_first_command_that_moves_the_robot_begins_the_episode(task):
    loop = EpisodeLoop(task, seed=7, episodes=0, pause_s=0.1)
    for _ in range(50):
        assert loop.step() is None
    loop.command(np.array([0.4]))  # Waits for its policy.
    for _ in range(50):
        assert loop.step() is None
    assert task.commands == []
    loop.command(np.array([0.5]))
    (result,) = play(loop, EpisodePhase.PAUSING)
    assert (result.episode, result.seed, result.success) == (0, 7, True)
    assert result.duration_s == 0.06
    assert task.commands == [0.5] * 3


def test_a_new_scene_waits_for_a_new_run_and_for_its_first_command(task):
    loop = EpisodeLoop(task, seed=0, episodes=0, pause_s=0.1)
    move(loop, 1.0)
    play(loop, EpisodePhase.RESETTING)
    assert (task.resets, loop.observation) == (2, {'scene': 2})
    loop.reset_requested()
    loop.command(np.array([2.0]))  # Meant for the scene before.
    loop.reset_answered(reset=True)
    played = len(task.commands)
    play(loop, EpisodePhase.READY)
    for _ in range(10):
        loop.step()
    assert (loop.phase, len(task.commands)) == (EpisodePhase.READY, played)
    move(loop, 3.0)
    (result,) = play(loop, EpisodePhase.PAUSING)
    assert task.commands[played:] == [3.0] * 4
    assert (result.episode, result.success, result.failure) == (1, False, 'too slow')
    assert result.duration_s == 0.08


@pytest.mark.parametrize('refused', [True, False])
def test_a_run_that_is_refused_or_never_answered_is_asked_for_again(task, refused):
    loop = EpisodeLoop(task, seed=0, episodes=0, pause_s=0.0)
    move(loop, 1.0)
    play(loop, EpisodePhase.RESETTING)
    loop.reset_requested()
    if refused:
        loop.reset_answered(reset=False)
    play(loop, EpisodePhase.RESETTING)
    assert task.resets == 2


def test_after_the_last_episode_the_scene_stays(task):
    loop = EpisodeLoop(task, seed=0, episodes=1, pause_s=0.1)
    move(loop, 1.0)
    assert len(play(loop, EpisodePhase.FINISHED)) == 1
    assert all(loop.step() is None for _ in range(100))
    assert task.resets == 1


def test_a_seed_fixes_every_scene(task):
    def draws(seed: int) -> list[float]:
        loop = EpisodeLoop(task, seed, episodes=0, pause_s=0.0)
        draws = [task.draw]
        move(loop, 1.0)
        play(loop, EpisodePhase.RESETTING)
        return [*draws, task.draw]

    assert draws(3) == draws(3)
    assert draws(3) != draws(4)
    assert len(set(draws(3))) == 2
