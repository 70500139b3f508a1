# SPDX-License-Identifier: Apache-2.0
"""Policies that speak of offsets or velocities drive rigs where they mean to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import find
from async_chunking.executor import Phase
from async_chunking.robot.embodiment import load
from async_chunking.settings import config_file
from async_chunking.sim import make_task

POLICY = Path(__file__).parents[1] / 'moded.py'
TURN = 0.15  # Of the first joint [rad].


def rig(robot: str, mode: str, folder: Path) -> tuple[str, str, np.ndarray]:
    """Write a robot whose policy speaks in a mode, and the policy; return both and its goal."""
    values = yaml.safe_load(config_file('config', robot).read_text())
    groups = [{**group, 'mode': mode} for group in values['groups']]
    path, asked = folder / f'{robot}_{mode}.yaml', folder / f'{mode}.txt'
    path.write_text(yaml.safe_dump({'extends': robot, 'groups': groups}))
    task = make_task(load(robot).simulation.task)
    task.reset(np.random.default_rng([0, 0]))  # The rig's first episode.
    goal = task.plant.positions
    goal[0] += TURN
    words = [mode, 1.0 / load(robot).policy.policy_rate_hz, *goal]
    asked.write_text(' '.join(map(str, words)))
    return str(path), str(asked), goal


def driven(robot: str, mode: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the commands [N, D] of a rig from its first chunk on, and its goal [D]."""
    path, asked, goal = rig(robot, mode, folder)
    for attempt in range(4):
        bag = folder / f'{robot}_{mode}_{attempt}'
        words = [
            f'embodiment:={path}', 'policy:=torch', f'policy_entry:={POLICY}:approach',
            f'policy_path:={asked}', 'latency_ms:=60', f'duration:={3 * (attempt + 1)}',
            f'record:={bag}', 'log_level:=error',
        ]  # fmt: skip
        command = [sys.executable, '-m', 'async_chunking.cli', 'up', robot, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        run = first_run(bag)
        phases = [step.phase for step in run]
        if Phase.EXECUTING in phases and phases[0] == Phase.WAITING_FIRST:
            begin = phases.index(Phase.EXECUTING)
            return np.array([step.command for step in run[begin:]], dtype=np.float64), goal
    pytest.fail('the recorder always came too late for the first tick')


def first_run(bag: Path) -> list:
    """Return the recorded ticks of the first run."""
    store, (found,) = own_store(), find([bag])
    steps = [
        store.deserialize_cdr(message.data, message.topic.type)
        for message in found.messages(lambda topic: topic.name.endswith('control_step'))
    ]
    return [step for step in steps if step.run_id == steps[0].run_id]


@pytest.mark.parametrize(('robot', 'mode'), [('humanoid', 'delta'), ('franka', 'velocity')])
def test_a_rig_goes_where_its_policy_means(robot: str, mode: str, tmp_path: Path) -> None:
    """The first joint turns towards the goal; the others are there and stay."""
    commands, goal = driven(robot, mode, tmp_path)
    assert len(commands) > 50
    off = commands - goal
    assert off[0, 0] == pytest.approx(-TURN, rel=0.1)
    assert np.abs(off[:, 0] + 0.5 * TURN).max() < 0.6 * TURN  # Between start and goal.
    assert off[-1, 0] > -0.7 * TURN
    assert np.abs(off[:, 1:]).max() < 0.25 * TURN
