# SPDX-License-Identifier: Apache-2.0
"""What hurts a robot that trusts too much: false poses, huge numbers, rivals, pauses, clocks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.bringup.processes import Processes
from tools.faults.done import Done
from tools.faults.scene import NAMESPACE, PATIENCE_S, FaultError, FaultScene

_HUGE = (1e306, -1e306, 3e305, 1e18)
_NAMES, _FLOATS, _TEXTS = 3_000_000, 5_000_000, 1_000_000
_FLOOD = 200  # Joint states at once.
_HOUR_S = 3600.0
_REST = 100  # Ticks in which a robot comes to rest.


def _begin_again(scene: FaultScene) -> None:
    """Ask for a new run until there is one, as an operator would."""
    if not scene.until(lambda: scene.new_run() == '', PATIENCE_S):
        raise FaultError('the executor refuses every new run')


def _told(scene: FaultScene, words: str, before: int) -> bool:
    return any(words in said for said in scene.link.log.sentences['executor'][before:])


def false_poses(scene: FaultScene, seconds: float) -> Done:
    """The joint states lie while it is stopped and reset: by 0.3, 2.9, 1e6 rad, zeros, NaN."""
    done = Done()
    lies = (lambda p: p + 0.3, lambda p: p + 2.9, lambda p: p + 1e6, lambda p: p * 0.0,
            lambda p: p * np.nan)  # fmt: skip
    for lie in lies:

        def through(message: Any, lie: Any = lie) -> Iterable[Any]:
            message.position = lie(np.array(message.position)).tolist()
            return (message,)

        scene.order('stop')
        scene.run(0.5)
        with scene.filtered('joint_states', through):
            for _ in range(2):
                scene.run(max(seconds / 20.0, 0.4))
                scene.new_run()
                done.count += 1
        _begin_again(scene)
    return done


def contact(scene: FaultScene, seconds: float) -> Done:
    """The gripper holds something: it is measured 14 mm from its command, and the run is reset."""
    done, answers = Done(), []

    def through(message: Any) -> Iterable[Any]:
        message.position[-1] = min(float(message.position[-1]) + 0.014, 0.057)
        return (message,)

    with scene.filtered('joint_states', through):
        for _ in range(max(int(seconds), 3)):
            scene.order('stop')
            scene.run(1.0)
            answers.append(scene.new_run())
            done.count += 1
    _begin_again(scene)
    done.checks = {'some resets are granted': '' in answers}
    return done


def huge_numbers(scene: FaultScene, seconds: float) -> Done:
    """Finite numbers up to 1e306 on environment_state, which a corrector reads."""
    done, values = Done(), cycle(_HUGE)
    if reason := scene.set_parameter('executor', 'strategy', 'naive+a2c2'):
        raise FaultError(reason)
    scene.run(1.0)
    for _ in range(max(int(seconds * 50.0), 50)):
        scene.link.publish_numbers('environment_state', np.full(7, next(values)))
        done.count += 1
        scene.run(0.02)
    scene.set_parameter('executor', 'strategy', 'naive')
    return done


def second_executor(scene: FaultScene, seconds: float) -> Done:
    """A second executor is started for the same driver, as from a forgotten terminal."""
    before = len(scene.link.log.sentences['executor'])
    spec = replace(scene.spec('executor'), name='rival', remappings={})
    with Processes([spec], NAMESPACE, 'fatal', subprocess.DEVNULL) as rival:
        refused: list[str] = []
        ended = scene.until(lambda: refused.append(rival.look_after()) or refused[-1], PATIENCE_S)
    scene.run(max(seconds / 4.0, 2.0))
    return Done(1, {
        'it is refused': ended and refused[-1].startswith('rival '),
        'named in /diagnostics': _told(scene, 'publishers instead of', before),
    })  # fmt: skip


def paused(scene: FaultScene, seconds: float) -> Done:
    """What sends commands is stopped for 0.2 to 0.6 s in motion (SIGSTOP) and goes on."""
    done, (sender,) = Done(), children(scene.processes.pid('executor'))
    for _ in range(max(int(seconds / 1.5), 3)):
        scene.run(1.0)
        os.kill(sender, signal.SIGSTOP)
        try:
            scene.run(float(scene.rng.uniform(0.2, 0.6)))
        finally:
            os.kill(sender, signal.SIGCONT)
        done.count += 1
    return done


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    pids: list[int] = []
    for task in Path(f'/proc/{pid}/task').iterdir():
        with contextlib.suppress(OSError):  # The thread ended.
            pids += map(int, (task / 'children').read_text().split())
    return pids


def huge_messages(scene: FaultScene, seconds: float) -> Done:
    """Chunks of 3e6 names or 5e6 floats, a parameter of 1e6 texts, joint states at 10 kHz."""
    done, link = Done(), scene.link
    for _ in range(max(int(seconds / 5.0), 1)):
        for data in (link.chunk(names=_NAMES), link.chunk(floats=_FLOATS)):
            link.send(data)
            done.count += 1
            scene.run(1.0)
        scene.set_parameter('executor', 'strategy', ['x'] * _TEXTS)
    for _ in range(max(int(seconds * 20.0), 20)):
        link.publish_joints(_FLOOD)
        scene.run(0.02)
    return done


def clock_jumps(scene: FaultScene, seconds: float) -> Done:
    """Somebody sets /clock an hour ahead for a moment, then it goes on as before."""
    done, before = Done(), len(scene.link.log.steps)
    for _ in range(max(int(seconds / 2.0), 3)):
        scene.link.publish_clock(_HOUR_S)
        done.count += 1
        scene.run(2.0)
    rate = scene.robot.control_rate_hz
    most = (2.0 * done.count + PATIENCE_S) * rate
    done.checks = {'no burst of ticks': len(scene.link.log.steps) - before < most}
    return done


def simulator_reset(scene: FaultScene, seconds: float) -> Done:
    """The simulator begins anew: /clock goes back to 0, and its robot is elsewhere."""
    done, steps = Done(), scene.link.log.steps
    for _ in range(max(int(seconds / 5.0), 2)):
        for transition in ('deactivate', 'activate'):
            if refused := scene.change_state('sim', transition):
                raise FaultError(refused)
            scene.run(1.0)
        done.count += 1
        before = len(steps)
        gone_on = scene.until(lambda before=before: len(steps) > before + 50, PATIENCE_S)
        done.checks[f'goes on after reset {done.count}'] = gone_on
    done.checks['the clock went back'] = steps[-1].deadline_ns < steps[0].deadline_ns + 60e9
    return done


def clock_taken(scene: FaultScene, seconds: float) -> Done:
    """A running node is told to use a simulation's clock, which there is none of."""
    refused = scene.set_parameter('executor', 'use_sim_time', True)
    scene.run(max(seconds / 4.0, 1.0))
    return Done(1, {'it is refused': 'cannot be changed' in refused})


def terminal_closed(scene: FaultScene, seconds: float) -> Done:
    """The terminal is closed in motion (SIGHUP): the robot is brought to rest."""
    steps = scene.link.log.steps
    scene.signal('executor', signal.SIGHUP)
    scene.link.spin(max(seconds / 2.0, 3.0))
    last = np.array([step.command for step in steps[-2:]])
    return Done(1, {
        'the executor ended': not scene.processes.pid('executor'),
        'the robot rests': bool((last[0] == last[1]).all()),
    })  # fmt: skip
