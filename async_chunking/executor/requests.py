# SPDX-License-Identifier: Apache-2.0
"""
The book of requests: when the policy is asked, and which chunk answers which request.

It knows ticks and ids, and nothing of commands: what is planned comes in as an argument, what
takes over goes out as a `Takeover`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest, Plan
from async_chunking.delay_ledger import steps_between
from async_chunking.executor.config import Behaviour, ExecutorConfig
from async_chunking.executor.content import ContentCheck, Outcome
from async_chunking.executor.turns import smooth

_MAX_OPEN = 64  # Unanswered requests that are remembered; older ones count as never made.


@dataclass(frozen=True)
class Admitted:
    """
    A chunk whose content was checked and refined, away from the stream of commands.

    Attributes:
        chunk: As it came.
        rows: [H, D] refined [rad, m].
        outcome: Accepted as far as its content goes, or not.
        reason: Joint, row, value and limits if not; empty if it is.
        strategy: Whose merger refined it; None if it answers no request that is known.
    """

    chunk: ActionChunk
    rows: np.ndarray
    outcome: Outcome
    reason: str = ''
    strategy: str | None = None


class Admission:
    """
    Checks and refines chunks; thread-safe, and as slow as a merger likes.

    Args:
        config: Joints, horizon, limits and the tolerance at them.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._content = ContentCheck(config)
        self._endless = config.endless

    def admit(self, chunk: ActionChunk, behaviour: Behaviour | None) -> Admitted:
        """Return a chunk with what is to be executed of it; `behaviour` asked for it."""
        outcome, reason = self._content.judge(chunk, behaviour.most_rows if behaviour else 0)
        rows = chunk.actions
        if outcome is Outcome.ACCEPTED and behaviour is not None:
            rows = behaviour.merger.prepare(smooth(rows, self._endless))
        return Admitted(chunk, rows, outcome, reason, behaviour.name if behaviour else None)


@dataclass(frozen=True)
class Takeover:
    """
    What an accepted chunk changes.

    Attributes:
        plan: The chunk on the time line.
        behaviour: In force from now on: the one that the chunk was asked with.
        delay: Steps since the request.
        late: More steps than the sampler was told.
    """

    plan: Plan
    behaviour: Behaviour
    delay: int
    late: bool


@dataclass(frozen=True)
class _Issued:
    """A request that may still be answered."""

    tick: int
    behaviour: Behaviour
    fresh: bool  # Nothing was planned when it was made, so its chunk starts when it arrives.

    @property
    def unanchored(self) -> bool:
        """Whether its chunk starts when it arrives: only the first such answer may."""
        return self.fresh or self.behaviour.merger.waits


