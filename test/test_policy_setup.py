# SPDX-License-Identifier: Apache-2.0
"""A policy is quick enough or not, also on a machine that is busy while everything starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip('torch')

from async_chunking.bringup.parameters import PolicyParameters
from async_chunking.nodes import policy_setup
from async_chunking.policies.opening import open_policy
from async_chunking.policies.responder import Responder
from async_chunking.policies.source import PolicySpec
from async_chunking.policies.strategy_fit import FitError
from async_chunking.robot.embodiment import load

QUICK_S, SLOW_S = 0.1, 0.5  # With 8 of 16 rows at 50 Hz between requests, 0.16 s are left.


@pytest.fixture
def start(monkeypatch) -> Callable[..., policy_setup.ReadyPolicy]:
    """Return a function that makes the ViperX's policy ready while its answers take some time."""

    def start(
        *seconds: float, latency_s: float = 0.0, measure: bool = True
    ) -> policy_setup.ReadyPolicy:
        taken = iter(seconds)
        monkeypatch.setattr(Responder, 'warm_up', lambda *_: next(taken))
        robot = load('viperx', sim=True)
        parameters = PolicyParameters(embodiment='viperx', strategy='naive')
        source = open_policy(PolicySpec(robot, parameters))
        return policy_setup.make_ready(source, parameters, robot, latency_s, measure)

    return start


def test_a_machine_that_is_busy_for_a_moment_is_waited_for(start) -> None:
    start(SLOW_S, SLOW_S, QUICK_S)


def test_a_policy_that_stays_too_slow_is_refused(start, monkeypatch) -> None:
    monkeypatch.setattr(policy_setup, '_PATIENCE_S', 0.0)
    with pytest.raises(FitError, match='the delay is 500 ms'):
        start(SLOW_S)


def test_latency_on_purpose_is_not_waited_for(start) -> None:
    with pytest.raises(FitError, match='the delay is 400 ms'):
        start(QUICK_S, latency_s=0.4)


def test_in_a_simulation_it_counts_for_nothing_how_long_answers_take(start) -> None:
    start(SLOW_S, measure=False).check('naive', 0.0, SLOW_S)
    with pytest.raises(FitError, match='the delay is 400 ms'):
        start(SLOW_S, latency_s=0.4, measure=False)


def test_a_chunk_is_too_short_if_it_ends_before_the_next_begins(start) -> None:
    ready = start(QUICK_S)
    assert ready.too_slow(delay=8, execution_horizon=8) == ''
    assert ready.too_slow(delay=9, execution_horizon=8) == (
        'the horizon of 16 rows is too short: delay 9 + execution_horizon 8 = 17 rows'
    )
