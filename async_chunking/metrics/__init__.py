# SPDX-License-Identifier: Apache-2.0
"""
What a run was like: one implementation of every figure, for live, simulated and bagged runs.

A `Run` is the record of one run as arrays, wherever it came from; functions take it and return
numbers with units in their names. `summarize` gives them all. A long recording comes as several
runs that follow each other: `Tally` adds them up and keeps only a few numbers per tick.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import NamedTuple

import numpy as np

from async_chunking.executor import REJECTIONS, Phase
from async_chunking.executor.turns import apart
from async_chunking.metrics.limit_use import LimitUse, derivative, limit_use, worse
from async_chunking.metrics.record import Episode, Exchange, Run
from async_chunking.metrics.seams import Seam, column, consistency_of, mean, seams
from async_chunking.safety import Limits

__all__ = [
    'Exchange', 'Run', 'Tally', 'delays', 'jerk', 'periods', 'pooled', 'spread', 'summarize',
]  # fmt: skip


def jerk(positions: np.ndarray, period: float) -> float:
    """
    Return the root mean square jerk over time and joints [rad/s^3].

    Args:
        positions: [T, D], NaN splits the series.
        period: [s].
    """
    third = derivative(positions, period, 3)
    return math.sqrt(mean(third**2))


def delays(run: Run) -> np.ndarray:
    """Return the delay of every takeover [steps]."""
    return run.delay[run.took_over].astype(float)


def periods(run: Run) -> np.ndarray:
    """Return the times between successive commands that were sent [s]."""
    return sent_periods(run.tick, run.missed, run.emitted)


def sent_periods(tick: np.ndarray, missed: np.ndarray, emitted: np.ndarray) -> np.ndarray:
    """Return the times [s] between commands that were sent; ticks that were not recorded split."""
    sent = np.flatnonzero(missed == 0)
    return np.diff(emitted[sent])[np.diff(tick[sent]) == np.diff(sent)]


class Spread(NamedTuple):
    """Median, 99th percentile and maximum."""

    p50: float
    p99: float
    max: float


def spread(values: np.ndarray) -> Spread:
    """Return the spread of the values that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Spread(math.nan, math.nan, math.nan)
    p50, p99 = np.quantile(values, [0.5, 0.99])
    return Spread(float(p50), float(p99), float(values.max()))


def late_chunks(counters: Mapping[str, int]) -> int:
    """Return the chunks that came later than they were conditioned on."""
    return counters.get('late', 0) + counters.get('expired', 0)


def rejected_chunks(counters: Mapping[str, int]) -> int:
    """Return the chunks that were turned away."""
    # A recording holds only their sum, as `rejected`.
    return sum(counters.get(name, 0) for name in (*REJECTIONS, 'rejected'))


def summarize(run: Run, limits: Limits | None = None) -> dict[str, object]:
    """Return every figure of one run, by name; the keys are those of the JSON reports."""
    tally = Tally(limits)
    tally.add(run)
    return tally.figures()


