# SPDX-License-Identifier: Apache-2.0
"""The executor core: takeovers, late chunks, rejections, holds and safe stops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Outcome, Phase, Step
from async_chunking.mergers import MERGERS
from async_chunking.safety import Limits

RUN = 7
FREE = Limits([-100.0, -100.0], [100.0, 100.0], [np.inf] * 2, [np.inf] * 2)
CONFIG = ExecutorConfig(
    FREE, ('a', 'b'), horizon=8, execution_horizon=4, blend_s=0.0,
    hold_timeout_s=0.2, request_timeout_s=0.2,
)  # fmt: skip


def executor(config: ExecutorConfig = CONFIG, merger: str = 'switch') -> Executor:
    behaviour = Behaviour(merger, MERGERS[merger](), Corrector())
    return Executor(config, behaviour, RUN, np.zeros(len(config.limits)))


def answer(request: ChunkRequest, value: float = 0.0, **changes: object) -> ActionChunk:
    """Return a chunk whose row i is value + i / 100 in every dimension."""
    rows = value + np.arange(8)[:, None] / 100.0 * np.ones(2)
    chunk = ActionChunk(
        request.run_id, request.request_id, request.tick, rows, request.boundary.delay
    )
    return replace(chunk, **changes)


def drive(
    core: Executor, ticks: int, delay: int, value: float = 0.0
) -> tuple[list[Step], list[ChunkRequest]]:
    """Run with a policy that answers every request after `delay` ticks."""
    steps, requests, due = [], [], {}
    for _ in range(ticks):
        for chunk in due.pop(core.tick, []):
            core.push(chunk)
        request = core.poll()
        if request is not None:
            requests.append(request)
            due.setdefault(core.tick + delay, []).append(answer(request, value + core.tick))
        for chunk in due.pop(core.tick, []):  # No delay at all.
            core.push(chunk)
        steps.append(core.step())
    return steps, requests


def test_takes_over_at_the_row_that_belongs_to_now() -> None:
    core = executor()
    core.delay = 3
    steps, requests = drive(core, 40, delay=3)
    takeovers = [step for step in steps if step.took_over]
    assert [step.delay for step in takeovers] == [3] * len(takeovers)
    assert [step.row for step in takeovers] == [0.0] + [3.0] * (len(takeovers) - 1)
    # After the first, requests come every execution horizon, whatever the delay.
    assert {b.tick - a.tick for a, b in pairwise(requests[1:])} == {4}
    # The request describes what will be executed if no chunk comes: 8 - 4 rows are left.
    assert [request.boundary.rows for request in requests[2:]] == [4] * len(requests[2:])
    for request in requests[2:]:
        np.testing.assert_allclose(request.boundary.previous[0], steps[request.tick].planned)


@pytest.mark.parametrize(('told', 'late'), [(2, True), (3, False), (4, False)])
def test_a_chunk_is_late_when_it_takes_longer_than_its_sampler_was_told(
    told: int, late: bool
) -> None:
    core = executor()
    core.delay = told
    steps, _ = drive(core, 40, delay=3)
    takeovers = sum(step.took_over for step in steps)
    # The first is on time whenever it comes: nothing was executed meanwhile.
    assert core.counters['late'] == late * (takeovers - 1)
    assert takeovers == 10


def test_stream_is_old_prefix_then_new_suffix() -> None:
    """Executing through the core is A_prev[0:d] then A_new[d:s], cycle after cycle."""
    for delay in range(5):
        core = executor()
        steps, requests = drive(core, 60, delay=delay)
        chunks = {r.request_id: answer(r, r.tick).actions for r in requests}
        for previous, request in pairwise(requests[2:]):
            start = request.tick
            executed = np.array([steps[start + i].planned for i in range(4)])
            old = chunks[previous.request_id][4 : 4 + delay]
            new = chunks[request.request_id][delay:4]
            if start + 4 <= 60:
                np.testing.assert_allclose(executed, np.vstack([old, new]))


def test_first_chunk_starts_when_it_arrives_and_loses_no_row() -> None:
    core = executor()
    request = core.poll()
    assert request is not None
    assert request.boundary.rows == 0
    assert request.boundary.delay == 0
    for _ in range(9):  # Longer than the horizon: a slow first inference.
        assert core.step().phase is Phase.WAITING_FIRST
    assert core.push(answer(request, 1.0)) is Outcome.ACCEPTED
    step = core.step()
    assert step.row == 0.0
    assert step.delay == 9
    assert 'late' not in core.counters


def test_first_chunk_blends_in_from_the_measured_pose() -> None:
    config = replace(CONFIG, blend_s=0.1, execution_horizon=8)
    core = Executor(config, executor().behaviour, RUN, np.array([0.5, -0.5]))
    steps, _ = drive(core, 8, delay=0, value=1.0)
    commands = np.array([step.command for step in steps])
    np.testing.assert_allclose(commands[0], [0.5, -0.5])
    assert np.abs(np.diff(commands, axis=0)).max() < 0.6
    np.testing.assert_allclose(commands[5:7], [step.planned for step in steps[5:7]])


def test_a_blend_in_begins_and_ends_at_rest() -> None:
    """A smoothstep of 50 ticks between 0 and a plan at 1: no edge where it begins or ends."""
    config = replace(CONFIG, horizon=80, execution_horizon=80, blend_s=1.0)
    core = executor(config)
    request = core.poll()
    assert request is not None
    core.push(answer(request, actions=np.ones((80, 2))))
    commands = np.array([core.step().command[0] for _ in range(60)])
    share = np.minimum(np.arange(60) / 50.0, 1.0)
    np.testing.assert_allclose(commands, share**2 * (3.0 - 2.0 * share), atol=1e-12)
    assert np.abs(np.diff(commands, 2)).max() < 0.0025  # A straight line would turn by 0.02.


def test_a_late_chunk_plays_what_is_left_and_an_expired_one_is_dropped() -> None:
    core = executor()
    drive(core, 1, delay=0)
    for _ in range(3):
        core.step()
    request = core.poll()
    assert request is not None
    for _ in range(7):
        core.step()
    assert core.push(answer(request, 5.0)) is Outcome.ACCEPTED
    step = core.step()
    assert step.row == 7.0
    assert core.counters['late'] == 1

    request = core.poll()
    assert request is not None
    assert request.boundary.rows == 0  # The plan has run out: this one starts fresh.
    core.step()
    core.push(answer(request))
    drive(core, 4, delay=99)
    request = core.poll() or request
    for _ in range(9):
        core.step()
    assert core.push(answer(request)) is not Outcome.ACCEPTED


def test_expired_is_named_and_the_stream_recovers() -> None:
    core = executor(replace(CONFIG, request_timeout_s=9.0, hold_timeout_s=9.0))
    steps, _ = drive(core, 80, delay=8)
    assert core.counters['expired'] > 0
    assert core.counters['accepted'] > 1
    assert {step.phase for step in steps[9:]} == {Phase.EXECUTING, Phase.HOLDING}


@pytest.mark.parametrize(
    ('changes', 'outcome'),
    [
        ({'run_id': 8}, Outcome.WRONG_RUN),
        ({'request_id': 99}, Outcome.UNREQUESTED),
        ({'tick': -1}, Outcome.UNREQUESTED),
        ({'tick': 1000}, Outcome.FUTURE),
        ({'actions': np.zeros((8, 3))}, Outcome.WRONG_SIZE),
        ({'actions': np.zeros((0, 2))}, Outcome.WRONG_SIZE),
        ({'actions': np.zeros((17, 2))}, Outcome.WRONG_SIZE),
        ({'actions': np.full((8, 2), np.nan)}, Outcome.NOT_FINITE),
        ({'actions': np.full((8, 2), np.inf)}, Outcome.NOT_FINITE),
        ({'actions': np.full((8, 2), 500.0)}, Outcome.OVER_LIMITS),
        ({'joint_names': ('b', 'a')}, Outcome.WRONG_JOINTS),
        ({'refusal': 'no gradients'}, Outcome.REFUSED),
    ],
)
def test_bad_chunks_are_named_counted_and_ignored(changes: dict, outcome: Outcome) -> None:
    core = executor()
    request = core.poll()
    assert request is not None
    core.step()
    assert core.push(answer(request, **changes)) is outcome
    assert core.counters[outcome.name.lower()] == 1
    np.testing.assert_array_equal(core.step().command, 0.0)
    # The right answer still counts; a second one does not.
    assert core.push(answer(request, 1.0)) is Outcome.ACCEPTED
    assert core.push(answer(request, 2.0)) is Outcome.DUPLICATE
    np.testing.assert_array_equal(core.step().planned, 1.0)


def test_a_rejection_tells_joint_row_value_and_limits() -> None:
    core = executor()
    request = core.poll()
    assert request is not None
    rows = np.zeros((8, 2))
    rows[3, 1], rows[5, 0] = 130.0, -125.0
    core.push(answer(request, actions=rows))
    assert core.reasons[Outcome.OVER_LIMITS] == ('row 3 has b at 130, its limits are -100 to 100')
    rows[3, 1], rows[5, 0] = 0.0, np.nan
    core.push(answer(request, actions=rows))
    assert core.reasons[Outcome.NOT_FINITE] == 'row 5 has a at nan'
    core.push(answer(request, actions=np.zeros((8, 3))))
    assert core.reasons[Outcome.WRONG_SIZE] == '8 x 3 numbers, 1 to 16 x 2 allowed'
    core.push(answer(request, joint_names=('b', 'a')))
    assert core.reasons[Outcome.WRONG_JOINTS] == 'it has b, a; the robot has a, b'


def test_a_robot_that_rests_plays_chunks_that_come_after_their_end() -> None:
    """A chunk of 8 rows that takes 20 ticks is played from its start until the next is asked."""
    patient = replace(CONFIG, hold_timeout_s=10.0, request_timeout_s=1.0)
    core = executor(patient, 'wait')
    steps, requests = drive(core, 100, delay=20)
    assert [request.tick for request in requests] == [0, 24, 48, 72, 96]
    played = [step.row for step in steps if step.phase is Phase.EXECUTING]
    assert played == [0.0, 1.0, 2.0, 3.0] * 4
    assert core.counters['accepted'] == 4
    assert core.counters['expired'] == core.counters['starved_ticks'] == core.counters['late'] == 0


def test_an_answer_to_an_older_request_is_out_of_order() -> None:
    core = executor()
    first = core.poll()
    for _ in range(10):
        core.step()
    second = core.poll()
    assert first is not None
    assert second is not None
    assert core.push(answer(second)) is Outcome.ACCEPTED
    assert core.push(replace(answer(first), tick=first.tick)) is Outcome.OUT_OF_ORDER


def test_the_older_of_two_answers_does_not_bring_the_old_plan_back() -> None:
    """While a plan is executed, the answer to a request that timed out comes after the next."""
    core = executor(replace(CONFIG, horizon=40, execution_horizon=4))
    core.delay = 3
    request = core.poll()
    assert request is not None
    core.push(answer(request, actions=np.zeros((40, 2))))
    asked = []
    while len(asked) < 2:
        core.step()
        if (request := core.poll()) is not None:
            asked.append(request)
    older, newer = asked
    assert core.push(answer(newer, actions=np.ones((40, 2)))) is Outcome.ACCEPTED
    assert core.push(answer(older, actions=np.full((40, 2), 9.0))) is Outcome.OUT_OF_ORDER
    assert core.step().planned[0] == 1.0


@pytest.mark.parametrize(
    'bad', [{'actions': np.full((8, 2), np.nan)}, {'tick': -50}, {'tick': 500}]
)
def test_a_bad_answer_is_asked_again_at_once_and_a_refusal_after_the_timeout(bad: dict) -> None:
    core = executor()
    request = core.poll()
    assert request is not None
    core.step()
    core.push(answer(request, run_id=8))  # Of another run: no answer at all.
    assert core.poll() is None
    core.push(answer(request, **bad))
    again = core.poll()
    assert again is not None
    assert again.request_id == request.request_id + 1
    core.push(answer(again, refusal='busy'))
    polls = []
    for _ in range(12):
        core.step()
        polls.append(core.poll() is not None)
    assert polls.index(True) == 9


def test_hold_brakes_then_latches_and_reset_resumes() -> None:
    limits = Limits([-9.0] * 2, [9.0] * 2, [1.0] * 2, [2.0] * 2)
    core = executor(replace(CONFIG, limits=limits, limit_tolerance=10.0))
    steps, _ = drive(core, 4, delay=0, value=3.0)
    for _ in range(30):
        core.poll()
        steps.append(core.step())
    phases = [step.phase for step in steps]
    assert phases[8] is Phase.HOLDING
    assert phases[-1] is Phase.STOPPED
    velocity = np.diff([step.command for step in steps], axis=0) / 0.02
    assert np.abs(np.diff(velocity, axis=0) / 0.02).max() <= 2.0 + 1e-9
    np.testing.assert_array_equal(velocity[-1], 0.0)
    assert core.poll() is None
    assert core.push(ActionChunk(RUN, 1, 0, np.zeros((8, 2)))) is Outcome.STOPPED

    core.reset()
    assert core.step().phase is Phase.WAITING_FIRST
    steps, _ = drive(core, 3, delay=0, value=3.0)
    assert steps[-1].phase is Phase.EXECUTING


def test_wait_rests_while_the_policy_computes() -> None:
    core = executor(merger='wait')
    steps, requests = drive(core, 40, delay=3)
    assert [step.row for step in steps if step.took_over] == [0.0] * len(requests)
    # Three ticks of rest, four rows executed, and again.
    assert [int(step.phase) for step in steps[3:17]] == [1, 1, 1, 1, 2, 2, 2] * 2
    assert core.counters['starved_ticks'] == 0


def test_a_wait_that_gets_a_bad_answer_keeps_resting() -> None:
    core = executor(merger='wait')
    drive(core, 4, delay=0)
    request = core.poll()
    assert request is not None
    core.push(answer(request, actions=np.full((8, 2), np.nan)))
    again = core.poll()
    assert again is not None
    assert core.step().phase is Phase.WAITING


def test_a_slow_policy_rate_is_interpolated() -> None:
    config = replace(CONFIG, policy_rate_hz=15.0)
    core = executor(config)
    steps, requests = drive(core, 40, delay=0)
    # Rows are 50 / 15 ticks apart and rise by 0.01 each.
    rows = [step.row for step in steps[:12]]
    np.testing.assert_allclose(np.diff(rows), 0.3)
    np.testing.assert_allclose([s.planned[0] for s in steps[:12]], np.arange(12) * 0.003)
    assert [r.tick for r in requests[:3]] == [0, 14, 28]  # First tick at or after 4 * 50 / 15.
    # Previous comes in policy steps: its rows are one step apart too.
    np.testing.assert_allclose(np.diff(requests[1].boundary.previous[:3, 0]), 0.01)


def test_a_new_behaviour_takes_effect_at_the_next_boundary() -> None:
    core = executor()
    _, requests = drive(core, 6, delay=0)
    core.set_behaviour(Behaviour('ensemble', MERGERS['ensemble'](), Corrector()))
    assert core.behaviour.name == 'switch'
    _, requests = drive(core, 6, delay=0)
    assert requests[0].strategy == 'ensemble'
    assert core.behaviour.name == 'ensemble'


def test_what_is_executed_changes_at_the_takeover_and_not_at_the_request() -> None:
    core = executor()
    core.delay = 2
    core.set_behaviour(Behaviour('ensemble', MERGERS['ensemble'](), Corrector()))
    drive(core, 18, delay=0)
    core.set_behaviour(Behaviour('switch', MERGERS['switch'](), Corrector()))
    before = core.step()
    request = core.poll()
    while request is None:
        before, request = core.step(), core.poll()
    assert (request.strategy, core.behaviour.name) == ('switch', 'ensemble')
    waiting = [core.step(), core.step()]
    rows = np.array([step.planned[0] for step in (before, *waiting)])
    np.testing.assert_allclose(rows[1:], request.boundary.previous[:2, 0])
    core.push(answer(request, 0.5))
    step = core.step()
    assert (step.took_over, core.behaviour.name) == (True, 'switch')
    assert step.planned[0] == pytest.approx(0.52)


def test_a_refused_change_is_asked_again_at_once_with_what_replaces_it() -> None:
    core = executor()
    drive(core, 6, delay=0)
    core.set_behaviour(Behaviour('paint', MERGERS['switch'](), Corrector()))
    core.step()
    core.step()
    request = core.poll()
    assert request is not None
    assert request.strategy == 'paint'
    assert core.push(answer(request, refusal='no')) is Outcome.REFUSED
    assert core.poll() is None  # The same question would have the same answer.
    core.set_behaviour(core.behaviour)
    again = core.poll()
    assert again is not None
    assert again.strategy == 'switch'


@pytest.mark.parametrize('merger', ['switch', 'wait'])
def test_a_robot_at_rest_does_not_begin_with_what_was_seen_long_ago(merger: str) -> None:
    core = executor(replace(CONFIG, hold_timeout_s=1.0, request_timeout_s=9.0), merger)
    request = core.poll()
    assert request is not None
    for _ in range(451):
        core.step()
    assert core.push(answer(request)) is Outcome.EXPIRED
    again = core.poll()
    assert again is not None
    for _ in range(450):
        core.step()
    assert core.push(answer(again)) is Outcome.ACCEPTED


def test_a_missed_tick_repeats_and_does_not_jump() -> None:
    limits = Limits([-9.0] * 2, [9.0] * 2, [1.0] * 2, [1.0] * 2)
    core = executor(replace(CONFIG, limits=limits, limit_tolerance=10.0))
    request = core.poll()
    assert request is not None
    core.push(answer(request, 5.0))
    before = core.step().command
    skipped = [core.skip() for _ in range(3)]
    after = core.step()
    assert [step.tick for step in skipped] == [1, 2, 3]
    assert all(step.missed for step in skipped)
    assert after.tick == 4
    assert np.abs(after.command - before).max() <= 2 * 1.0 * 0.02**2 + 1e-12
    assert core.counters['missed_ticks'] == 3


def test_a_robot_slower_than_its_plan_turns_when_that_has_passed_it() -> None:
    """A plan that goes to and fro at three times the top speed is met on its way, not expected."""
    limits = Limits([-9.0] * 2, [9.0] * 2, [1.0] * 2, [5.0] * 2, [100.0] * 2)
    core = executor(replace(CONFIG, limits=limits, horizon=300, execution_horizon=300))
    request = core.poll()
    assert request is not None
    time = 0.02 * np.arange(300)
    plan = np.abs((3.0 * time + 2.0) % 4.0 - 2.0)[:, None] * np.ones(2)
    core.push(answer(request, actions=plan))
    steps = [core.step() for _ in range(290)]
    command = np.array([step.command[0] for step in steps])
    ahead = np.array([step.planned[0] for step in steps]) - command
    way = np.diff(command)
    turns = np.flatnonzero(way[1:] * way[:-1] < 0.0)
    assert len(turns) >= 6
    assert (np.sign(way[turns]) * ahead[turns + 1] <= 0.0).all()


def test_a_correction_that_is_not_finite_is_not_sent() -> None:
    class NotFiniteCorrector(Corrector):
        def correct(self, action, row, horizon, observation):
            return action * np.nan

    core = Executor(
        CONFIG, Behaviour('x', MERGERS['switch'](), NotFiniteCorrector()), RUN, np.zeros(2)
    )
    steps, _ = drive(core, 3, delay=0)
    assert all(np.isfinite(step.command).all() for step in steps)
    assert core.counters['correction_not_finite'] == 3


def test_unanswered_requests_are_repeated_and_forgotten() -> None:
    core = executor()
    ids = []
    for _ in range(2000):
        request = core.poll()
        if request is not None:
            ids.append(request.request_id)
        assert core.step().phase is Phase.WAITING_FIRST
    assert ids == list(range(1, len(ids) + 1))
    assert core.push(ActionChunk(RUN, 1, 0, np.zeros((8, 2)))) is Outcome.UNREQUESTED


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'execution_horizon': 9}, 'execution_horizon must be 1 to horizon = 8, got 9'),
        ({'policy_rate_hz': 100.0}, 'policy_rate_hz must be above 0 and at most'),
        ({'policy_rate_hz': 0.0}, 'policy_rate_hz must be above 0'),
        ({'joint_names': ('a',)}, 'joint_names has 1 names for 2 joints'),
        ({'hold_timeout_s': -1.0}, 'hold_timeout_s must be finite and >= 0'),
    ],
)
def test_impossible_settings_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize('merger', ['switch', 'wait'])
def test_only_the_first_answer_of_two_to_a_robot_at_rest_is_executed(merger: str) -> None:
    """A policy slower than the request timeout answers twice; both begin where the robot was."""
    core = executor(merger=merger)
    first = core.poll()
    for _ in range(10):
        core.step()
    second = core.poll()
    assert core.push(answer(first)) is Outcome.ACCEPTED
    for _ in range(3):
        core.step()
    assert core.push(answer(second)) is Outcome.UNREQUESTED


def test_rows_beyond_those_of_the_strategy_are_rejected() -> None:
    """Only a sampler that puts the committed rows in front may answer with more than a chunk."""
    for most, outcome in ((CONFIG.horizon, Outcome.WRONG_SIZE), (0, Outcome.ACCEPTED)):
        behaviour = Behaviour('x', MERGERS['switch'](), Corrector(), most)
        core = Executor(CONFIG, behaviour, RUN, np.zeros(2))
        request = core.poll()
        rows = np.zeros((CONFIG.horizon + 1, 2))
        assert core.push(ActionChunk(RUN, request.request_id, request.tick, rows)) is outcome


def test_a_corrector_that_fails_corrects_nothing() -> None:
    class FailingCorrector(Corrector):
        def correct(self, *_: object) -> np.ndarray:
            raise ValueError('sizes')

    core = Executor(
        CONFIG, Behaviour('x', MERGERS['switch'](), FailingCorrector()), RUN, np.zeros(2)
    )
    steps, _ = drive(core, 5, delay=0, value=0.5)
    np.testing.assert_array_equal(steps[-1].command, steps[-1].planned)
    assert core.counters['correction_failed'] == 5


def test_a_corrector_is_told_the_row_of_the_policys_chunk_not_of_the_answer() -> None:
    """Before the chunk of 8 rows the answer may repeat the 3 rows that are committed."""

    class Watcher(Corrector):
        def correct(self, action, row, horizon, observation):
            told.append((row, horizon))
            return action

    told: list[tuple[float, int]] = []
    core = Executor(CONFIG, Behaviour('x', MERGERS['switch'](), Watcher()), RUN, np.zeros(2))
    core.delay = 3
    first = core.poll()
    core.push(answer(first))
    for _ in range(4):
        core.step()
    second = core.poll()
    for _ in range(3):
        core.step()
    whole = np.vstack([second.boundary.previous[:3], answer(second).actions])
    assert core.push(answer(second, actions=whole)) is Outcome.ACCEPTED
    told.clear()
    core.step()
    core.step()
    assert told == [(0.0, 8), (1.0, 8)]


def test_a_plan_that_goes_on_after_a_rest_is_blended_in() -> None:
    core = executor(replace(CONFIG, blend_s=0.1), merger='wait')
    drive(core, 4, delay=0)
    request = core.poll()
    assert request is not None
    at_rest = core.step()
    assert at_rest.phase is Phase.WAITING
    core.push(answer(request, refusal='no'))
    core.set_behaviour(Behaviour('naive', MERGERS['switch'](), Corrector()))
    assert core.poll() is not None  # With a strategy that does not rest: the old plan goes on.
    step = core.step()
    assert step.phase is Phase.EXECUTING
    np.testing.assert_allclose(step.command, at_rest.command)
