# SPDX-License-Identifier: Apache-2.0
"""What is seen of a run while it goes on; pairs every takeover with its request and its chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from async_chunking.chunk import Plan
from async_chunking.metrics.record import Exchange
from async_chunking.metrics.seams import prefix_mismatch, seam_jump

_KEPT = 64  # Requests and chunks that are remembered.
LANES = 3  # No more chunks than this overlap where a strategy is feasible.


class LiveStep(NamedTuple):
    """
    A tick.

    Attributes:
        run_id: Run of the executor.
        tick: Command counter.
        time_s: Time at which the command was sent [s].
        phase: One of `executor.Phase`, its number.
        strategy: In force.
        joint_names: [D].
        command: [D] as sent [rad, m].
        planned: [D] before limits and corrector, NaN where nothing was planned [rad, m].
        measured: [D], NaN where unknown [rad, m].
        request_id: Whose chunk is played, 0 for none.
        took_over: First tick of that chunk.
        delay: At a takeover, steps since the request; else -1.
    """

    run_id: int
    tick: int
    time_s: float
    phase: int
    strategy: str
    joint_names: tuple[str, ...]
    command: np.ndarray
    planned: np.ndarray
    measured: np.ndarray
    request_id: int
    took_over: bool
    delay: int


class LiveRequest(NamedTuple):
    """A request: `previous` is the plan [R, D] from `tick` on, rates in [Hz]."""

    run_id: int
    request_id: int
    tick: int
    previous: np.ndarray
    execution_horizon: int
    policy_rate_hz: float
    control_rate_hz: float


class LiveChunk(NamedTuple):
    """An answer, [H, D] [rad, m]."""

    run_id: int
    request_id: int
    actions: np.ndarray


class Curve(NamedTuple):
    """Positions [n, D] [rad, m] at times [n] [s]."""

    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class LiveSeam:
    """
    A takeover.

    Attributes:
        step: Tick of it.
        jump: Largest difference between old and new plan there [rad, m]; NaN without an old plan.
        joint: Name of the joint that jumps most; empty without an old plan.
        consistency: Mean |new - old| over what was executed meanwhile [rad, m]; NaN without.
        old: The plan that was given up, from here on for as long as it would have been played.
        new: The chunk, from its request on until the next takeover is due.
        lane: Numbers the chunks round, so that neighbours are told apart.
    """

    step: LiveStep
    jump: float
    joint: str
    consistency: float
    old: Curve
    new: Curve
    lane: int


class Trace:
    """
    Remembers the last requests and chunks.

    Attributes:
        unmatched: Takeovers whose request or chunk was not seen.
    """

    def __init__(self) -> None:
        self.unmatched = 0
        self._requests: dict[tuple[int, int], LiveRequest] = {}
        self._chunks: dict[tuple[int, int], LiveChunk] = {}
        self._seams = 0

    def request(self, request: LiveRequest) -> None:
        """See a request; one that cannot be placed in time is left out."""
        if request.policy_rate_hz > 0.0 and request.control_rate_hz > 0.0:
            _keep(self._requests, request)

    def chunk(self, chunk: LiveChunk) -> None:
        """See a chunk; a refusal has no rows and is left out."""
        if len(chunk.actions):
            _keep(self._chunks, chunk)

    def step(self, step: LiveStep) -> LiveSeam | None:
        """See a tick, and return what happened if a chunk took over."""
        if not step.took_over:
            return None
        key = step.run_id, step.request_id
        request, chunk = self._requests.get(key), self._chunks.get(key)
        columns = {len(step.command)} | {
            rows.shape[1] for rows in (request.previous, chunk.actions) if len(rows)
        } if request and chunk else set()  # fmt: skip
        if request is None or chunk is None or len(columns) != 1:
            self.unmatched += 1
            return None
        self._seams += 1
        return _seam(step, request, chunk.actions, self._seams % LANES)


def _keep(known: dict, what: LiveRequest | LiveChunk) -> None:
    known[what.run_id, what.request_id] = what
    while len(known) > _KEPT:
        del known[next(iter(known))]


def _seam(step: LiveStep, request: LiveRequest, actions: np.ndarray, lane: int) -> LiveSeam:
    stride = request.control_rate_hz / request.policy_rate_hz
    exchange = Exchange(step.request_id, request.tick, request.previous, actions)
    mismatch = prefix_mismatch(exchange, step.delay)
    jump = seam_jump(exchange, step.tick, step.planned, stride)
    played = stride * request.execution_horizon
    old = _curve(step, request, request.previous, step.tick, played)
    new = _curve(step, request, actions, request.tick, step.tick - request.tick + played)
    apart = np.abs(step.planned - old.values[0]) if len(old.values) else np.zeros(0)
    known = math.isfinite(jump) and len(apart) == len(step.joint_names)
    return LiveSeam(
        step, jump, step.joint_names[int(apart.argmax())] if known else '',
        float(mismatch.mean()) if mismatch.size else math.nan, old, new, lane,
    )  # fmt: skip


def _curve(
    step: LiveStep, request: LiveRequest, rows: np.ndarray, first: int, ticks: float
) -> Curve:
    """Return some ticks of a plan that begins at the request's tick, at the times of the steps."""
    period = 1.0 / request.control_rate_hz
    wanted = np.arange(first, first + math.ceil(ticks) + 1)
    if not len(rows):
        return Curve(np.empty(0), np.empty((0, len(step.command))))
    plan = Plan(request.tick, request.control_rate_hz / request.policy_rate_hz, rows, 0, 0)
    values = plan.at(wanted.astype(np.float64))
    there = np.isfinite(values).all(axis=1)
    return Curve(step.time_s + (wanted[there] - step.tick) * period, values[there])
