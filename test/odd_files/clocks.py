# SPDX-License-Identifier: Apache-2.0
"""A clock that NTP, or somebody, set while it was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

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


WHOLE = '200 frames, steps of 0.01'

CASES = [
    Case('clock set by -1 s', _set(-1.0), smoothness(ARM), WHOLE),
    Case('clock set by -10 s', _set(-10.0), smoothness(ARM), WHOLE),
    Case('clock set by +1 h', _set(3600.0), smoothness(ARM), WHOLE),
    Case('clock set by +0.3 s', _set(0.3), smoothness(ARM), WHOLE),
    Case('clock set twice, an episode at the end', _set(-5.0, again=True), _frames,
         '100 frames'),
    Case('clock set by -1 s, no executor', _set(-1.0, own=False), smoothness(ARM),
         ('the clock went back by 1.0 s', 'no control_step')),
    Case('clock set by +1 h, no executor', _set(3600.0, own=False), smoothness(ARM),
         ('nothing at all was recorded for 3600', 'the clock was set')),
    Case('machine started anew between two runs', _started_anew, _frames, '200 frames'),
    Case('messages held up, clock not set', _held_up, _frames, '200 frames'),
]  # fmt: skip
