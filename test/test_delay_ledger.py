# SPDX-License-Identifier: Apache-2.0
"""Where the time of a chunk went, from the executor's ticks and the policy's durations."""

from __future__ import annotations

import math

import pytest

from async_chunking.delay_ledger import DelayLedger, steps_between


def test_the_total_is_counted_in_ticks_and_split_by_the_durations():
    ledger = DelayLedger()
    assert ledger.request(1, 1, tick=100, control_rate_hz=50.0)
    ledger.answer(1, 1, observation_age=0.01, waiting=0.005, inference=0.1)
    takeover = ledger.takeover(1, 1, tick=107)
    assert takeover.total == pytest.approx(0.14)
    assert (takeover.observation_age, takeover.waiting, takeover.inference) == (0.01, 0.005, 0.1)
    assert takeover.transport == pytest.approx(0.035)


@pytest.mark.parametrize(
    ('takeover', 'stride', 'delay'),
    [(10, 1.0, 0), (13, 1.0, 3), (14, 50 / 15, 2), (20, 50 / 15, 3), (21, 50 / 15, 4)],
)
def test_a_delay_is_counted_in_policy_steps_rounded_up(takeover, stride, delay):
    """4 ticks of 20 ms are 1.2 steps of 67 ms; 10 ticks are three, not four by rounding."""
    assert steps_between(10, takeover, stride) == delay


def test_without_the_answer_only_the_total_is_known():
    ledger = DelayLedger()
    ledger.request(1, 1, tick=0, control_rate_hz=50.0)
    takeover = ledger.takeover(1, 1, tick=2)
    assert takeover.total == pytest.approx(0.04)
    assert math.isnan(takeover.inference)


def test_only_the_first_request_of_a_run_begins_it():
    ledger = DelayLedger()
    begins = [ledger.request(run, i, 0, 50.0) for run, i in ((1, 1), (1, 2), (2, 1))]
    assert begins == [True, False, True]


def test_what_was_never_asked_or_belongs_to_another_run_is_not_measured():
    ledger = DelayLedger()
    ledger.request(1, 1, tick=0, control_rate_hz=50.0)
    ledger.answer(2, 1, 0.0, 0.0, 0.0)
    assert ledger.takeover(2, 1, tick=5) is None
    assert ledger.takeover(1, 9, tick=5) is None
    assert math.isnan(ledger.takeover(1, 1, tick=5).inference)
    assert ledger.takeover(1, 1, tick=5) is None


def test_a_peer_with_an_impossible_rate_is_ignored():
    ledger = DelayLedger()
    ledger.request(1, 1, tick=0, control_rate_hz=0.0)
    assert ledger.takeover(1, 1, tick=5) is None


def test_memory_does_not_grow_with_unanswered_requests():
    ledger = DelayLedger()
    for number in range(1, 1000):
        ledger.request(1, number, number, 50.0)
    ledger.takeover(1, 999, tick=1000)
    assert ledger.takeover(1, 5, tick=1000) is None
    assert not ledger._open


def test_a_peer_that_says_impossible_times_makes_none_negative():
    ledger = DelayLedger()
    ledger.request(1, 1, tick=9, control_rate_hz=50.0)
    assert ledger.takeover(1, 1, tick=5).total == 0.0
    ledger.request(1, 2, tick=9, control_rate_hz=50.0)
    ledger.answer(1, 2, observation_age=0.0, waiting=0.0, inference=1.0)
    assert ledger.takeover(1, 2, tick=10).transport == 0.0
