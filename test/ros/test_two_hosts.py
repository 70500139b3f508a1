# SPDX-License-Identifier: Apache-2.0
"""The policy on another host: two network namespaces with a cable between, clocks apart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from async_chunking.bringup import NodeSpec, describe
from async_chunking.ros_environment import environment

ROBOT_HOST, POLICY_HOST = (f'ac{os.getpid() % 100000}{side}' for side in 'rp')
PATIENCE = 240.0

# Runs on the robot's host: ends when chunks from the other one were taken over.
LISTENER = """
import json, rclpy, time
from async_chunking.msg import ActionChunk, ControlStep, DelayEstimate
rclpy.init()
node = rclpy.create_node('listener')
seen = {'takeovers': 0, 'chunks': 0, 'inference': [], 'delays': []}
def step(message):
    seen['takeovers'] += message.took_over
def chunk(message):
    seen['chunks'] += 1
    seen['inference'].append(message.inference_duration)
def delay(message):
    seen['delays'].append(message.delay)
node.create_subscription(ControlStep, 'control_step', step, 100)
node.create_subscription(ActionChunk, 'action_chunk', chunk, 10)
node.create_subscription(DelayEstimate, 'delay_estimate', delay, 10)
deadline = time.monotonic() + {patience}
# What it hears of each topic begins when it discovers that one.
while min(seen['takeovers'], len(seen['inference']), len(seen['delays'])) < 5:
    assert time.monotonic() < deadline, seen
    rclpy.spin_once(node, timeout_sec=0.1)
print(json.dumps(seen))
"""


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Two hosts, 10.77.0.1 and 10.77.0.2; skipped where the kernel does not allow it."""
    if not shutil.which('ip'):
        pytest.skip('no `ip` command here')
    with ExitStack() as undo:
        try:
            for name in (ROBOT_HOST, POLICY_HOST):
                run('ip', 'netns', 'add', name)
                undo.callback(subprocess.run, ['ip', 'netns', 'del', name], check=False)
            run('ip', 'link', 'add', 'eth0', 'netns', ROBOT_HOST, 'type', 'veth',
                'peer', 'name', 'eth0', 'netns', POLICY_HOST)  # fmt: skip
            for number, name in enumerate((ROBOT_HOST, POLICY_HOST), start=1):
                inside = ('ip', '-n', name)
                run(*inside, 'addr', 'add', f'10.77.0.{number}/24', 'dev', 'eth0')
                run(*inside, 'link', 'set', 'lo', 'up')
                run(*inside, 'link', 'set', 'eth0', 'up')
                run(*inside, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0')
        except subprocess.CalledProcessError as error:
            pytest.skip(f'no network namespaces here: {error.stderr.decode().strip()}')
        yield


def later_clock() -> list[str]:
    """Return what starts a process whose steady clock is an hour ahead, if the kernel can."""
    words = ['unshare', '--time', '--monotonic', '3600', '--fork', '--kill-child']
    works = subprocess.run([*words, 'true'], capture_output=True, check=False).returncode == 0
    return words if works else []


def start(node: NodeSpec, host: str, folder: Path) -> subprocess.Popen:
    path = folder / f'{node.name}.yaml'
    path.write_text(json.dumps({'/**': {'ros__parameters': dict(node.parameters)}}))
    prefix = later_clock() if host == POLICY_HOST else []
    command = [
        'ip', 'netns', 'exec', host, *prefix, sys.executable, '-m',
        f'async_chunking.nodes.{node.executable}', '--ros-args', '-r', f'__node:={node.name}',
        '--params-file', str(path), '--log-level', 'warn',
    ]  # fmt: skip
    return subprocess.Popen(command, env=network(), start_new_session=True)


def network() -> dict[str, str]:
    """Return the environment of both hosts: discovery by multicast, no memory in common."""
    return environment() | {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET', 'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4',
    }  # fmt: skip


def test_policy_on_another_host(hosts, tmp_path):
    described = describe('viperx', {'delay_ms': '40', 'log_level': 'warn'})
    with ExitStack() as undo:
        for node in described.nodes:
            host = POLICY_HOST if node.executable == 'policy_node' else ROBOT_HOST
            process = start(node, host, tmp_path)
            undo.callback(process.wait, 30)
            undo.callback(os.killpg, process.pid, signal.SIGTERM)
        listener = ['ip', 'netns', 'exec', ROBOT_HOST, sys.executable, '-c']
        done = subprocess.run(
            [*listener, LISTENER.replace('{patience}', str(PATIENCE))],
            env=network(), capture_output=True, text=True, timeout=PATIENCE + 60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen['takeovers'] >= 5
    assert min(seen['inference']) >= 0.03
    # The clocks are an hour apart; a delay that mixed them would be thousands of steps, or none.
    assert 1 <= min(seen['delays']) <= max(seen['delays']) <= 16
