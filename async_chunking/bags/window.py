# SPDX-License-Identifier: Apache-2.0
"""A few boundaries of a run, cut out to be drawn: which ones, and what happens at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from async_chunking.bags.compare import StrategyReport
from async_chunking.bags.files import Bag
from async_chunking.bags.reading import RunReader
from async_chunking.bags.summary import RunReport
from async_chunking.metrics.record import Exchange, Run

BOUNDARIES = 4  # In one window.
_START_S = 1.0  # From the first takeover on a robot may still be on its way into the plan [s].


@dataclass(frozen=True)
class WindowChunk:
    """
    A chunk in a window; times in seconds since the run began.

    Attributes:
        asked: Time of its request.
        taken: Time of its takeover.
        left: Time at which the next one took over, or the window ends.
        times: [H] of its rows.
        actions: [H, D] [rad, m].
        old_times: [R] of the plan before it, while the chunk was computed.
        old: [R, D] that plan.
    """

    asked: float
    taken: float
    left: float
    times: np.ndarray
    actions: np.ndarray
    old_times: np.ndarray
    old: np.ndarray


@dataclass(frozen=True)
class Window:
    """A few boundaries of one run, and the figures of the whole run."""

    report: RunReport
    run: Run
    boundaries: Sequence[WindowChunk]

    @property
    def times(self) -> np.ndarray:
        """Time at which each command was due, since the run began [T] [s]."""
        return self.run.tick * self.run.control_period


def typical_runs(strategies: Sequence[StrategyReport]) -> list[RunReport]:
    """
    Return one run of each strategy: the one that is nearest to the strategy's mean jump.

    If the strategies played a scene in common, all runs are of that scene. Strategies without a
    boundary at which two plans overlap are left out.
    """
    groups = [[r for r in s.runs if np.isfinite(r.figures['seam_jump_rad'])] for s in strategies]
    groups = [group for group in groups if group]
    if not groups:
        return []
    shared = set.intersection(*({run.trial for run in group} for group in groups)) - {''}
    if shared:
        chosen = min(sorted(shared), key=lambda trial: sum(_best(g, trial) for g in groups))
        groups = [[run for run in group if run.trial == chosen] for group in groups]
    return [min(group, key=lambda run: _oddity(group, run)) for group in groups]


def _best(group: Sequence[RunReport], trial: str) -> float:
    return min(_oddity(group, run) for run in group if run.trial == trial)


def _oddity(group: Sequence[RunReport], run: RunReport) -> float:
    mean = np.mean([r.figures['seam_jump_rad'] for r in group])
    return abs(run.figures['seam_jump_rad'] - mean) / max(mean, 1e-12)


def typical_ticks(runs: Sequence[RunReport]) -> list[tuple[int, int]]:
    """
    Return for each run the ticks [first, last] whose boundaries are typical of it.

    Runs of the same scene get the same ticks, those that are most typical of all of them, unless
    one of them has no boundary there.

    Args:
        runs: With at least one boundary that has a jump each.
    """
    length = max((_length(run) for run in runs), default=0)
    same = len({run.trial for run in runs}) == 1 and runs[0].trial
    if same:
        first, last = _typical(runs, length)
        if all(((run.seam('tick') >= first) & (run.seam('tick') <= last)).any() for run in runs):
            return [(first, last)] * len(runs)
    return [_typical([run], length) for run in runs]


def _length(run: RunReport) -> int:
    gaps = np.diff(run.seam('tick'))
    return int(np.median(gaps) * (BOUNDARIES + 0.5)) if len(gaps) else 60


def _typical(group: Sequence[RunReport], length: int) -> tuple[int, int]:
    ticks = group[0].seam('tick')
    under_way = max(run.seam('tick')[0] + _START_S / run.control_period for run in group)
    for earliest in (under_way, -math.inf):  # A run may be too short to have got there.
        # Before its first boundary a window shows a little of the plan that is left there.
        possible = np.maximum(ticks[ticks >= earliest] - length // 6, earliest).astype(int)
        distances = [
            sum(_distance(run, start, start + length, earliest) for run in group)
            for start in possible
        ]
        if np.isfinite(distances).any():
            break
    start = max(int(possible[int(np.argmin(distances))]), group[0].first)
    return start, start + length


def _distance(run: RunReport, begin: int, end: int, earliest: float) -> float:
    """Return how far the mean jump in a window is from that of the run, relative to it."""
    tick, jump = run.seam('tick'), run.seam('jump')
    known = np.isfinite(jump) & (tick >= earliest)
    inside = jump[known & (tick >= begin) & (tick < end)]
    if not len(inside) or len(inside) < min(BOUNDARIES, known.sum()):
        return np.inf
    mean = run.figures['seam_jump_rad']
    return abs(inside.mean() - mean) / max(mean, 1e-12)


def cut(report: RunReport, first: int, last: int) -> Window:
    """Read the ticks from `first` to `last` of a run once more, with their chunks."""
    bag = Bag(report.path, report.files)
    parts: list[Run] = []
    exchanges: dict[int, Exchange] = {}
    for key, run in RunReader(bag).pieces():
        if key != report.key:
            continue
        inside = np.flatnonzero((run.tick >= first) & (run.tick <= last))
        parts.append(_rows(run, inside))
        numbers = set(run.request_id[inside].tolist())
        exchanges |= {n: e for n, e in run.exchanges.items() if n in numbers}
        if run.tick[-1] > last:
            break
    run = replace(_joined(parts), exchanges=exchanges)
    return Window(report, run, _boundaries(run))


_PER_TICK = tuple(f.name for f in fields(Run) if f.type == 'np.ndarray')


def _rows(run: Run, index: np.ndarray) -> Run:
    return replace(run, **{name: getattr(run, name)[index] for name in _PER_TICK})


def _joined(parts: Sequence[Run]) -> Run:
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _PER_TICK}
    return replace(parts[0], **columns)


def _boundaries(run: Run) -> list[WindowChunk]:
    period, step = run.control_period, run.control_period * run.stride
    taken = np.flatnonzero(run.took_over)
    ends = [*run.tick[taken[1:]], run.tick[-1] + 1][: len(taken)]
    chunks = []
    for index, end in zip(taken, ends, strict=True):
        exchange = run.exchanges.get(int(run.request_id[index]))
        if exchange is None:
            continue
        old = exchange.previous[: int(run.delay[index]) + 1]
        asked = exchange.tick * period
        chunks.append(WindowChunk(
            asked=asked,
            taken=run.tick[index] * period,
            left=end * period,
            times=asked + np.arange(len(exchange.actions)) * step,
            actions=exchange.actions,
            old_times=asked + np.arange(len(old)) * step,
            old=old,
        ))  # fmt: skip
    return chunks
