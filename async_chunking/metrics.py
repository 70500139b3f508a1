# SPDX-License-Identifier: Apache-2.0
"""
What a run was like: one implementation of every figure, for live, simulated and bagged runs.

A `Run` is the record of one run as arrays, wherever it came from; functions take it and return
numbers with units in their names. `summarize` gives them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy import stats

from async_chunking.executor import Phase


@dataclass(frozen=True)
class Exchange:
    """
    One request, its answer, and when the answer took over.

    Attributes:
        request_id: Of the request.
        tick: The request's tick.
        previous: [R, D] what was planned from that tick on, one row per step [rad, m].
        actions: [H, D] the answer; row 0 belongs to `tick` [rad, m].
        conditioned_delay: Delay that the sampler was told [steps].
        observation_age: Age of the observation when inference started [s], NaN if unknown.
        inference: Duration of the inference [s], NaN if unknown.
        waiting: Time that the request waited for an inference in progress [s], NaN if unknown.
    """

    request_id: int
    tick: int
    previous: np.ndarray
    actions: np.ndarray
    conditioned_delay: int = 0
    observation_age: float = math.nan
    inference: float = math.nan
    waiting: float = math.nan


@dataclass(frozen=True)
class Run:
    """
    One run, tick by tick.

    Attributes:
        strategy: As the user named it.
        control_period: [s].
        stride: Ticks per policy step.
        tick: [T] command counter.
        phase: [T] values of `Phase`.
        command: [T, D] sent [rad, m].
        planned: [T, D] before limits, NaN where nothing was planned [rad, m].
        measured: [T, D] joint positions, NaN where unknown [rad, m].
        request_id: [T] whose chunk was executed, 0 for none.
        took_over: [T] first tick of that chunk.
        delay: [T] at a takeover, steps since the request; else -1 [steps].
        missed: [T] the deadline passed.
        emitted: [T] when the command was sent, executor's steady clock [s]; NaN if simulated.
        deadline: [T] when it was due, same clock [s].
        exchanges: Answered requests, by request id.
        counters: Of the executor at the end of the run.
        success: Whether the task was achieved; None if unknown.
        completion_time: Seconds from the first command to success [s], NaN without.
    """

    strategy: str
    control_period: float
    stride: float
    tick: np.ndarray
    phase: np.ndarray
    command: np.ndarray
    planned: np.ndarray
    measured: np.ndarray
    request_id: np.ndarray
    took_over: np.ndarray
    delay: np.ndarray
    missed: np.ndarray
    emitted: np.ndarray
    deadline: np.ndarray
    exchanges: Mapping[int, Exchange] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    success: bool | None = None
    completion_time: float = math.nan


def prefix_mismatch(exchange: Exchange, delay: int) -> np.ndarray:
    """
    Return |new - old| [d, D] over the steps that were executed while the chunk was computed.

    Rows that either side lacks are left out: d is the delay cut to both.
    """
    count = min(delay, len(exchange.previous), len(exchange.actions))
    return np.abs(exchange.actions[:count] - exchange.previous[:count])


class Consistency(NamedTuple):
    """
    CON of a run; both reductions, since the published equation is not printed in readable form.

    Attributes:
        mean_absolute: Mean over seams of the mean over d steps and D dimensions (what the PAINT
            reference code computes) [rad].
        step_norm: Mean over seams of the mean over d steps of the L2 norm over dimensions [rad].
        seams: Takeovers with a delay of at least one step and a plan to disagree with.
    """

    mean_absolute: float
    step_norm: float
    seams: int


def consistency(run: Run) -> Consistency:
    """Return CON (PAINT, appendix G, equation 15): prefix mismatch of the new chunks."""
    absolute, norm = [], []
    for exchange, index in _takeovers(run):
        mismatch = prefix_mismatch(exchange, int(run.delay[index]))
        if len(mismatch):
            absolute.append(mismatch.mean())
            norm.append(np.linalg.norm(mismatch, axis=1).mean())
    if not absolute:
        return Consistency(math.nan, math.nan, 0)
    return Consistency(float(np.mean(absolute)), float(np.mean(norm)), len(absolute))


def seam_jumps(run: Run) -> np.ndarray:
    """
    Return, per takeover, how far the plan jumped [rad, m].

    The largest difference over the joints between what is planned at the takeover's tick and what
    the plan before it had for that same tick; takeovers without an old plan there are left out.
    """
    jumps = []
    for exchange, index in _takeovers(run):
        row = (int(run.tick[index]) - exchange.tick) / run.stride
        below = int(row + 1e-9)
        if below >= len(exchange.previous) or np.isnan(run.planned[index, 0]):
            continue
        above = min(below + 1, len(exchange.previous) - 1)
        share = max(row - below, 0.0)
        old = exchange.previous[below] * (1.0 - share) + exchange.previous[above] * share
        jumps.append(np.abs(run.planned[index] - old).max())
    return np.array(jumps)


def _takeovers(run: Run) -> list[tuple[Exchange, int]]:
    found = []
    for index in np.flatnonzero(run.took_over):
        exchange = run.exchanges.get(int(run.request_id[index]))
        if exchange is not None:
            found.append((exchange, int(index)))
    return found


def jerk(positions: np.ndarray, period: float) -> float:
    """
    Return the root mean square jerk over time and joints [rad/s^3].

    Args:
        positions: [T, D], NaN rows split the series.
        period: [s].
    """
    third = np.diff(positions, n=3, axis=0) / period**3
    third = third[~np.isnan(third).any(axis=1)]
    return float(np.sqrt(np.mean(third**2))) if len(third) else math.nan


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


def periods(run: Run) -> np.ndarray:
    """Return the times between successive commands that were sent [s]."""
    return np.diff(run.emitted[~run.missed])


def delays(run: Run) -> np.ndarray:
    """Return the delay of every takeover [steps]."""
    return run.delay[run.took_over].astype(float)


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """
    Return the Wilson score interval of a success rate.

    Raises:
        ValueError: `successes` is not within 0 to `trials`.
    """
    if not 0 <= successes <= trials:
        msg = f'successes must be 0 to trials = {trials}, got {successes}'
        raise ValueError(msg)
    if trials == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method='wilson')
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return mean and Student-t interval of the finite values; NaN bounds below two of them."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if not len(array):
        return math.nan, math.nan, math.nan
    mean = float(array.mean())
    if len(array) < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf(0.5 + confidence / 2.0, len(array) - 1) * stats.sem(array)
    return mean, float(mean - half), float(mean + half)


def summarize(run: Run) -> dict[str, object]:
    """Return every figure of one run, by name; the keys are those of the JSON reports."""
    con = consistency(run)
    jumps = seam_jumps(run)
    delay = delays(run)
    period = spread(periods(run) * 1e3)
    counted = run.counters
    rejected = sum(
        count for name, count in counted.items()
        if name not in NOT_REJECTIONS
    )  # fmt: skip
    return {
        'strategy': run.strategy,
        'success': run.success,
        'completion_time_s': run.completion_time,
        'consistency_rad': con.mean_absolute,
        'consistency_l2_rad': con.step_norm,
        'seams': con.seams,
        'seam_jump_rad': float(jumps.mean()) if len(jumps) else math.nan,
        'seam_jump_max_rad': float(jumps.max()) if len(jumps) else math.nan,
        'command_jerk_rad_s3': jerk(run.command, run.control_period),
        'measured_jerk_rad_s3': jerk(run.measured, run.control_period),
        'delay_steps': {
            'p50': float(np.median(delay)) if len(delay) else math.nan,
            'max': float(delay.max()) if len(delay) else math.nan,
        },
        'period_ms': period._asdict(),
        'ticks': len(run.tick),
        'missed_ticks': int(run.missed.sum()),
        'starved_ticks': int((run.phase == Phase.HOLDING).sum()),
        'limited_ticks': counted.get('limited_ticks', 0),
        'takeovers': int(run.took_over.sum()),
        'late_chunks': counted.get('late', 0) + counted.get('expired', 0),
        'rejected_chunks': rejected,
    }


# Counters of the executor that do not mean that a chunk was turned away.
NOT_REJECTIONS = frozenset(
    {'accepted', 'late', 'expired', 'starved_ticks', 'missed_ticks', 'limited_ticks',
     'correction_not_finite'}
)  # fmt: skip
