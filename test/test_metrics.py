# SPDX-License-Identifier: Apache-2.0
"""Metrics against answers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from async_chunking import metrics
from async_chunking.executor import Phase
from async_chunking.gate import Gate
from async_chunking.metrics.limit_use import limit_use
from async_chunking.metrics.record import Episode, Exchange, Run
from async_chunking.metrics.seams import consistency, seam_jumps, seams
from async_chunking.safety import Limits

PERIOD = 0.02


def make_run(ticks=20, joints=2, **changes) -> Run:
    """A run at rest at zero, with one takeover at tick 8 of a chunk requested at tick 5."""
    rows = np.zeros((ticks, joints))
    number = np.arange(ticks)
    values = {
        'strategy': 'naive', 'control_period': PERIOD, 'stride': 1.0, 'tick': number,
        'phase': np.full(ticks, Phase.EXECUTING), 'command': rows, 'planned': rows,
        'measured': rows, 'request_id': np.where(number < 8, 1, 2), 'took_over': number == 8,
        'delay': np.where(number == 8, 3, -1), 'missed': np.zeros(ticks, dtype=bool),
        'emitted': number * PERIOD, 'deadline': number * PERIOD,
    }  # fmt: skip
    return Run(**(values | changes))


def exchange(previous, actions, **changes) -> Exchange:
    return replace(Exchange(2, 5, np.array(previous), np.array(actions)), **changes)


def test_consistency_is_the_mean_mismatch_over_the_delay_only():
    old = [[0.0, 0.0]] * 6
    new = [[0.3, 0.4], [0.0, 0.0], [0.6, 0.8], [9.0, 9.0], [9.0, 9.0]]
    run = make_run(exchanges={2: exchange(old, new)})
    con = consistency(run)
    assert con.seams == 1
    assert con.mean_absolute == pytest.approx((0.7 + 0.0 + 1.4) / 6)
    assert con.step_norm == pytest.approx((0.5 + 0.0 + 1.0) / 3)


def test_rows_that_a_plan_lacks_are_left_out_of_the_mismatch():
    run = make_run(exchanges={2: exchange([[0.0, 0.0]], [[0.2, 0.2]] * 6)})
    assert consistency(run).mean_absolute == pytest.approx(0.2)
    run = make_run(exchanges={2: exchange(np.empty((0, 2)), [[0.2, 0.2]] * 6)})
    assert consistency(run).seams == 0
    assert math.isnan(consistency(run).mean_absolute)


def test_seam_jump_compares_both_plans_at_the_takeover():
    planned = np.zeros((20, 2))
    planned[8] = [0.1, -0.5]
    old = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.2]]
    run = make_run(planned=planned, exchanges={2: exchange(old, np.zeros((6, 2)))})
    assert seam_jumps(run) == pytest.approx([0.7])


def test_seam_jump_interpolates_between_policy_steps():
    """At two ticks per step, tick 8 lies halfway between rows 1 and 2 of a request at tick 5."""
    old = [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    run = make_run(stride=2.0, exchanges={2: exchange(old, np.zeros((6, 2)))})
    assert seam_jumps(run) == pytest.approx([1.5])


def test_a_takeover_without_an_old_plan_there_has_no_jump():
    run = make_run(exchanges={2: exchange([[0.0, 0.0]] * 3, np.zeros((6, 2)))})
    assert len(seam_jumps(run)) == 0


def test_delay_splits_into_its_causes():
    exchanged = exchange(
        np.zeros((6, 2)), np.zeros((6, 2)),
        observation_age=0.005, waiting=0.01, inference=0.03, conditioned_delay=2,
    )  # fmt: skip
    (seam,) = seams(make_run(exchanges={2: exchanged}))
    assert seam.total == pytest.approx(0.06)
    assert seam.transport == pytest.approx(0.02)
    figures = metrics.summarize(make_run(exchanges={2: exchanged}))
    assert figures['over_conditioned'] == 1.0
    assert figures['delay_ms']['inference'] == pytest.approx(30.0)
    assert figures['delay_steps'] == {'p50': 3.0, 'max': 3.0}
    # It took the three steps that it was told: in time.
    told = replace(exchanged, conditioned_delay=3)
    assert metrics.summarize(make_run(exchanges={2: told}))['over_conditioned'] == 0.0


def test_jerk_of_a_cubic_is_its_third_derivative():
    time = np.arange(50) * PERIOD
    assert metrics.jerk((time**3)[:, None], PERIOD) == pytest.approx(6.0)


def test_jerk_does_not_reach_across_ticks_that_were_not_recorded():
    time = np.arange(50) * PERIOD
    position = (time**3)[:, None]
    position[25:] += 100.0
    keep = np.r_[0:25, 35:50]
    run = make_run(50, 1, command=position)
    for name in ('tick', 'phase', 'command', 'planned', 'measured', 'request_id', 'took_over',
                 'delay', 'missed', 'emitted', 'deadline'):  # fmt: skip
        run = replace(run, **{name: getattr(run, name)[keep]})
    figures = metrics.summarize(run)
    assert figures['command_jerk_rad_s3'] == pytest.approx(6.0)
    assert figures['period_ms']['max'] == pytest.approx(20.0)


def test_a_missed_tick_shows_as_a_long_period():
    missed = np.arange(20) == 10
    figures = metrics.summarize(make_run(missed=missed))
    assert figures['period_ms']['max'] == pytest.approx(40.0)
    assert figures['missed_ticks'] == 1


def random_run(rng: np.random.Generator, ticks: int) -> Run:
    took_over = np.arange(ticks) % 8 == 5
    request_id = 1 + np.cumsum(took_over)
    exchanges = {
        int(r): Exchange(
            int(r), int(t) - 3, rng.normal(size=(12, 3)), rng.normal(size=(16, 3)), 2, 0.01, 0.04
        )
        for t, r in zip(np.flatnonzero(took_over), request_id[took_over], strict=True)
    }
    return make_run(
        ticks, 3, command=rng.normal(size=(ticks, 3)), planned=rng.normal(size=(ticks, 3)),
        measured=rng.normal(size=(ticks, 3)), took_over=took_over, request_id=request_id,
        delay=np.where(took_over, 3, -1), emitted=np.cumsum(rng.uniform(0.019, 0.021, ticks)),
        missed=rng.random(ticks) < 0.05, phase=rng.integers(0, 5, ticks), exchanges=exchanges,
    )  # fmt: skip


@pytest.mark.parametrize('cuts', [(50,), (1, 2, 3, 4), (10, 11, 90), (99,)])
def test_pieces_of_a_run_give_the_figures_of_the_whole(cuts):
    run = random_run(np.random.default_rng(0), 100)
    limits = Limits(np.full(3, -9.0), np.full(3, 9.0), np.full(3, 1.0), np.full(3, 2.0))
    tally = metrics.Tally(limits)
    for part in np.split(np.arange(100), cuts):
        tally.add(replace(run, **{
            name: getattr(run, name)[part]
            for name in ('tick', 'phase', 'command', 'planned', 'measured', 'request_id',
                         'took_over', 'delay', 'missed', 'emitted', 'deadline')
        }))  # fmt: skip
    whole, pieces = metrics.summarize(run, limits), tally.figures()
    assert whole.keys() == pieces.keys()
    for name, value in whole.items():
        if isinstance(value, (dict, float)):
            assert pieces[name] == pytest.approx(value, nan_ok=True), name
        else:
            assert pieces[name] == value, name


def test_limit_use_of_a_known_motion():
    """Half a turn per second, then a stop within one tick."""
    position = np.concatenate((np.arange(11) * 0.5 * PERIOD, np.full(5, 10 * 0.5 * PERIOD)))
    limits = Limits([-1.0], [0.5], [1.0], [50.0])
    use = limit_use(position[:, None], PERIOD, limits)
    assert use.margin == pytest.approx([0.4])
    assert use.velocity == pytest.approx([0.5])
    assert use.acceleration == pytest.approx([0.5])
    assert use.figures()['exceeded'] == 0


def test_limits_are_seen_to_be_exceeded():
    limits = Limits([-1.0], [0.05], [0.4], [10.0])
    position = np.concatenate((np.arange(11) * 0.5 * PERIOD, np.full(5, 0.1)))[:, None]
    figures = limit_use(position, PERIOD, limits).figures()
    assert figures['position_margin_rad'] == pytest.approx(-0.05)
    assert figures['velocity_use'] == pytest.approx(1.25)
    assert figures['exceeded'] == 3


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_what_the_gate_lets_through_is_within_the_limits_also_after_rounding(dtype):
    rng = np.random.default_rng(1)
    limits = Limits([-1.0, -2.0], [1.0, 2.0], [3.0, 2.0], [5.0, 8.0], [500.0, np.inf])
    gate = Gate(limits, PERIOD)
    gate.start(np.zeros(2))
    commands = [gate.follow(rng.normal(size=2) * 3, np.zeros(2)) for _ in range(2000)]
    use = limit_use(np.array(commands, dtype=dtype), PERIOD, limits)
    assert use.figures()['exceeded'] == 0
    assert use.figures()['acceleration_use'] > 0.9


NARROW = Limits([-1.0], [1.0], [2.0], [10.0], [500.0])


@pytest.mark.parametrize(
    ('name', 'bad'),
    [
        ('not a number', np.array([0.0, 0.0, np.nan, 0.0, 0.0])),
        ('infinite', np.array([0.0, 0.0, np.inf, np.inf, np.inf])),
        ('all not numbers', np.full(9, np.nan)),
        ('a jump', np.array([0.0, 0.0, 0.0, 0.5, 0.5, 0.5])),
        ('a jump of a million', np.array([0.0, 0.0, 0.0, 1e6, 1e6])),
        ('outside, at rest', np.full(9, 1.1)),
        ('a speed', np.arange(9) * 2.1 * PERIOD - 0.9),
        ('an acceleration', np.cumsum(np.arange(9)) * 11.0 * PERIOD**2),
        ('a jerk', np.cumsum([0, 0, 1, 0, 1, 0]) * 9.0 * PERIOD**2),
    ],
)
def test_a_bad_stream_is_seen(name: str, bad: np.ndarray):
    figures = limit_use(bad[:, None], PERIOD, NARROW).figures()
    assert figures['exceeded'] >= 1, name
    assert figures['not_finite'] == (~np.isfinite(bad)).sum()


@pytest.mark.parametrize(
    ('ticks', 'slower', 'exceeded'),
    [(50, 0.0, 1), (50, 1.0, 0), (1, 0.0, 0), (3, 0.0, 1), (3, 0.3, 0), (8, 0.0, 1), (0, 0.9, 1)],
)
def test_after_silence_what_speed_is_left_counts(ticks: int, slower: float, exceeded: int):
    """A robot at 1 rad/s that may change by 0.2 rad/s a tick is at rest after five."""
    begun = np.cumsum(np.minimum(np.arange(12), 5) * 0.2 * PERIOD)
    speed = (1.0 - slower) * np.ones(5) if ticks < 50 or not slower else np.arange(1, 6) * 0.2
    going = begun[-1] + np.cumsum(speed * PERIOD)
    silent = np.zeros(len(begun) + 5, dtype=int)
    silent[len(begun)] = ticks
    rows = np.concatenate((begun, going))[:, None]
    limits = Limits([-9.0], [9.0], [2.0], [10.0])
    tick = np.arange(len(rows)) + np.cumsum(silent)
    assert limit_use(rows, PERIOD, limits, tick, silent).figures()['exceeded'] == exceeded
    # Rows that were lost, not silent, say nothing of each other.
    assert limit_use(rows, PERIOD, limits, tick).figures()['exceeded'] == 0 or ticks == 0


def test_a_missed_tick_is_silence_for_the_limits_of_a_run():
    """A run that goes on at full speed from a standstill has exceeded them."""
    command = np.cumsum(np.concatenate((np.arange(6), np.full(40, 5))) * 0.2 * PERIOD**1)
    rows = np.concatenate((command[:20], np.full(30, command[19]), command[20:]))[:, None]
    missed = np.zeros(len(rows), dtype=bool)
    missed[20:50] = True
    limits = Limits([-9.0], [9.0], [2.0], [10.0])
    run = make_run(len(rows), 1, command=rows, planned=rows, missed=missed)
    assert metrics.summarize(run, limits)['limits']['exceeded'] == 1


def test_limits_of_another_robot_are_refused():
    with pytest.raises(ValueError, match='commands have 2 joints, the limits 1'):
        limit_use(np.zeros((5, 2)), PERIOD, Limits([-1.0], [1.0], [1.0], [1.0]))


def test_success_rate_and_completion_time_come_from_the_episodes():
    episodes = (Episode(True, 4.0), Episode(False, math.nan), Episode(True, 6.0))
    figures = metrics.summarize(make_run(episodes=episodes))
    assert (figures['episodes'], figures['successes']) == (3, 2)
    assert figures['completion_time_s'] == pytest.approx(5.0)
    assert figures['success'] is False
    assert metrics.summarize(make_run())['success'] is None
    single = metrics.summarize(make_run(success=True, completion_time=2.5))
    assert (single['success'], single['completion_time_s']) == (True, 2.5)


def test_counters_sort_into_late_rejected_and_neither():
    counters = {'accepted': 9, 'late': 2, 'expired': 1, 'wrong_size': 4, 'limited_ticks': 7}
    figures = metrics.summarize(make_run(counters=counters))
    assert (figures['late_chunks'], figures['rejected_chunks']) == (3, 4)
    assert figures['limited_ticks'] == 7
