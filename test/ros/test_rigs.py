# SPDX-License-Identifier: Apache-2.0
"""Every simulated rig, up as processes; its limits are checked from what was recorded."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import find
from async_chunking.embodiment import load

PERIOD = 0.02
ROUNDING = 2.0**-22  # Of a float32 of up to 4.


def recorded_commands(path):
    """Return (run, tick) and command of every step that was sent."""
    store, found = own_store(), {}
    (bag,) = find([path])
    for message in bag.messages(lambda topic: topic.name.endswith('control_step')):
        step = store.deserialize_cdr(message.data, message.topic.type)
        if not step.missed:
            found[step.run_id, step.tick] = np.array(step.command, dtype=np.float64)
    return found


@pytest.mark.parametrize('robot', ['viperx_bimanual', 'franka', 'humanoid'])
def test_rig_runs_within_its_limits(robot, tmp_path):
    bag = tmp_path / 'bag'
    words = [
        'strategy:=paint', 'delay_ms:=120', 'duration:=5', f'record:={bag}', 'log_level:=warn',
    ]  # fmt: skip
    command = [sys.executable, '-m', 'async_chunking.cli', 'up', robot, *words]
    json_path = tmp_path / 'figures.json'
    done = subprocess.run(
        [*command, '--json', str(json_path)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(json_path.read_text())
    assert figures['ticks'] > 200
    assert figures['takeovers'] > 3
    limits = load(robot).limits
    commands = recorded_commands(bag)
    assert len(commands) > 200
    checked = 0
    for (run_id, tick), command in commands.items():
        assert (command >= limits.lower - ROUNDING).all()
        assert (command <= limits.upper + ROUNDING).all()
        before = commands.get((run_id, tick - 1))
        earlier = commands.get((run_id, tick - 2))
        if before is None:
            continue
        speed = np.abs(command - before) / PERIOD
        assert (speed <= limits.velocity + 2.0 * ROUNDING / PERIOD).all(), tick
        if earlier is None:
            continue
        change = np.abs(command - 2.0 * before + earlier) / PERIOD**2
        assert (change <= limits.acceleration + 4.0 * ROUNDING / PERIOD**2).all(), tick
        checked += 1
    assert checked > 150
