# SPDX-License-Identifier: Apache-2.0
"""Every simulated rig, up as processes; its limits are checked from what its drivers were told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from async_chunking.bags.definitions import own_store
from async_chunking.bags.files import Bag, find
from async_chunking.bags.reading import STEP
from async_chunking.bags.wire import joint_values, of_command, read
from async_chunking.bags.wire_limits import wire_use
from async_chunking.robot.embodiment import load
from tools.faults.log import Log, SentCommand, paired


def recorded_steps(bag: Bag) -> list[SentCommand]:
    """Return what the executor says of each tick."""
    store, commands = own_store(), []
    for message in bag.messages(lambda topic: topic.type == STEP):
        s = store.deserialize_cdr(message.data, message.topic.type)
        commands.append(SentCommand(s.run_id, s.tick, s.phase, s.missed, s.deadline_ns, s.command))
    return commands


@pytest.mark.parametrize('robot', ['viperx_bimanual', 'franka', 'humanoid'])
def test_rig_runs_within_its_limits(robot: str, tmp_path: Path) -> None:
    """Two episodes, so that one run follows another."""
    folder, figures_path = tmp_path / 'bag', tmp_path / 'figures.json'
    words = [
        'strategy:=paint', 'latency_ms:=120', 'episodes:=2', f'record:={folder}',
        'log_level:=warn',
    ]  # fmt: skip
    command = [sys.executable, '-m', 'async_chunking.cli', 'up', robot, *words]
    done = subprocess.run(
        [*command, '--json', str(figures_path)],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(figures_path.read_text())
    assert figures['takeovers'] > 3
    description, (bag,) = load(robot, sim=True), find([folder])
    steps = recorded_steps(bag)
    told = {key: [] for key in range(len(description.commands))}
    for key, series in read(bag, {n: of_command(c) for n, c in enumerate(description.commands)}):
        told[key] += list(joint_values(series.values, description.commands[key]))
    for number, sent in enumerate(description.commands):
        columns = [description.joint_names.index(name) for name in sent.joints]
        said = [step._replace(command=step.command[columns]) for step in steps]
        # One command per tick and the one that the executor tells of.
        ticks, _ = paired(Log(commands=told[number], steps=said))
        assert len({(step.run_id, step.tick) for step in ticks}) == len(ticks) > 100
    use = wire_use(bag, description)
    assert bag.problems == []
    assert use.silent == ()
    assert figures['limits']['exceeded'] == 0, use
    assert np.fmax.reduce(use.use.acceleration) > 0.5  # It did move.
    assert use.restarts.max() < len({step.run_id for step in steps})
    assert figures['limits']['commands'] == use.commands.max()
