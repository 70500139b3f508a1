# SPDX-License-Identifier: Apache-2.0
"""A run in words: a line for every takeover, and for every change of phase."""

from __future__ import annotations

import math

from async_chunking.executor import Phase
from async_chunking.live.trace import LiveSeam, LiveStep


class Words:
    """Tells what changed; the first tick that is seen is time zero."""

    def __init__(self) -> None:
        self._begin: float | None = None
        self._before: tuple[int, int, str] | None = None

    def step(self, step: LiveStep) -> str:
        """Return what began with a tick: a run, a phase, a strategy; empty if nothing did."""
        if self._begin is None:
            self._begin = step.time_s
        now = step.run_id, step.phase, step.strategy
        before, self._before = self._before, now
        if now == before:
            return ''
        run = 'new run, ' if before is None or before[0] != step.run_id else ''
        phase = Phase(step.phase).name.lower().replace('_', ' ')
        return f'{self._time(step)}  {run}{phase}, {step.strategy}'

    def seam(self, seam: LiveSeam) -> str:
        """Return what happened at a takeover."""
        step = seam.step
        if not seam.joint:
            return f'{self._time(step)}  tick {step.tick}: first chunk, delay {step.delay} rows'
        executed = ''
        if math.isfinite(seam.consistency):
            executed = f', CON {1e3 * seam.consistency:.1f}'
        return (
            f'{self._time(step)}  tick {step.tick}: seam of {1e3 * seam.jump:.1f} mrad at '
            f'{seam.joint}{executed}, delay {step.delay} rows'
        )

    def _time(self, step: LiveStep) -> str:
        return f'{step.time_s - (self._begin or step.time_s):8.2f} s'