class Tally:
    """
    Figures of a run that comes in pieces.

    What grows with the length: three numbers per tick and a `Seam` per takeover, about 6 MB for an
    hour at 50 Hz, whatever the number of joints.

    Args:
        limits: Limits of the robot; without them there are no margins.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits
        self.seams: list[Seam] = []
        self.last: Run | None = None
        self._clock: list[np.ndarray] = []
        self._delays: list[np.ndarray] = []
        self.starved = 0
        self._tail: dict[str, np.ndarray] = {}
        self._silent = 0  # Missed ticks since the last command.
        self.squares = {'command': np.zeros(2), 'measured': np.zeros(2)}
        self.use: LimitUse | None = None

    def add(self, piece: Run) -> None:
        """Count the next piece; its ticks follow those of the piece before."""
        self.seams += seams(piece)
        self.last = piece
        self._clock.append(np.array([piece.tick, piece.missed, piece.emitted, piece.deadline]))
        self._delays.append(delays(piece))
        self.starved += int((piece.phase == Phase.HOLDING).sum())
        self._add_motion(piece)

    def _add_motion(self, piece: Run) -> None:
        sent = piece.missed == 0
        rows = {name: getattr(piece, name)[sent] for name in ('tick', 'command', 'measured')}
        # Joints that turn without end are told between -pi and pi; none lags by half a turn.
        every = np.ones(rows['command'].shape[-1], dtype=bool)
        rows['measured'] = rows['command'] + apart(rows['measured'], rows['command'], every)
        passed = self._silent + np.cumsum(piece.missed != 0)
        rows['silent'] = np.diff(passed[sent], prepend=0)
        self._silent = int(passed[-1] - passed[sent][-1]) if sent.any() else int(passed[-1])
        tail = self._tail
        if tail:
            rows = {name: np.concatenate((tail[name], rows[name])) for name in rows}
        for name in self.squares:
            third = derivative(rows[name], piece.control_period, 3, rows['tick'])
            self.squares[name] += np.nansum(third**2), np.isfinite(third).sum()
        if self.limits is not None:
            use = limit_use(
                rows['command'], piece.control_period, self.limits, rows['tick'], rows['silent']
            )
            if tail:  # They were counted with the piece before.
                again = (~np.isfinite(tail['command'])).sum(axis=0)
                use = replace(use, not_finite=use.not_finite - again)
            self.use = use if self.use is None else worse(self.use, use)
        # Three rows are what the first third difference of the next piece reaches back to.
        self._tail = {name: values[-3:].copy() for name, values in rows.items()}

    @property
    def delays(self) -> np.ndarray:
        """Delay of every takeover [steps]."""
        return np.concatenate(self._delays)

    @property
    def clock(self) -> np.ndarray:
        """Tick, missed, emitted [s] and deadline [s] of every tick, [4, T]."""
        return np.concatenate(self._clock, axis=1) if self._clock else np.zeros((4, 0))

    def figures(self, episodes: Sequence[Episode] = ()) -> dict[str, object]:
        """
        Return every figure by name.

        Args:
            episodes: Attempts at the task, where the pieces do not say.
        """
        return pooled([self], episodes)


def pooled(tallies: Sequence[Tally], episodes: Sequence[Episode] = ()) -> dict[str, object]:
    """
    Return every figure of several runs of one strategy as if they were one, by name.

    Args:
        tallies: Tallies of the runs; those without a tick are left out.
        episodes: Attempts at the task, where the runs do not say.
    """
    tallies = [tally for tally in tallies if tally.last is not None]
    last = [tally.last for tally in tallies if tally.last is not None]
    if not last:
        return {}
    clocks = [tally.clock for tally in tallies]
    period = np.concatenate([sent_periods(clock[0], clock[1], clock[2]) for clock in clocks])
    tick, missed, emitted, deadline = np.concatenate(clocks, axis=1)
    counters: Counter[str] = sum((Counter(run.counters) for run in last), Counter())
    uses = [tally.use for tally in tallies if tally.use is not None]
    return {
        'strategy': last[-1].strategy,
        **_task_figures(episodes or [e for run in last for e in run.attempts()]),
        **_boundary_figures([seam for tally in tallies for seam in tally.seams]),
        'command_jerk_rad_s3': _root_mean([tally.squares['command'] for tally in tallies]),
        'measured_jerk_rad_s3': _root_mean([tally.squares['measured'] for tally in tallies]),
        'delay_steps': _middle(np.concatenate([tally.delays for tally in tallies])),
        'period_ms': spread(period * 1e3)._asdict(),
        'lateness_ms': spread((emitted - deadline) * 1e3)._asdict(),
        'duration_s': len(tick) * last[-1].control_period,
        'ticks': len(tick),
        'missed_ticks': int(missed.sum()),
        'starved_ticks': sum(tally.starved for tally in tallies),
        'limited_ticks': counters['limited_ticks'],
        'takeovers': sum(len(tally.delays) for tally in tallies),
        'late_chunks': late_chunks(counters),
        'rejected_chunks': rejected_chunks(counters),
        'limits': reduce(worse, uses).figures() if uses else None,
    }


def _task_figures(episodes: Sequence[Episode]) -> dict[str, object]:
    return {
        'success': all(e.success for e in episodes) if episodes else None,
        'episodes': len(episodes),
        'successes': sum(e.success for e in episodes),
        'completion_time_s': mean(np.array([e.duration for e in episodes if e.success])),
    }


def _boundary_figures(seams: Sequence[Seam]) -> dict[str, object]:
    con = consistency_of(seams)
    jumps = column(seams, 'jump')
    conditioned = column(seams, 'conditioned_delay')
    causes = ('total', 'observation_age', 'waiting', 'inference', 'transport')
    return {
        'consistency_rad': con.mean_absolute,
        'consistency_l2_rad': con.step_norm,
        'seams': con.seams,
        'seam_jump_rad': mean(jumps),
        'seam_jump_max_rad': spread(jumps).max,
        'conditioned_delay_steps': _middle(conditioned),
        'over_conditioned': mean((column(seams, 'delay') > conditioned).astype(float)),
        'delay_ms': {cause: mean(column(seams, cause)) * 1e3 for cause in causes},
    }


def _middle(values: np.ndarray) -> dict[str, float]:
    summary = spread(values)
    return {'p50': summary.p50, 'max': summary.max}


def _root_mean(squares: Sequence[np.ndarray]) -> float:
    total = np.sum(squares, axis=0)
    return math.sqrt(total[0] / total[1]) if total[1] else math.nan
