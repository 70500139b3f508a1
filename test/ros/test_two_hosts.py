# SPDX-License-Identifier: Apache-2.0
"""The policy on another host: what the page prints, in two network namespaces with a cable."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import IO

import pytest

from async_chunking.ros_environment import environment
from tools.faults.wall_clock import WallClock, compiler

ROBOT_HOST, POLICY_HOST = (f'ac{os.getpid() % 100000}{side}' for side in 'rp')
PATIENCE = 240.0
PAGE = Path(__file__).parents[2] / 'docs' / 'two_hosts.md'

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


AHEAD = ['unshare', '--time', '--monotonic', '3600', '--fork', '--kill-child']


def clocks() -> tuple[bool, str]:
    """Return whether a process may have clocks of its own, and why not."""
    if not compiler():
        return False, 'no C compiler here'
    if not shutil.which('unshare'):
        return False, 'no `unshare` command here'
    done = subprocess.run([*AHEAD, 'true'], capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr.strip()


APART, WHY = clocks()


def printed() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return what the page says to type: variables to export, and each side's command."""
    variables, commands = {}, {}
    for line in PAGE.read_text().splitlines():
        words = shlex.split(line) if line.startswith('    ') else ['']
        if words[0] == 'export':
            name, _, value = words[1].partition('=')
            variables[name] = value
        elif words[:2] == ['async-chunking', 'up']:
            (side,) = [word for word in words if word.startswith('only:=')]
            commands[side.removeprefix('only:=')] = words[1:]
    return variables, commands


def start(words: list[str], host: str, apart: bool, folder: Path, log: IO[bytes]) -> Popen:
    """Type a command on a host; `apart` from the other one are both its clocks."""
    variables = {}
    if apart:
        clock = WallClock(folder)
        clock.set(-3600)
        variables = clock.variables
    command = [
        'ip', 'netns', 'exec', host, *(AHEAD if apart else []),
        sys.executable, '-m', 'async_chunking.cli', *words,
    ]  # fmt: skip
    return Popen(
        command, env=network() | variables, stdout=log, stderr=log, start_new_session=True
    )


def stop(process: Popen) -> None:
    """Type Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)


def network() -> dict[str, str]:
    """Return the environment of both hosts: as the page says, and no memory in common."""
    return environment() | printed()[0] | {'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4'}


def test_the_page_says_the_same_to_launch_files() -> None:
    variables, commands = printed()
    assert 'ROS_AUTOMATIC_DISCOVERY_RANGE' in variables
    launched = re.findall(
        r'^    ros2 launch async_chunking (\w+).launch.py (.*)$', PAGE.read_text(), re.M
    )
    assert [['up', robot, *words.split()] for robot, words in launched] == [*commands.values()]
    assert [*commands] == ['robot', 'policy']


@pytest.mark.parametrize(
    'apart',
    [
        pytest.param(
            True,
            id='clocks apart',
            marks=pytest.mark.skipif(not APART, reason=f'one clock: {WHY}'),
        ),
        pytest.param(
            False, id='one clock', marks=pytest.mark.skipif(APART, reason='runs with clocks apart')
        ),
    ],
)
def test_policy_on_another_host(hosts: None, apart: bool, tmp_path: Path) -> None:
    _, commands = printed()
    with ExitStack() as undo:
        log = undo.enter_context((tmp_path / 'log').open('wb'))
        for side, host in (('policy', POLICY_HOST), ('robot', ROBOT_HOST)):
            alone = apart and side == 'policy'
            undo.callback(stop, start(commands[side], host, alone, tmp_path, log))
        listener = ['ip', 'netns', 'exec', ROBOT_HOST, sys.executable, '-c']
        done = subprocess.run(
            [*listener, LISTENER.replace('{patience}', str(PATIENCE))],
            env=network(), capture_output=True, text=True, timeout=PATIENCE + 60, check=False,
        )  # fmt: skip
    said = (tmp_path / 'log').read_text(errors='replace')
    slow = re.search(r'the horizon of .* is too short for .* [(]the delay is (\d+) ms', said)
    if done.returncode and slow:
        pytest.skip(f'this machine is too busy: its policy takes {slow[1]} ms for a chunk')
    assert done.returncode == 0, f'{done.stderr[-2000:]}\n{said[-3000:]}'
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen['takeovers'] >= 5
    assert min(seen['inference']) >= 0.03
    # A delay that mixed clocks which are an hour apart would be 180000 steps, or none.
    assert 1 <= min(seen['delays']) <= max(seen['delays']) < 1000
    assert 'no command was recorded here' in said  # On the policy's host.
    assert 'paint' in said  # The figures, on the robot's.
