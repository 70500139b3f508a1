# SPDX-License-Identifier: Apache-2.0
"""What the executor node says of itself on /diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from async_chunking.delay import feasible
from async_chunking.executor import ExecutorConfig, Outcome, Phase
from async_chunking.nodes import diagnostics
from async_chunking.nodes.intake import MEASURED, Intake
from async_chunking.nodes.sender.values import Status
from async_chunking.strategies import resolve

_SILENT_S = 1.0  # Without a tick [s].
_CORRECTIONS = {  # Counter -> what became of corrections, which no chunk is.
    'correction_failed': 'the corrector raised an error; actions go out as planned',
    'correction_not_finite': 'the corrector answers NaN or infinity; actions go out as planned',
    'correction_over_limits': 'corrected actions lie beyond the limits and go out as planned',
}
_LEFT_STOPPED_S = 5.0  # Longer than between two episodes [s].


class Situation(NamedTuple):
    """What the node knows beside its intake and its sender.

    Attributes:
        stopped_at: Time at which ~/stop stopped it, 0 if it did not [s].
        refusal: What the policy said last when it could not serve a request.
        clock: Whether a simulation's clock was heard; None without one.
        trouble: What a driver that is asked did not do.
    """

    stopped_at: float
    refusal: str
    clock: bool | None
    trouble: str


class ExecutorState:
    """Judges the last second.

    Args:
        config: Settings of the executor.
        services: Names of those that stop and reset.
        stale_s: Older joint positions are not trusted [s].
    """

    def __init__(self, config: ExecutorConfig, services: Sequence[str], stale_s: float) -> None:
        self._config = config
        self._stop, self._reset = services
        self._stale_s = stale_s
        self._before: Counter[str] = Counter()
        self._faults = 0  # Of the joint measurements, those that were told of.
        self._tick, self._moved = (0, 0), time.monotonic()

    def values(self, status: Status, intake: Intake) -> dict[str, Any]:
        """Return every counter by name, and where the run is."""
        values: dict[str, Any] = {outcome.name.lower(): 0 for outcome in Outcome}
        values |= {'unreadable': 0, **self._counters(status, intake)}
        if status.run_id:
            values |= {
                'run_id': status.run_id,
                'tick': status.tick,
                'phase': Phase(status.phase).name,
                'strategy': status.strategy,
            }
        values['delay'] = intake.delay
        values['measured_age_s'] = round(intake.age, 4)
        values['joint_states_faults'] = intake.observations.faults[MEASURED]
        return values

    def judge(self, status: Status, intake: Intake, situation: Situation) -> tuple[bytes, str]:
        """Return level and sentence for the last second."""
        counters = self._counters(status, intake)
        new, self._before = counters - self._before, counters
        return (
            self._without_stream(status, intake, situation)
            or self._without_pose(intake)
            or self._at_rest(status, situation)
            or self._trouble(new, status, intake, situation)
            or (diagnostics.OK, Phase(status.phase).name.lower())
        )

    @staticmethod
    def _counters(status: Status, intake: Intake) -> Counter[str]:
        return Counter(status.counters) + intake.counters

    def _without_stream(
        self, status: Status, intake: Intake, situation: Situation
    ) -> tuple[bytes, str] | None:
        now, tick = time.monotonic(), (status.run_id, status.tick)
        if tick != self._tick:
            self._tick, self._moved = tick, now
        if situation.clock is False:
            return diagnostics.ERROR, 'use_sim_time is set, but nothing came on /clock yet'
        if not status.run_id:
            observed = intake.observations
            why = f'{observed.place(MEASURED)}: {observed.silence(MEASURED)}'
            if intake.age <= self._stale_s:
                why = f'a pose to believe: {intake.doubt}'
            return diagnostics.ERROR, f'waiting for {why}'
        if now - self._moved > max(_SILENT_S, 2.0 * self._config.control_period):
            what = 'the sender stands still' if situation.clock is None else '/clock stands still'
            return diagnostics.ERROR, f'{what}: no command for {now - self._moved:.1f} s'
        return None

    def _without_pose(self, intake: Intake) -> tuple[bytes, str] | None:
        if not intake.age > self._stale_s:
            return None
        faults = intake.observations.faults[MEASURED]
        broken, self._faults = faults > self._faults, faults
        why = f'{intake.observations.place(MEASURED)} has gone silent'
        return diagnostics.ERROR, intake.observations.reasons[MEASURED] if broken else why

    def _at_rest(self, status: Status, situation: Situation) -> tuple[bytes, str] | None:
        if status.phase != Phase.STOPPED:
            return None
        if not situation.stopped_at:
            sentence = f'safe stop: the plan ran out for too long; call {self._reset}'
            return diagnostics.ERROR, sentence
        left_so = time.monotonic() - situation.stopped_at > _LEFT_STOPPED_S
        level = diagnostics.WARN if left_so else diagnostics.OK
        return level, f'stopped by {self._stop}; call {self._reset}'

    def _trouble(
        self, new: Counter[str], status: Status, intake: Intake, situation: Situation
    ) -> tuple[bytes, str] | None:
        reasons = {o.name.lower(): o.value for o in Outcome if o is not Outcome.ACCEPTED}
        reasons |= {'refused': situation.refusal, 'publish_errors': status.trouble}
        reasons |= _CORRECTIONS
        # What is wrong in a chunk comes before what followed of it.
        for name, why in {**intake.reasons, **reasons, **intake.reasons}.items():
            if new[name]:
                return diagnostics.WARN, f'{name} ({new[name]}): {why}'
        if situation.trouble:
            return diagnostics.WARN, situation.trouble
        if new['missed_ticks'] or new['starved_ticks']:
            return diagnostics.WARN, (
                f'{new["missed_ticks"]} ticks missed, {new["starved_ticks"]} ticks without a plan'
            )
        delay, execution_horizon = intake.delay, self._config.execution_horizon
        rests = bool(status.strategy) and resolve(status.strategy).rests
        if not (rests or feasible(delay, execution_horizon, self._config.horizon)):
            most = self._config.horizon - delay
            remedy = (
                f'set execution_horizon between {delay} and {most}'
                if delay <= most
                else 'make the policy quicker, or rest meanwhile: strategy sync'
            )
            return diagnostics.WARN, (
                f'infeasible: delay {delay} <= execution_horizon {execution_horizon} <= horizon '
                f'{self._config.horizon} - delay does not hold; {remedy}'
            )
        return None
