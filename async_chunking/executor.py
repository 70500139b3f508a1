# SPDX-License-Identifier: Apache-2.0
"""
The executor: which command goes out at this tick?

Pure: it reads no clock, draws no random number and touches no network, so that the node, the
closed-loop bench and the tests drive the same object. One tick is::

    executor.push(chunk)      # any that arrived
    request = executor.poll() # a question for the policy, every execution horizon
    step = executor.step()    # exactly one command

The seam of all strategies is here and nowhere else: the old plan is executed until the new chunk
takes over at the row that belongs to now, and the past is never replayed.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest, Plan
from async_chunking.correctors import Corrector
from async_chunking.mergers import Merger
from async_chunking.safety import Limiter, Limits
from async_chunking.timeline import Timeline

_NEIGHBOURS = np.array([-1.0, 0.0, 1.0])
_MAX_OPEN = 64  # Unanswered requests that are remembered; older ones count as never made.


class Phase(enum.IntEnum):
    """What the executor is doing; the values are those of ControlStep.phase."""

    WAITING_FIRST = 0  # Holds the measured pose until the first chunk arrives.
    EXECUTING = 1
    WAITING = 2  # Rests on purpose while a chunk is computed (merger `wait`).
    HOLDING = 3  # The plan ran out: brakes, then holds.
    STOPPED = 4  # Held too long: latched until reset.


class Outcome(enum.Enum):
    """What became of a chunk; the value is the sentence for people."""

    ACCEPTED = 'The chunk takes over.'
    REFUSED = 'The policy node refused the request; its reason is in the chunk.'
    STOPPED = 'The executor is in a safe stop and takes no chunk until it is reset.'
    WRONG_RUN = 'The chunk answers a request of another run.'
    FUTURE = 'The chunk is for a tick that is not yet reached.'
    UNREQUESTED = 'No request with this id and tick was made.'
    DUPLICATE = 'This request was answered before.'
    OUT_OF_ORDER = 'A newer chunk already took over.'
    WRONG_SIZE = 'The rows or columns do not fit the horizon or the robot.'
    WRONG_JOINTS = 'The joint names are not those of the robot, in its order.'
    NOT_FINITE = 'The chunk holds NaN or infinity.'
    OVER_LIMITS = 'A row lies outside the position limits by more than the tolerance.'
    FLOOD = 'More chunks arrived than one can look at.'
    EXPIRED = 'The chunk came too late: none of its rows is left, or it was asked for long ago.'


# Counters of chunks that were turned away for what they are, not for being late.
REJECTIONS = tuple(
    outcome.name.lower()
    for outcome in Outcome
    if outcome not in (Outcome.ACCEPTED, Outcome.EXPIRED)
)


@dataclass(frozen=True)
class ExecutorConfig:
    """
    What the executor must know of robot and policy.

    Attributes:
        limits: Enforced on every command.
        joint_names: In command order, as many as the limits have joints.
        horizon: Rows of the policy's chunks [steps].
        execution_horizon: Steps between two requests, 1 to `horizon`.
        control_rate_hz: Commands per second.
        policy_rate_hz: Rows of a chunk per second, at most `control_rate_hz`.
        request_timeout_s: After this the question is asked again [s].
        hold_timeout_s: A hold longer than this becomes a latched safe stop, and an answer older
            than this begins nothing any more [s].
        blend_s: Time in which the first chunk, or the first after a hold, is blended in [s].
        limit_tolerance: How far outside the position limits a row may lie and still be clipped
            rather than its chunk rejected, as a fraction of the joint's range.

    Raises:
        ValueError: A value is outside its range; the message names it.
    """

    limits: Limits
    joint_names: tuple[str, ...]
    horizon: int
    execution_horizon: int
    control_rate_hz: float = 50.0
    policy_rate_hz: float = 50.0
    request_timeout_s: float = 1.0
    hold_timeout_s: float = 10.0
    blend_s: float = 0.5
    limit_tolerance: float = 0.1

    def __post_init__(self) -> None:
        _require(
            len(self.joint_names) == len(self.limits),
            f'joint_names has {len(self.joint_names)} names for {len(self.limits)} joints',
        )
        _require(self.horizon >= 1, f'horizon must be at least 1, got {self.horizon}')
        _require(
            1 <= self.execution_horizon <= self.horizon,
            f'execution_horizon must be 1 to horizon = {self.horizon}, '
            f'got {self.execution_horizon}',
        )
        _require(
            0.0 < self.policy_rate_hz <= self.control_rate_hz < math.inf,
            f'policy_rate_hz must be above 0 and at most control_rate_hz = '
            f'{self.control_rate_hz}, got {self.policy_rate_hz}',
        )
        for name in ('request_timeout_s', 'hold_timeout_s', 'blend_s', 'limit_tolerance'):
            value = getattr(self, name)
            _require(0.0 <= value < math.inf, f'{name} must be finite and >= 0, got {value}')

    @property
    def action_dim(self) -> int:
        """Action dimensions, D."""
        return len(self.limits)

    @property
    def stride(self) -> float:
        """Ticks per policy step."""
        return self.control_rate_hz / self.policy_rate_hz

    @property
    def control_period(self) -> float:
        """Seconds per tick [s]."""
        return 1.0 / self.control_rate_hz


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Behaviour:
    """The two axes of a strategy that the executor runs; the sampler's name is only passed on."""

    name: str
    merger: Merger
    corrector: Corrector


