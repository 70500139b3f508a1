# SPDX-License-Identifier: Apache-2.0
"""A clock that NTP, or somebody, set while it was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from async_chunking.dataset.from_bags import convert
from odd_files import Case
from odd_files.asking import demonstrated, robot, smoothness
from odd_files.writing import joints, numbers, record, step, text

ARM = robot(['j1', 'j2'])
FRAMES, AT = 200, 2.0


def _set(seconds: float, own: bool = True, again: bool = False) -> Callable[[Path], None]:
    """Record four seconds of joints that move by 0.01 a tick; the clock is set after two."""

    def clock(t: float) -> float:
        return t + seconds * (t >= AT) + seconds * (again and t >= AT + 1.0)

    def make(folder: Path) -> None:
        lines = []
        for k in range(FRAMES):
            t, at = 0.02 * k, 0.01 * k
            lines.append(joints(t, '/joint_states', j1=at, j2=-at))
            command = t + 0.001
            lines.append(
                step(command, '/control_step', k, j1=at, j2=-at)
                if own
                else numbers(command, '/go', at, -at)
            )
        end = 0.02 * FRAMES - 0.01
        told = {'success': True, 'duration_s': 2.0, 'seed': 1, 'episode': 0}
        if again:
            lines.append(text(end, '/episode', json.dumps(told)))
        record(folder / 'bag', lines, clock=clock)

    return make


def _clock(
    clock: Callable[[float], float], runs: Callable[[int], int] = lambda _: 7, after: int = 0
) -> Callable[[Path], None]:
    """Record four seconds by any clock; of the last `after` ticks the executor tells nothing."""

    def make(folder: Path) -> None:
        lines = []
        for k in range(FRAMES):
            t, at = 0.02 * k, 0.01 * k
            lines.append(joints(t, '/joint_states', j1=at, j2=-at))
            if k < FRAMES - after:
                lines.append(step(t + 0.001, '/control_step', k, runs(k), j1=at, j2=-at))
        record(folder / 'bag', lines, clock=clock)

    return make


def _two_at_once(folder: Path) -> None:
    lines = []
    for k in range(FRAMES):
        t, at = 0.02 * k, 0.01 * k
        lines.append(joints(t, '/joint_states', j1=at, j2=-at))
        for run_id in (1, 2):
            command = step(t + 0.001 * run_id, '/control_step', k, run_id, j1=at, j2=-run_id * at)
            lines.append(command)
    record(folder / 'bag', lines)


def _told_gap(folder: Path) -> str:
    count, problems = convert([folder / 'bag'], ARM, folder / 'data', '')
    return f'{count} demonstration, {problems[0].partition(": ")[2]}'


def _frames(folder: Path) -> str:
    return f'{len(demonstrated(folder, ARM).actions)} frames'


def _held_up(folder: Path) -> None:
    """Record ticks of which twenty came late at once, as from a slow network; no clock was set."""
    lines = []
    for k in range(FRAMES):
        t, at = 0.02 * k, 0.01 * k
        lines.append(joints(t, '/joint_states', j1=at, j2=-at))
        lines.append(step(t + 0.001, '/control_step', k, j1=at, j2=-at))
    record(folder / 'bag', lines, clock=lambda t: 2.4 if 2.0 <= t < 2.4 else t)


def _started_anew(folder: Path) -> None:
    """Record two runs; the machine was started anew between them, and its own clock with it."""
    lines = []
    for run_id, begin in ((1, 0.0), (2, 10.0)):
        for k in range(FRAMES // 2):
            t, at = 0.02 * k, 0.01 * k
            lines.append(joints(begin + t, '/joint_states', j1=at, j2=-at))
            tick = step(t + 0.001, '/control_step', k, run_id, j1=at, j2=-at)
            lines.append(tick._replace(seconds=begin + t + 0.001))
        told = {'success': True, 'duration_s': 1.985, 'seed': run_id, 'episode': 0}
        lines.append(text(begin + 1.985, '/episode', json.dumps(told)))
    record(folder / 'bag', lines)


def _sorted(seconds: float) -> Callable[[Path], None]:
    """Record while the clock is set, and sort the file by time."""

    def make(folder: Path) -> None:
        lines = []
        for k in range(FRAMES):
            t, at = 0.02 * k, 0.01 * k
            told = t + seconds * (t >= AT)
            lines.append(joints(told, '/joint_states', j1=at, j2=-at))
            sent = step(t + 0.001, '/control_step', k, j1=at, j2=-at)
            lines.append(sent._replace(seconds=told + 0.001))
        record(folder / 'bag', lines)

    return make


WHOLE = '200 frames, steps of 0.01'

CASES = [
    Case('clock set by -1 s', _set(-1.0), smoothness(ARM), WHOLE),
    Case('clock set by -10 s', _set(-10.0), smoothness(ARM), WHOLE),
    Case('clock set by +1 h', _set(3600.0), smoothness(ARM), WHOLE),
    Case('clock set by +0.3 s', _set(0.3), smoothness(ARM), WHOLE),
    Case('clock set twice, an episode at the end', _set(-5.0, again=True), _frames,
         '100 frames'),
    Case('clock set by -1 s, no executor', _set(-1.0, own=False), smoothness(ARM),
         ('the clock went back by 0.98 s', 'no control_step')),
    Case('clock set by +1 h, no executor', _set(3600.0, own=False), smoothness(ARM),
         ('nothing at all was recorded for 3600', 'the clock was set')),
    Case('machine started anew between two runs', _started_anew, _frames, '200 frames'),
    Case('messages held up, clock not set', _held_up, _frames, '200 frames'),
    Case('clock set by -0.08 s', _set(-0.08), smoothness(ARM), WHOLE),
    Case('clock set by +0.08 s', _set(0.08), smoothness(ARM), WHOLE),
    Case('clock set by -0.03 s', _set(-0.03), smoothness(ARM), WHOLE),
    Case('clock set forward and back', _clock(lambda t: t + 3600.0 * (2.0 <= t < 2.3)),
         smoothness(ARM), WHOLE),
    Case('clock set three times', _clock(lambda t: t - (t >= 1) - (t >= 2) + 5.0 * (t >= 3)),
         smoothness(ARM), WHOLE),
    Case('clock set by -1 s between two runs',
         _clock(lambda t: t - (t >= AT), lambda k: 1 + (k >= 100)), smoothness(ARM), WHOLE),
    Case('clock set by -1 s after the last command', _clock(
         lambda t: t - (t >= 3.0), after=50), smoothness(ARM), '150 frames, steps of 0.01'),
    Case('clock set by -0.08 s, no executor', _set(-0.08, own=False), smoothness(ARM),
         ('the clock went back by 0.06 s', 'no control_step')),
    Case('clock set by +0.3 s, no executor', _set(0.3, own=False), _told_gap,
         '1 demonstration, nothing at all was recorded for 0.32 s after 2.0 s: it was paused, or '
         'the clock was set; what came before is held as long'),
    *(
        Case(f'clock set by {seconds} s, then sorted by time', _sorted(seconds), smoothness(ARM),
             (f'the clock was set by {seconds:+.2g} s', 'the file was sorted by time since'))
        for seconds in (-1.0, -0.25, -0.06)
    ),
    Case('clock slewed by 0.2 s', _clock(lambda t: t + 0.1 * min(max(t - 1.0, 0.0), 2.0)),
         _told_gap, "1 demonstration, the clock gained +0.20 s on the executor's: it was slewed, "
         "or commands were ever longer on their way; times are the recorder's"),
    Case('two executors at once', _two_at_once, smoothness(ARM),
         ('two executors told their commands at once',)),
]  # fmt: skip
