# SPDX-License-Identifier: Apache-2.0
"""What happened where a chunk took over from another: consistency, jump, delay and its causes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from async_chunking.metrics.record import Exchange, Run


class Seam(NamedTuple):
    """
    One takeover, in numbers; NaN where unknown.

    Attributes:
        tick: First tick of the new chunk.
        delay: Steps since the request [steps].
        conditioned_delay: Steps that the sampler was told [steps].
        mismatch_absolute: Mean |new - old| over the delay and the joints [rad].
        mismatch_norm: Mean L2 norm over joints of new - old over the delay [rad].
        jump: Largest difference between the plans at the takeover [rad].
        total: From the request to the takeover [s].
        observation_age: Age of the observation when inference started [s].
        waiting: From the request's arrival to the start of the inference [s].
        inference: [s].
        transport: The rest of the total: both ways, and the wait for the next tick [s].
    """

    tick: int
    delay: int
    conditioned_delay: int
    mismatch_absolute: float
    mismatch_norm: float
    jump: float
    total: float
    observation_age: float
    waiting: float
    inference: float
    transport: float


def prefix_mismatch(exchange: Exchange, delay: int) -> np.ndarray:
    """
    Return |new - old| [d, D] over the steps that were executed while the chunk was computed.

    Rows that either side lacks are left out: d is the delay cut to both.
    """
    count = max(min(delay, len(exchange.previous), len(exchange.actions)), 0)
    return np.abs(exchange.actions[:count] - exchange.previous[:count])


def seam_jump(exchange: Exchange, tick: int, planned: np.ndarray, stride: float) -> float:
    """
    Return how far the plan jumped at a takeover [rad, m], NaN without an old plan there.

    The largest difference over the joints between what is planned [D] at the takeover's tick and
    what the plan before it had for that same tick.
    """
    row = (tick - exchange.tick) / stride
    below = int(row + 1e-9)
    if below >= len(exchange.previous) or np.isnan(planned[0]):
        return math.nan
    above = min(below + 1, len(exchange.previous) - 1)
    share = max(row - below, 0.0)
    old = exchange.previous[below] * (1.0 - share) + exchange.previous[above] * share
    return float(np.abs(planned - old).max())


def seams(run: Run) -> list[Seam]:
    """Return every takeover whose request and chunk are known."""
    seams = []
    for index in np.flatnonzero(run.took_over):
        exchange = run.exchanges.get(int(run.request_id[index]))
        if exchange is not None:
            seams.append(_seam(run, exchange, int(index)))
    return seams


def _seam(run: Run, exchange: Exchange, index: int) -> Seam:
    tick, delay = int(run.tick[index]), int(run.delay[index])
    mismatch = prefix_mismatch(exchange, delay)
    total = (tick - exchange.tick) * run.control_period
    return Seam(
        tick=tick,
        delay=delay,
        conditioned_delay=exchange.conditioned_delay,
        mismatch_absolute=float(mismatch.mean()) if len(mismatch) else math.nan,
        mismatch_norm=float(np.sqrt((mismatch**2).sum(1)).mean()) if len(mismatch) else math.nan,
        jump=seam_jump(exchange, tick, run.planned[index], run.stride),
        total=total,
        observation_age=exchange.observation_age,
        waiting=exchange.waiting,
        inference=exchange.inference,
        transport=total - exchange.waiting - exchange.inference,
    )


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
    return consistency_of(seams(run))


def consistency_of(seams: Sequence[Seam]) -> Consistency:
    """Return CON of these seams."""
    absolute = column(seams, 'mismatch_absolute')
    return Consistency(
        mean(absolute), mean(column(seams, 'mismatch_norm')), int(np.isfinite(absolute).sum())
    )


def seam_jumps(run: Run) -> np.ndarray:
    """Return how far the plan jumped at each takeover that had an old plan [rad, m]."""
    jumps = column(seams(run), 'jump')
    return jumps[np.isfinite(jumps)]


def column(seams: Sequence[Seam], name: str) -> np.ndarray:
    """Return one attribute of all seams, [n]."""
    return np.array([getattr(seam, name) for seam in seams], dtype=np.float64)


def mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