class RequestBook:
    """
    What was asked, what may still answer it, and whether it is time to ask.

    Args:
        config: Robot, rates and time limits.
        behaviour: To ask with at first.
        run_id: Identifies this run; chunks of another run are rejected.

    Attributes:
        next_behaviour: To ask with from now on.
    """

    def __init__(self, config: ExecutorConfig, behaviour: Behaviour, run_id: int) -> None:
        self.next_behaviour = behaviour
        self._config = config
        self._run_id = run_id
        self._request_id = 0
        self._accepted_id = 0
        self._admission = Admission(config)
        self._timeout = config.request_timeout_s * config.control_rate_hz
        # How old an answer to a robot at rest may be [ticks].
        self._oldest = max(config.hold_timeout_s * config.control_rate_hz, self._timeout)
        self.open()

    def open(self) -> None:
        """Begin a page: whatever was asked before is forgotten."""
        self._issued: dict[int, _Issued] = {}
        self._outstanding: int | None = None
        self._retry = self._refused = False
        self._mark = -math.inf  # Tick from which the execution horizon counts.
        self._closed = False

    def close(self) -> None:
        """Ask nothing and take no chunk until opened."""
        self.open()
        self._closed = True

    @property
    def waiting(self) -> bool:
        """Whether the robot rests until the request that is outstanding is answered."""
        asked = self._asked
        return asked is not None and asked.behaviour.merger.waits

    @property
    def _asked(self) -> _Issued | None:
        return None if self._outstanding is None else self._issued[self._outstanding]

    # --- requests -------------------------------------------------------------------------------

    def due(self, tick: int, covers: Callable[[int], bool]) -> bool:
        """Return whether to ask at `tick`; `covers` tells whether something is planned there."""
        if self._closed:
            return False
        asked = self._asked
        if asked is not None:
            changed = self._refused and asked.behaviour is not self.next_behaviour
            return self._retry or changed or tick - asked.tick >= self._timeout
        interval = self._config.execution_horizon * self._config.stride
        return not covers(tick) or tick - self._mark >= interval - 1e-9

    @property
    def rows_to_tell(self) -> int:
        """Rows of the plan that the next request describes at most [steps]."""
        # A robot that waits executes none of the old plan.
        return 0 if self.next_behaviour.merger.waits else self._config.horizon

    def ask(self, tick: int, previous: np.ndarray, delay: int) -> ChunkRequest:
        """
        Note and return a request.

        Args:
            tick: Tick at which it is made.
            previous: [R, D] planned from `tick` on, at most `rows_to_tell` rows [rad, m].
            delay: To condition on if there is a plan [steps].
        """
        behaviour, fresh = self.next_behaviour, len(previous) == 0
        self._request_id += 1
        self._issued[self._request_id] = _Issued(tick, behaviour, fresh)
        self._issued.pop(self._request_id - _MAX_OPEN, None)
        self._outstanding = self._request_id
        self._retry = self._refused = False
        self._mark = tick
        boundary = Boundary(previous, 0 if fresh else delay, self._config.execution_horizon)
        return ChunkRequest(self._run_id, self._request_id, tick, behaviour.name, boundary)

    # --- answers --------------------------------------------------------------------------------

    def admit(self, chunk: ActionChunk) -> Admitted:
        """Check a chunk's content, and refine it as the request that it answers wants it."""
        issued = self._issued.get(chunk.request_id)
        return self._admission.admit(chunk, issued.behaviour if issued else None)

    def answer(self, admitted: Admitted, tick: int) -> tuple[Outcome, Takeover | None]:
        """Place a chunk that is here at `tick`: what becomes of it, and what it changes."""
        outcome = self._place(admitted, tick)
        if outcome is Outcome.ACCEPTED:
            outcome = admitted.outcome
        if outcome is not Outcome.ACCEPTED:
            return self._turn_down(admitted.chunk, outcome), None
        issued = self._issued[admitted.chunk.request_id]
        takeover = self._takeover(admitted, issued, tick)
        old = tick - issued.tick > self._oldest
        if old if issued.unanchored else takeover.plan.end <= tick:
            return self._turn_down(admitted.chunk, Outcome.EXPIRED), None
        self._settle(admitted.chunk.request_id, issued, tick)
        return Outcome.ACCEPTED, takeover

    def _place(self, admitted: Admitted, tick: int) -> Outcome:
        """Decide by ids and ticks alone whether this chunk answers an open request."""
        chunk = admitted.chunk
        if chunk.run_id != self._run_id:
            return Outcome.WRONG_RUN
        if self._closed:
            return Outcome.STOPPED
        if chunk.tick > tick:
            return Outcome.FUTURE
        issued = self._issued.get(chunk.request_id)
        if issued is None:
            if chunk.request_id == self._accepted_id:
                return Outcome.DUPLICATE
            if chunk.request_id < self._accepted_id:
                return Outcome.OUT_OF_ORDER
            return Outcome.UNREQUESTED
        asked = issued.tick == chunk.tick
        asked &= admitted.strategy in (None, issued.behaviour.name)
        return Outcome.ACCEPTED if asked else Outcome.UNREQUESTED

    def _takeover(self, admitted: Admitted, issued: _Issued, tick: int) -> Takeover:
        chunk, stride = admitted.chunk, self._config.stride
        origin = float(tick if issued.fresh else issued.tick)
        plan = Plan(origin, stride, admitted.rows, chunk.request_id, tick)
        delay = steps_between(issued.tick, tick, stride)
        late = delay > chunk.conditioned_delay and not issued.unanchored
        return Takeover(plan, issued.behaviour, delay, late)

    def _settle(self, request_id: int, answered: _Issued, tick: int) -> None:
        """Strike out a request that was answered, and those that no answer may follow to."""
        self._accepted_id = request_id
        self._outstanding = None
        self._issued = {
            number: other
            for number, other in self._issued.items()
            if number > request_id and not (answered.unanchored and other.unanchored)
        }
        if answered.behaviour.merger.waits:
            self._mark = tick

    def _turn_down(self, chunk: ActionChunk, outcome: Outcome) -> Outcome:
        """Ask again at once after a bad answer; after a refusal later, or something else."""
        if outcome is not Outcome.WRONG_RUN and chunk.request_id == self._outstanding:
            refused = outcome is Outcome.REFUSED
            self._refused |= refused
            self._retry |= not refused
        return outcome
