# SPDX-License-Identifier: Apache-2.0
"""
How long did each chunk take, and where did the time go? From what the executor says, on its clock.

The total is counted in ticks, from the request to the takeover, and the policy's host reports only
durations. So two hosts need no common time, and a clock that is set changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


def steps_between(request_tick: int, takeover_tick: int, stride: float) -> int:
    """Return the policy steps from a request to its chunk's takeover, rounded up: its delay."""
    return math.ceil((takeover_tick - request_tick) / stride - 1e-9)


@dataclass(frozen=True)
class Measurement:
    """One chunk's way from request to takeover, all in [s] except the ids.

    Attributes:
        run_id: Run of the request.
        request_id: Number of the request.
        total: Request to takeover.
        observation_age: Age when inference started; not part of the total.
        waiting: For inference to start.
        inference: Latency on purpose included.
        transport: The rest: both ways, and until the next tick.
    """

    run_id: int
    request_id: int
    total: float
    observation_age: float
    waiting: float
    inference: float
    transport: float


@dataclass
class _Open:
    tick: int
    control_period: float
    observation_age: float = math.nan
    waiting: float = math.nan
    inference: float = math.nan


class DelayLedger:
    """Pairs requests, answers and takeovers of one run; another run begins a new page."""

    def __init__(self) -> None:
        self._run_id: int | None = None
        self._open: dict[int, _Open] = {}

    def request(self, run_id: int, request_id: int, tick: int, control_rate_hz: float) -> bool:
        """Note a request; return whether it begins a new run."""
        begins = run_id != self._run_id
        if begins:
            self._run_id = run_id
            self._open.clear()
        if control_rate_hz > 0.0:
            self._open[request_id] = _Open(tick, 1.0 / control_rate_hz)
        return begins

    def answer(
        self,
        run_id: int,
        request_id: int,
        observation_age: float,
        waiting: float,
        inference: float,
    ) -> None:
        """Note the durations that came with a chunk."""
        request = self._open.get(request_id) if run_id == self._run_id else None
        if request is not None:
            request.observation_age = observation_age
            request.waiting = waiting
            request.inference = inference

    def takeover(self, run_id: int, request_id: int, tick: int) -> Measurement | None:
        """Return what is known of the chunk that took over; None if its request was not heard."""
        request = self._open.pop(request_id, None) if run_id == self._run_id else None
        if request is None:
            return None
        self._open = {key: value for key, value in self._open.items() if key > request_id}
        total = max(tick - request.tick, 0) * request.control_period
        return Measurement(
            run_id=run_id,
            request_id=request_id,
            total=total,
            observation_age=request.observation_age,
            waiting=request.waiting,
            inference=request.inference,
            transport=max(total - request.waiting - request.inference, 0.0),
        )
