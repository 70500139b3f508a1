# SPDX-License-Identifier: Apache-2.0
"""Which command goes out at this tick: the plan while there is one, rest when there is none."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from async_chunking.chunk import ActionChunk, ChunkRequest, Plan
from async_chunking.correctors import Corrector
from async_chunking.executor.config import Behaviour, ExecutorConfig
from async_chunking.executor.content import ContentCheck, Outcome
from async_chunking.executor.requests import Admitted, RequestBook
from async_chunking.executor.timeline import Timeline
from async_chunking.executor.turns import measured, moved, smooth
from async_chunking.gate import Gate


class Phase(enum.IntEnum):
    """What the executor is doing; the values are those of ControlStep.phase."""

    WAITING_FIRST = 0  # Holds the measured pose until the first chunk arrives.
    EXECUTING = 1
    WAITING = 2  # Rests on purpose while a chunk is computed (merger `wait`).
    HOLDING = 3  # The plan ran out: brakes, then holds.
    STOPPED = 4  # Held too long: latched until reset.


class Step(NamedTuple):
    """
    One tick's result.

    Attributes:
        tick: Number of the tick.
        phase: What the executor was doing.
        command: [D] to send; within every limit [rad, m].
        planned: [D] before limits, NaN where nothing is planned [rad, m].
        request_id: Request of the chunk that is executed, 0 for none.
        row: Fractional row of that chunk, NaN for none.
        took_over: This is the first tick of that chunk.
        delay: At a takeover, steps since the request; else -1.
        limited: The command differs from what was asked because of the limits.
        missed: The deadline passed before this command could be computed; it repeats the last.
        teleported: A simulation put the robot elsewhere, and the command begins there.
    """

    tick: int
    phase: Phase
    command: np.ndarray
    planned: np.ndarray
    request_id: int
    row: float
    took_over: bool
    delay: int
    limited: bool
    missed: bool = False
    teleported: bool = False


class Executor:
    """
    One command per tick, whatever arrives or fails to arrive.

    Args:
        config: Robot, rates and time limits.
        behaviour: Merger and corrector to begin with.
        run_id: Identifies this run; chunks of another run are rejected.
        position: [D] measured pose to hold until the first chunk [rad, m]; of no account with a
            gate.
        gate: That of the run before, so that this one goes on from its last command.
        home: [D] where to go to, through the gate, until the first chunk [rad, m].
        teleported: A simulation put the robot elsewhere, and the gate was started there.

    Attributes:
        tick: The tick that the next `step` will emit.
        phase: What the last step did.
        behaviour: Merger and corrector in force.
        gate: Through which every command goes.
        delay: Steps to condition the next request on, from the delay monitor.
        counters: How often each outcome and each kind of tick occurred.
        reasons: Outcome -> what was wrong in the last chunk that had it, with the numbers.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        behaviour: Behaviour,
        run_id: int,
        position: np.ndarray,
        gate: Gate | None = None,
        home: np.ndarray | None = None,
        teleported: bool = False,
    ) -> None:
        self.config = config
        self.run_id = run_id
        self.behaviour = behaviour
        self.tick = 0
        self.delay = 0
        self.counters: Counter[str] = Counter()
        self.reasons: dict[Outcome, str] = {}
        self._book = RequestBook(config, behaviour, run_id)
        self._content = ContentCheck(config)
        if gate is None:
            gate = Gate(config.limits, config.control_period)
            gate.start(position)
        self.gate = gate
        self._home = home
        self._teleported = teleported
        self._timeline = Timeline(
            behaviour.merger,
            config.stride,
            config.blend_s * config.control_rate_hz,
            config.action_dim,
        )
        self._endless = config.endless
        self._nothing = np.full(config.action_dim, np.nan)
        self._nothing.setflags(write=False)
        self.reset()

    def reset(self) -> None:
        """Leave a safe stop, or begin: hold the last command and ask for a first chunk."""
        self.phase = Phase.WAITING_FIRST
        self._timeline.clear()
        self._book.open()
        self._idle = 0
        self._takeover_delay = -1

    def stop(self) -> None:
        """Brake to rest and latch the safe stop; `reset` leaves it."""
        self.phase = Phase.STOPPED
        self._timeline.clear()
        self._book.close()

    def set_behaviour(self, behaviour: Behaviour) -> None:
        """Ask with this behaviour from now on; it is in force when the first answer takes over."""
        self._book.next_behaviour = behaviour

    # --- requests and chunks --------------------------------------------------------------------

    def poll(self) -> ChunkRequest | None:
        """Return the request to make at this tick, if any."""
        if not self._book.due(self.tick, self._timeline.covers):
            return None
        previous = self._timeline.upcoming(self.tick, self._book.rows_to_tell)
        if len(previous):  # As a policy knows angles, within a turn of 0 at first.
            previous = moved(previous, previous[0], np.zeros_like(previous[0]), self._endless)
        return self._book.ask(self.tick, previous, self.delay)

    def admit(self, chunk: ActionChunk) -> Admitted:
        """Check a chunk's content and refine it; as slow as the merger likes."""
        return self._book.admit(chunk)

    def push(self, chunk: ActionChunk | Admitted) -> Outcome:
        """Take a chunk over, or name why not; counted either way."""
        admitted = chunk if isinstance(chunk, Admitted) else self.admit(chunk)
        outcome, takeover = self._book.answer(admitted, self.tick)
        self.counters[outcome.name.lower()] += 1
        if admitted.reason:
            self.reasons[admitted.outcome] = admitted.reason
        if takeover is not None:
            self.behaviour = takeover.behaviour
            self._timeline.join(self._turned(takeover.plan), takeover.behaviour.merger)
            self._takeover_delay = takeover.delay
            if takeover.late:
                self.counters['late'] += 1
        return outcome

    def _turned(self, plan: Plan) -> Plan:
        """Return a plan whose continuous joints go on from the last command the shorter way."""
        if not self._endless.any():
            return plan
        rows = smooth(plan.rows, self._endless)
        row = min(max(round(plan.row_at(plan.takeover)), 0), len(rows) - 1)
        rows = moved(rows, rows[row], self.gate.position, self._endless)
        return replace(plan, rows=rows)

    # --- commands -------------------------------------------------------------------------------

    def step(self, observation: Mapping[str, np.ndarray] | None = None) -> Step:
        """Emit this tick's command; `observation` is for the corrector."""
        if self._timeline and not self._resting:
            around = self._timeline.around(self.tick)
            if around[1, 0] == around[1, 0]:  # Not NaN: something is planned.
                return self._execute(around, observation)
        return self._rest()

    @property
    def _resting(self) -> bool:
        return self._book.waiting or self.phase is Phase.STOPPED

    def _execute(self, around: np.ndarray, observation: Mapping[str, np.ndarray] | None) -> Step:
        # An old plan goes on after a rest if what was asked for meanwhile is refused.
        resumed = self.phase is Phase.WAITING and self._takeover_delay < 0
        if resumed or self.phase in (Phase.WAITING_FIRST, Phase.HOLDING):
            self._timeline.blend_from(self.gate.position, self.tick)
            around = self._timeline.around(self.tick)
        before, planned, after = around
        advance, then = planned - before, after - planned
        if advance[0] != advance[0]:  # NaN: it begins here.
            advance = then  # NaN as well if it is a single row: the gate takes it for rest.
        if then[0] != then[0]:
            then = advance
        plan = self._timeline.newest
        row = plan.row_at(self.tick)
        target = self._corrected(planned, plan, observation)
        command = self.gate.follow(target, advance, then)
        self.phase = Phase.EXECUTING
        self._idle = 0
        limited = bool(np.abs(command - target).max() > 1e-9)
        return self._emit(command, planned, plan.request_id, row, limited)

    def _corrected(
        self, planned: np.ndarray, plan: Plan, observation: Mapping[str, np.ndarray] | None
    ) -> np.ndarray:
        """Return the corrected action, as planned if the corrector fails."""
        if type(self.behaviour.corrector) is Corrector:  # It corrects nothing.
            return planned
        horizon = min(self.config.horizon, len(plan.rows))  # Committed rows may stand before.
        row = max(plan.row_at(self.tick) - (len(plan.rows) - horizon), 0.0)
        turned = measured(planned, observation, self._endless)  # As correctors know angles.
        try:
            target = self.behaviour.corrector.correct(turned, row, horizon, observation)
            target = target + (planned - turned)
        except Exception:  # Whatever it is, the robot must be commanded.
            self.counters['correction_failed'] += 1
            return planned
        if target is planned:
            return planned
        if not np.isfinite(target).all():
            self.counters['correction_not_finite'] += 1
            return planned
        if not self._content.inside(target):
            self.counters['correction_over_limits'] += 1
            return planned
        return target

    def _rest(self) -> Step:
        if self.phase is not Phase.STOPPED:
            if not self._timeline:
                self.phase = Phase.WAITING_FIRST
            else:
                self._idle += 1
                self.phase = Phase.WAITING if self._book.waiting else Phase.HOLDING
                if self._idle > self.config.hold_timeout_s * self.config.control_rate_hz:
                    self.stop()
        if self.phase is Phase.HOLDING:
            self.counters['starved_ticks'] += 1
        if self.phase is Phase.WAITING_FIRST and self._home is not None:
            command = self.gate.follow(self._home, np.zeros_like(self._home))
        else:
            command = self.gate.brake()
        return self._emit(command, self._nothing, 0, math.nan, limited=False)

    def skip(self) -> Step:
        """
        Account for a tick whose deadline passed before it could be computed.

        Nothing is sent: the next command is one period's worth away from the last that was.
        """
        self.counters['missed_ticks'] += 1
        self.gate.silence(1)
        tick, self.tick = self.tick, self.tick + 1
        return Step(
            tick, self.phase, self.gate.position, self._nothing, 0, math.nan,
            took_over=False, delay=-1, limited=False, missed=True,
        )  # fmt: skip

    def withdraw(self, step: Step, joints: np.ndarray | bool = True) -> Step:
        """Account for a command that no driver got, or not those of some `joints` [D]."""
        self.gate.lost(joints)
        self._teleported |= step.teleported  # The next command is the first, for some at least.
        step = step._replace(command=self.gate.position)
        if not np.all(joints):
            return step
        self.counters['missed_ticks'] += 1
        return step._replace(missed=True, teleported=False)

    def lose_time(self, silent: int) -> None:
        """Account for a clock that was set or a long silence of so many ticks: no plan holds."""
        self.gate.silence(silent)
        if self.phase is not Phase.STOPPED:
            self.reset()

    def _emit(
        self, command: np.ndarray, planned: np.ndarray, request_id: int, row: float, limited: bool
    ) -> Step:
        self.counters['limited_ticks'] += limited
        delay, self._takeover_delay = self._takeover_delay, -1
        teleported, self._teleported = self._teleported, False
        tick, self.tick = self.tick, self.tick + 1
        return Step(
            tick, self.phase, command, planned, request_id, row,
            took_over=delay >= 0, delay=delay, limited=limited, teleported=teleported,
        )  # fmt: skip
