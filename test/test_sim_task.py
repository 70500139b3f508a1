# SPDX-License-Identifier: Apache-2.0
"""The slalom: its expert succeeds in several ways, its outcomes are what they say, bits repeat."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('mujoco')

from async_chunking.dataset.reading import read_demonstrations
from async_chunking.dataset.writing import DatasetError
from async_chunking.robot import embodiment
from async_chunking.settings import SettingsError
from async_chunking.sim import make_task
from async_chunking.sim.demonstrations import Generation, generate
from async_chunking.sim.episodes import record, record_many
from async_chunking.sim.viperx_slalom import ViperXSlalom


@pytest.fixture(scope='module')
def task() -> ViperXSlalom:
    return ViperXSlalom()


@pytest.fixture(scope='module')
def episodes(task: ViperXSlalom) -> list:
    return [record(task, seed=3, attempt=i, action_noise=0.008) for i in range(40)]


def test_the_task_fits_its_robot(task: ViperXSlalom) -> None:
    robot = embodiment.load(task.embodiment)
    observation = task.reset(np.random.default_rng(0))
    assert task.plant.joints == robot.joint_names
    assert task.control_rate_hz == robot.control_rate_hz
    assert observation.keys() == robot.observations.keys()
    for key, stream in robot.observations.items():
        assert observation[key].shape == (stream.size,)
    assert len(task.environment_names) == len(observation['observation.environment_state'])


def test_the_expert_succeeds_in_at_least_95_of_100(episodes: list) -> None:
    assert sum(episode is not None for episode in episodes) >= 0.95 * len(episodes)


def test_both_sides_of_every_post_and_both_paces_are_shown(episodes: list) -> None:
    modes = np.array([episode.mode for episode in episodes if episode])
    for column in modes.T:
        values, counts = np.unique(column, return_counts=True)
        assert len(values) == 2
        assert counts.min() > 0.25 * len(modes)
    # Not one choice in disguise: no two columns go together.
    correlation = np.corrcoef(modes.T) - np.eye(modes.shape[1])
    assert np.abs(correlation).max() < 0.5


def test_the_side_is_really_taken(task: ViperXSlalom) -> None:
    for seed in range(6):
        task.reset(np.random.default_rng([seed, 0]))
        expert = task.expert(np.random.default_rng([seed, 1]))
        sides = np.zeros(ViperXSlalom.course.posts)
        done = False
        while not done:
            _, done, _ = task.step(expert.action())
            beside = np.abs(task.posts[:, 1] - task.point[1]) < 0.01
            sides[beside] = np.sign(task.point[0] - task.posts[beside, 0])
        assert sides.tolist() == list(expert.mode[: ViperXSlalom.course.posts])


def test_the_mode_cannot_be_read_from_the_first_observation(task: ViperXSlalom) -> None:
    first, commands = [], []
    for choice in range(8):
        first.append(task.reset(np.random.default_rng(5)))
        expert = task.expert(np.random.default_rng(choice))
        for _ in range(60):
            command = expert.action()
            task.step(command)
        commands.append(command)
    for observation in first[1:]:
        for key, value in observation.items():
            np.testing.assert_allclose(value, first[0][key], atol=1e-9)
    assert np.ptp(np.array(commands), axis=0)[:3].max() > 0.1


def test_the_expert_stays_within_the_robots_limits(episodes: list) -> None:
    limits = embodiment.load('viperx').limits
    for episode in episodes:
        if episode is None:
            continue
        actions = episode.actions
        assert (actions >= limits.lower).all()
        assert (actions <= limits.upper).all()
        assert (np.abs(np.diff(actions, axis=0)) * 50.0 <= limits.velocity).all()
        assert (np.abs(np.diff(actions, 2, axis=0)) * 2500.0 <= limits.acceleration).all()


def test_equal_seeds_give_equal_episodes() -> None:
    a, b = (record(ViperXSlalom(), 1, 2, 0.01) for _ in range(2))
    np.testing.assert_allclose(a.actions, b.actions, atol=1e-6)
    for key in a.observations:
        np.testing.assert_allclose(a.observations[key], b.observations[key], atol=1e-6)
    other = record(ViperXSlalom(), 1, 3, 0.01)
    assert a.actions.shape != other.actions.shape or not np.allclose(a.actions, other.actions)


def test_an_episode_does_not_depend_on_the_one_before(task: ViperXSlalom) -> None:
    record(task, 0, 7, 0.01)
    again = record(task, 0, 2, 0.01)
    alone = record(ViperXSlalom(), 0, 2, 0.01)
    np.testing.assert_allclose(again.actions, alone.actions, atol=1e-6)


def test_standing_still_is_hit_by_a_post_or_runs_out_of_time(task: ViperXSlalom) -> None:
    observation = task.reset(np.random.default_rng(0))
    done, ticks = False, 0
    while not done:
        observation, done, solved = task.step(observation['observation.state'])
        ticks += 1
        assert not solved
    assert task.failure in {'hit a post', 'out of time'}
    assert task.success_s is None
    assert ticks == round(task.seconds * task.control_rate_hz)


def test_driving_straight_through_hits_the_first_post(task: ViperXSlalom) -> None:
    task.reset(np.random.default_rng(0))
    expert = task.expert(np.random.default_rng(0))
    expert._sides = np.zeros(ViperXSlalom.course.posts)
    done = False
    while not done:
        _, done, solved = task.step(expert.action())
    assert not solved
    assert task.failure == 'hit a post'


def test_the_outcome_stays_when_stepping_on(task: ViperXSlalom) -> None:
    task.reset(np.random.default_rng([2, 0]))
    expert = task.expert(np.random.default_rng([2, 1]))
    solved = False
    while not solved:
        _, done, solved = task.step(expert.action())
        assert done == solved
    when = task.success_s
    assert when == pytest.approx(task.seconds)
    for _ in range(50):
        _, done, solved = task.step(expert.action())
        assert done
        assert solved
    assert task.success_s == when
    assert task.failure == ''


def test_the_tracker_reports_what_lies_ahead(task: ViperXSlalom) -> None:
    observation = task.reset(np.random.default_rng(4))
    seen = dict(
        zip(task.environment_names, observation['observation.environment_state'], strict=True)
    )
    ahead = task.posts[0] - task.point[:2]
    np.testing.assert_allclose([seen['post_x'], seen['post_y']], ahead, atol=1e-12)
    assert (seen['puck_x'], seen['puck_y']) == (0.0, 0.3)  # Beyond the tracker's range.
    assert seen['belt_speed'] == task.belt_speed


def test_demonstrations_round_trip(tmp_path, task: ViperXSlalom) -> None:
    folder = generate(Generation(task.name, episodes=3, seed=9), tmp_path / 'data', 1, quiet=True)
    data = read_demonstrations(folder)
    recorded = list(record_many(task.name, 3, 9, Generation(task.name).action_noise, 1))
    assert data.fps == 50.0
    assert data.robot == 'viperx'
    assert data.joint_names == task.plant.joints
    assert np.diff(data.ends, prepend=0).tolist() == [len(e.actions) for e in recorded]
    np.testing.assert_allclose(
        data.actions, np.concatenate([e.actions for e in recorded]), atol=1e-6
    )
    state = np.concatenate([e.observations['observation.state'] for e in recorded])
    np.testing.assert_allclose(data.observations['observation.state'], state, atol=1e-6)
    with pytest.raises(DatasetError, match='is not empty'):
        generate(Generation(task.name, episodes=1), folder, 1, quiet=True)


def test_the_number_of_processes_changes_nothing() -> None:
    name = ViperXSlalom.name
    one = [e.attempt for e in record_many(name, 3, 0, 0.03, 1)]
    two = [e.attempt for e in record_many(name, 3, 0, 0.03, 2)]
    assert one == two


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown task 'slalom'.*viperx_slalom"):
        make_task('slalom')
    with pytest.raises(DatasetError, match='episodes must be at least 1, got 0'):
        Generation('viperx_slalom', episodes=0)
    with pytest.raises(DatasetError, match='action_noise must be finite and >= 0, got nan'):
        Generation('viperx_slalom', action_noise=float('nan'))
