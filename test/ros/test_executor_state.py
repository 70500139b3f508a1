# SPDX-License-Identifier: Apache-2.0
"""What the executor node says of the last second: the cause, not what followed of it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from async_chunking.executor import Phase
from async_chunking.nodes import diagnostics, executor_state
from async_chunking.nodes.executor_state import ExecutorState, Situation


class Second:
    """What there is to judge, with nothing wrong in it."""

    def __init__(self, execution_horizon: int = 8, clock: bool | None = None) -> None:
        config = SimpleNamespace(
            control_period=0.02, execution_horizon=execution_horizon, horizon=16
        )
        self._state = ExecutorState(config, ('/stop', '/reset'), 0.5)
        self._situation = Situation(0.0, '', clock, '')
        self.intake = SimpleNamespace(counters=Counter(), age=0.0, reasons={}, delay=0)
        self.status = SimpleNamespace(
            counters={}, run_id=1, tick=7, phase=Phase.EXECUTING, trouble='', strategy='paint'
        )

    def judged(self) -> tuple[bytes, str]:
        return self._state.judge(self.status, self.intake, self._situation)


def test_what_is_wrong_in_a_chunk_comes_before_what_followed_of_it() -> None:
    """A chunk outside the limits is asked for again, and its answer may come twice."""
    reason = 'row 3 has finger at 0.6, its limits are 0 to 0.04'

    def told(**counts: int) -> str:
        second = Second()
        second.intake.reasons = {'over_limits': reason}
        second.status.counters = counts
        level, sentence = second.judged()
        assert level == diagnostics.WARN
        return sentence

    assert told(unrequested=2, over_limits=30) == f'over_limits (30): {reason}'
    assert told(unrequested=2).startswith('unrequested (2): No request')
    assert told(correction_over_limits=7).startswith('correction_over_limits (7): corrected actio')


def test_what_was_told_of_is_not_told_again() -> None:
    second = Second()
    second.status.counters = {'missed_ticks': 3}
    assert second.judged() == (diagnostics.WARN, '3 ticks missed, 0 ticks without a plan')
    assert second.judged() == (diagnostics.OK, 'executing')


def test_a_delay_that_does_not_fit_is_told_with_its_remedy() -> None:
    def told(delay: int, strategy: str = 'paint', execution_horizon: int = 8) -> str:
        second = Second(execution_horizon)
        second.intake.delay, second.status.strategy = delay, strategy
        level, sentence = second.judged()
        assert (level == diagnostics.OK) == (sentence == 'executing')
        return sentence

    assert told(8) == 'executing'
    assert told(9, 'sync') == told(40, 'sync') == 'executing'  # It rests, as the remedy says.
    assert told(9).endswith('rest meanwhile: strategy sync')
    assert told(5, execution_horizon=12).endswith('set execution_horizon between 5 and 11')


@pytest.mark.parametrize(('clock', 'who'), [(None, 'the sender'), (True, '/clock')])
def test_a_stream_that_stands_still_is_an_error(monkeypatch, clock: bool | None, who: str) -> None:
    time = SimpleNamespace(now=100.0, monotonic=lambda: time.now)
    monkeypatch.setattr(executor_state, 'time', time)
    second = Second(clock=clock)
    assert second.judged() == (diagnostics.OK, 'executing')
    time.now += 2.0
    told = (diagnostics.ERROR, f'{who} stands still: no command for 2.0 s')
    assert second.judged() == told
    second.status.tick += 1
    assert second.judged() == (diagnostics.OK, 'executing')
