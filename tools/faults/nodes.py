# SPDX-License-Identifier: Apache-2.0
"""Faults of processes, clocks, disks and operators; see `tools.faults.chunks`."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

from async_chunking.ros_environment import environment
from tools.faults.done import Done
from tools.faults.scene import PATIENCE_S, FaultError, FaultScene

MUTATIONS = 100_000
_LIFE_S = 2.0  # A policy lives this long before it is killed again [s].
_HOUR = 3600
_FAR_S = 20 * 365 * 24 * _HOUR  # Beyond 2038 [s].
_EXTRA = 200_000  # What the disk still takes [bytes].


def nothing(scene: FaultScene, seconds: float) -> Done:
    """Nothing happens: what the machine itself does to the stream."""
    scene.run(seconds)
    return Done()


def policy_killed(scene: FaultScene, seconds: float) -> Done:
    """The policy is killed (SIGKILL), and again whenever it has answered for two seconds."""
    return _killed_again(scene, 'policy', seconds)


def policy_frozen(scene: FaultScene, seconds: float) -> Done:
    """The policy is stopped (SIGSTOP) and goes on later as if nothing had been."""
    scene.signal('policy', signal.SIGSTOP)
    try:
        scene.run(seconds)
    finally:
        scene.signal('policy', signal.SIGCONT)
    return Done(1)


def monitor_dead(scene: FaultScene, seconds: float) -> Done:
    """The delay monitor is killed whenever it is there."""
    return _killed_again(scene, 'delay_monitor', seconds, 0.0)


def _killed_again(scene: FaultScene, node: str, seconds: float, life: float = _LIFE_S) -> Done:
    done, lived, before = Done(), life, len(scene.link.log.arrivals)
    step = 0.1
    for _ in range(max(int(seconds / step), 1)):
        # A policy is alive when it answers, which takes it some seconds after its start.
        answers = node != 'policy' or len(scene.link.log.arrivals) > before
        lived += step if scene.processes.pid(node) and answers else 0.0
        if lived >= life and scene.processes.pid(node):
            scene.signal(node, signal.SIGKILL)
            done.count += 1
            lived, before = 0.0, len(scene.link.log.arrivals)
        scene.run(step)
    return done


def spikes(scene: FaultScene, seconds: float) -> Done:
    """Three chunks in ten take 2 s."""
    return _latency(scene, seconds, 'spiky:60:2000:0.3')


def noise(scene: FaultScene, seconds: float) -> Done:
    """Response times spread evenly from 40 to 160 ms, with spikes to 320 ms between."""
    begin = len(scene.link.log.arrivals)
    for text in ('uniform:40:160', 'spiky:100:320:0.1') * 2:
        _latency(scene, seconds / 4.0, text)
    return Done(len(scene.link.log.arrivals) - begin)


def _latency(scene: FaultScene, seconds: float, text: str) -> Done:
    begin = len(scene.link.log.arrivals)
    scene.set_parameter('policy', 'latency_ms', text)
    scene.run(seconds)
    scene.set_parameter('policy', 'latency_ms', '60')
    return Done(len(scene.link.log.arrivals) - begin)


def wrong_estimates(scene: FaultScene, seconds: float) -> Done:
    """The policy is told a wrong delay, as in REMAC's appendix F.

    One step too few, right, or one too many; with probability 0.1 the largest valid value, here
    the horizon minus the execution horizon.
    """
    done = Done()
    largest = 16 - scene.robot.policy.execution_horizon

    def through(message: Any) -> Iterable[Any]:
        spike = scene.rng.random() < 0.1
        shifted = max(int(message.delay) + int(scene.rng.integers(-1, 2)), 0)
        message.delay = largest if spike else shifted
        done.count += 1
        return (message,)

    with scene.filtered('delay_estimate', through):
        scene.run(seconds)
    return done


def disk_full(scene: FaultScene, seconds: float) -> Done:
    """The recorder's file may not grow any more (RLIMIT_FSIZE set on the running process)."""
    pid = scene.processes.pid('recorder')
    size = max(path.stat().st_size for path in scene.bag.iterdir())
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + _EXTRA, size + _EXTRA))
    ended = scene.until(lambda: not scene.processes.pid('recorder'), seconds + PATIENCE_S)
    scene.run(1.0)
    sentences = any('recording ended' in s for s in scene.link.log.sentences.get('recorder', []))
    return Done(1, {'the recorder ends and says so': ended and sentences})


def mutated(scene: FaultScene, seconds: float) -> Done:
    """100 000 mutated messages through the deserialiser into an executor, in a process beside."""
    done = Done()
    path = Path(scene.folder, 'mutations.json')
    counts: dict[str, int] = {}
    crashes = 0
    while done.count < MUTATIONS and crashes < 10:
        path.unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, '-m', 'tools.faults.mutations', str(done.count),
             str(MUTATIONS - done.count), '1', str(path)],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            scene.until(lambda child=child: child.poll() is not None, seconds + 10.0 * PATIENCE_S)
        finally:
            child.kill()
            child.wait()
        outcome = json.loads(path.read_text()) if path.exists() else {'done': 0, 'counts': {}}
        for name, count in outcome['counts'].items():
            counts[name] = counts.get(name, 0) + count
        crashes += child.returncode != 0
        done.count += outcome['done'] + (child.returncode != 0)
    done.checks = {
        'no crash': crashes == 0 and done.count == MUTATIONS,
        'no command outside the limits': counts.get('bad_commands', 1) == 0,
    }
    done.note = ', '.join(f'{k} {n}' for k, n in sorted(counts.items()) if n and '_ticks' not in k)
    return done


def clock_set(scene: FaultScene, seconds: float) -> Done:
    """The wall clock is set an hour ahead, back, an hour behind, beyond 2038, and back."""
    done = Done()
    if scene.clock is None:
        raise FaultError('this robot was started with the clock of the machine')
    for offset in (_HOUR, 0, -_HOUR, _FAR_S, 0):
        scene.clock.set(offset)
        done.count += 1
        sentences = scene.link.log.sentences['executor']
        before = len(sentences)
        scene.run(max(seconds / 4.0, 3.0))
        if offset != _FAR_S:  # There the middleware itself sends nothing.
            done.checks[f'/diagnostics go on at {offset:+d} s'] = len(sentences) > before
    return done


def parameters_changed(scene: FaultScene, seconds: float) -> Done:
    """Ten times a second, in the middle of chunks: another strategy, latency, or nonsense."""
    done = Done()
    changes = cycle((
        ('executor', 'strategy', 'ensemble', True),
        ('policy', 'latency_ms', '100', True),
        ('executor', 'strategy', 'bspline', True),
        ('executor', 'strategy', 'no_such_strategy', False),
        ('executor', 'strategy', 'sync', True),
        ('policy', 'latency_ms', '-5', False),
        ('executor', 'horizon', 'many', False),
        ('executor', 'strategy', 'naive', True),
    ))  # fmt: skip
    right = True
    for _ in range(max(int(seconds * 10.0), 8)):
        node, name, text, valid = next(changes)
        refused = scene.set_parameter(node, name, text)
        right &= (refused == '') == valid
        done.count += 1
        scene.run(0.1)
    scene.set_parameter('executor', 'strategy', 'naive')
    scene.set_parameter('policy', 'latency_ms', '60')
    done.checks = {'valid values taken, others refused with a reason': right}
    return done