@dataclass(frozen=True, slots=True)
class Step:
    """
    One tick's result.

    Attributes:
        tick: Its number.
        phase: What the executor was doing.
        command: [D] to send; within every limit [rad, m].
        planned: [D] before limits, NaN where nothing is planned [rad, m].
        request_id: Of the chunk that is executed, 0 for none.
        row: Fractional row of that chunk, NaN for none.
        took_over: This is the first tick of that chunk.
        delay: At a takeover, steps since the request; else -1.
        limited: The command differs from what was asked because of the limits.
        missed: The deadline passed before this command could be computed; it repeats the last.
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


@dataclass(frozen=True)
class Admitted:
    """A chunk whose content was checked and refined, off the command thread."""

    chunk: ActionChunk
    rows: np.ndarray
    outcome: Outcome


class Executor:
    """
    One command per tick, whatever arrives or fails to arrive.

    `admit` may run in another thread; everything else belongs to the command thread.

    Args:
        config: Robot, rates and time limits.
        behaviour: Merger and corrector to begin with.
        run_id: Identifies this run; chunks of another run are rejected.
        position: [D] measured pose to hold until the first chunk [rad, m].
        velocity: [D] to come to rest from first, if the robot moves [rad/s, m/s].

    Attributes:
        tick: The tick that the next `step` will emit.
        delay: Steps to condition the next request on, from the delay monitor.
        counters: How often each outcome and each kind of tick occurred.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        behaviour: Behaviour,
        run_id: int,
        position: np.ndarray,
        velocity: np.ndarray | float = 0.0,
    ) -> None:
        self.config = config
        self.run_id = run_id
        self.tick = 0
        self.delay = 0
        self.counters: Counter[str] = Counter()
        self.phase = Phase.WAITING_FIRST
        self._limiter = Limiter(config.limits, config.control_period)
        self._timeline = Timeline(
            behaviour.merger,
            config.stride,
            config.blend_s * config.control_rate_hz,
            config.action_dim,
        )
        self._behaviour = behaviour
        self._next_behaviour = behaviour
        self._request_id = 0
        self._accepted_id = 0
        self._nothing = np.full(config.action_dim, np.nan)
        self._nothing.setflags(write=False)
        slack = config.limit_tolerance * (config.limits.upper - config.limits.lower)
        self._lowest = config.limits.lower - slack
        self._highest = config.limits.upper + slack
        # How old an answer to a robot at rest may be [ticks].
        longest = max(config.hold_timeout_s, config.request_timeout_s)
        self._oldest = longest * config.control_rate_hz
        self._limiter.start(position, velocity)
        self.reset()

    def reset(self) -> None:
        """Leave a safe stop, or begin: hold the last command and ask for a first chunk."""
        self.phase = Phase.WAITING_FIRST
        self._timeline.clear()
        self._issued: dict[int, _Issued] = {}
        self._outstanding: int | None = None
        self._retry = self._refused = False
        self._mark = -math.inf  # Tick from which the execution horizon counts.
        self._idle = 0
        self._takeover_delay = -1

    def stop(self) -> None:
        """Brake to rest and latch the safe stop; `reset` leaves it."""
        self.phase = Phase.STOPPED
        self._timeline.clear()
        self._issued.clear()
        self._outstanding = None

    def set_behaviour(self, behaviour: Behaviour) -> None:
        """Ask with this behaviour from now on; it is in force when the first answer takes over."""
        self._next_behaviour = behaviour

    @property
    def velocity(self) -> np.ndarray:
        """Velocity [D] of the last command [rad/s, m/s]."""
        return self._limiter.velocity

    @property
    def behaviour(self) -> Behaviour:
        """Merger and corrector in force."""
        return self._behaviour

    # --- chunks ---------------------------------------------------------------------------------

    def admit(self, chunk: ActionChunk) -> Admitted:
        """Check a chunk's content and refine it; thread-safe, and as slow as the merger likes."""
        outcome = self._inspect(chunk)
        rows = chunk.actions
        issued = self._issued.get(chunk.request_id)
        if outcome is Outcome.ACCEPTED and issued is not None:
            rows = issued.behaviour.merger.prepare(rows)
        return Admitted(chunk, rows, outcome)

    def _inspect(self, chunk: ActionChunk) -> Outcome:
        if chunk.refusal:
            return Outcome.REFUSED
        rows, columns = chunk.actions.shape
        # A sampler may answer with the committed prefix in front of a whole chunk (VLASH).
        if columns != self.config.action_dim or not 1 <= rows <= 2 * self.config.horizon:
            return Outcome.WRONG_SIZE
        if chunk.joint_names and chunk.joint_names != self.config.joint_names:
            return Outcome.WRONG_JOINTS
        if not np.isfinite(chunk.actions).all():
            return Outcome.NOT_FINITE
        if (chunk.actions < self._lowest).any() or (chunk.actions > self._highest).any():
            return Outcome.OVER_LIMITS
        return Outcome.ACCEPTED

    def push(self, chunk: ActionChunk | Admitted) -> Outcome:
        """Take a chunk over, or name why not; counted either way."""
        admitted = chunk if isinstance(chunk, Admitted) else self.admit(chunk)
        outcome = self._place(admitted.chunk)
        if outcome is Outcome.ACCEPTED:
            outcome = admitted.outcome
            if outcome is Outcome.ACCEPTED:
                outcome = self._take_over(admitted)
            if outcome is Outcome.ACCEPTED:
                self._outstanding = None
        # A bad answer is asked again at once, a refusal only after the request timeout, or with
        # another behaviour.
        if outcome not in (Outcome.ACCEPTED, Outcome.WRONG_RUN):
            mine = self._outstanding == admitted.chunk.request_id
            refused = outcome is Outcome.REFUSED
            self._refused |= mine and refused
            self._retry |= mine and not refused
        self.counters[outcome.name.lower()] += 1
        return outcome

    def _place(self, chunk: ActionChunk) -> Outcome:
        """Decide by ids and ticks alone whether this chunk answers an open request."""
        if chunk.run_id != self.run_id:
            return Outcome.WRONG_RUN
        if self.phase is Phase.STOPPED:
            return Outcome.STOPPED
        if chunk.tick > self.tick:
            return Outcome.FUTURE
        issued = self._issued.get(chunk.request_id)
        if issued is None:
            if chunk.request_id == self._accepted_id:
                return Outcome.DUPLICATE
            if chunk.request_id < self._accepted_id:
                return Outcome.OUT_OF_ORDER
            return Outcome.UNREQUESTED
        return Outcome.ACCEPTED if issued.tick == chunk.tick else Outcome.UNREQUESTED

    def _take_over(self, admitted: Admitted) -> Outcome:
        chunk = admitted.chunk
        issued = self._issued[chunk.request_id]
        origin = float(self.tick if issued.fresh else issued.tick)
        plan = Plan(origin, self.config.stride, admitted.rows, chunk.request_id)
        merger = issued.behaviour.merger
        old = self.tick - issued.tick > self._oldest
        if old if issued.unanchored else plan.end <= self.tick:
            return Outcome.EXPIRED
        self._timeline.join(plan, self.tick, merger)
        self._behaviour = issued.behaviour
        self._accepted_id = chunk.request_id
        self._issued = {
            request_id: other
            for request_id, other in self._issued.items()
            if request_id > chunk.request_id and not (issued.unanchored and other.unanchored)
        }
        self._takeover_delay = self.steps_since(issued.tick)
        if self._takeover_delay > chunk.conditioned_delay and not (issued.fresh or merger.waits):
            self.counters['late'] += 1
        if merger.waits:
            self._mark = self.tick
        return Outcome.ACCEPTED

    def steps_since(self, tick: int) -> int:
        """Return the policy steps from `tick` to now, rounded up: the delay of a takeover."""
        return math.ceil((self.tick - tick) / self.config.stride - 1e-9)

    # --- requests -------------------------------------------------------------------------------

    def poll(self) -> ChunkRequest | None:
        """Return the request to make at this tick, if any."""
        if self.phase is Phase.STOPPED:
            return None
        if self._outstanding is not None:
            timeout = self.config.request_timeout_s * self.config.control_rate_hz
            asked = self._issued[self._outstanding]
            changed = self._refused and asked.behaviour is not self._next_behaviour
            if not (self._retry or changed) and self.tick - asked.tick < timeout:
                return None
        elif self._timeline.covers(self.tick) and self.tick - self._mark < self._interval - 1e-9:
            return None
        return self._request()

    @property
    def _interval(self) -> float:
        return self.config.execution_horizon * self.config.stride

    def _request(self) -> ChunkRequest:
        behaviour = self._next_behaviour
        # A robot that waits executes none of the old plan.
        rows = 0 if behaviour.merger.waits else self.config.horizon
        previous = self._timeline.upcoming(self.tick, rows)
        self._request_id += 1
        issued = _Issued(self.tick, behaviour, fresh=len(previous) == 0)
        self._issued[self._request_id] = issued
        self._issued.pop(self._request_id - _MAX_OPEN, None)
        self._outstanding = self._request_id
        self._retry = self._refused = False
        self._mark = self.tick
        delay = 0 if issued.fresh else self.delay
        boundary = Boundary(previous, delay, self.config.execution_horizon)
        return ChunkRequest(self.run_id, self._request_id, self.tick, behaviour.name, boundary)

    # --- commands -------------------------------------------------------------------------------

    def step(self, observation: Mapping[str, np.ndarray] | None = None) -> Step:
        """Emit this tick's command; `observation` is for the corrector."""
        if self._timeline and not self._resting():
            around = self._timeline.actions(self.tick + _NEIGHBOURS)
            if around[1, 0] == around[1, 0]:  # Not NaN: something is planned.
                return self._execute(around, observation)
        return self._rest()

    def _resting(self) -> bool:
        return self._waiting() or self.phase is Phase.STOPPED

    def _waiting(self) -> bool:
        open_ = self._outstanding
        return open_ is not None and self._issued[open_].behaviour.merger.waits

    def _execute(self, around: np.ndarray, observation: Mapping[str, np.ndarray] | None) -> Step:
        # An old plan goes on after a rest if what was asked for meanwhile is refused.
        resumed = self.phase is Phase.WAITING and self._takeover_delay < 0
        if resumed or self.phase in (Phase.WAITING_FIRST, Phase.HOLDING):
            self._timeline.blend_from(self._limiter.position, self.tick)
            around = self._timeline.actions(self.tick + _NEIGHBOURS)
        before, planned, after = around
        advance = planned - before if before[0] == before[0] else after - planned
        if advance[0] != advance[0]:  # NaN: a plan of a single row.
            advance = np.zeros_like(planned)
        plan = self._timeline.newest
        row = plan.row_at(self.tick)
        target = self._corrected(planned, row, len(plan.rows), observation)
        command = self._limiter.follow(target, advance)
        self.phase = Phase.EXECUTING
        self._idle = 0
        limited = bool(np.abs(command - target).max() > 1e-9)
        return self._emit(command, planned, plan.request_id, row, limited)

    def _corrected(
        self,
        planned: np.ndarray,
        row: float,
        horizon: int,
        observation: Mapping[str, np.ndarray] | None,
    ) -> np.ndarray:
        """Return the corrected action, as planned if the corrector fails."""
        try:
            target = self._behaviour.corrector.correct(planned, row, horizon, observation)
        except Exception:  # Whatever it is, the robot must be commanded.
            self.counters['correction_failed'] += 1
            return planned
        if not np.isfinite(target).all():
            self.counters['correction_not_finite'] += 1
            return planned
        return target

    def _rest(self) -> Step:
        if self.phase is not Phase.STOPPED:
            if not self._timeline:
                self.phase = Phase.WAITING_FIRST
            else:
                self._idle += 1
                self.phase = Phase.WAITING if self._waiting() else Phase.HOLDING
                if self._idle > self.config.hold_timeout_s * self.config.control_rate_hz:
                    self.stop()
        if self.phase is Phase.HOLDING:
            self.counters['starved_ticks'] += 1
        return self._emit(self._limiter.brake(), self._nothing, 0, math.nan, limited=False)

    def skip(self) -> Step:
        """
        Account for a tick whose deadline passed before it could be computed.

        Nothing is sent and the limiter stands still, so that the next command is one period's
        worth away from the last one that the robot received, however long the gap.
        """
        self.counters['missed_ticks'] += 1
        tick, self.tick = self.tick, self.tick + 1
        return Step(
            tick, self.phase, self._limiter.position, self._nothing, 0, math.nan,
            took_over=False, delay=-1, limited=False, missed=True,
        )  # fmt: skip

    def _emit(
        self, command: np.ndarray, planned: np.ndarray, request_id: int, row: float, limited: bool
    ) -> Step:
        self.counters['limited_ticks'] += limited
        delay, self._takeover_delay = self._takeover_delay, -1
        tick, self.tick = self.tick, self.tick + 1
        return Step(
            tick, self.phase, command, planned, request_id, row,
            took_over=delay >= 0, delay=delay, limited=limited,
        )  # fmt: skip
