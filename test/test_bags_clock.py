# SPDX-License-Identifier: Apache-2.0
"""The time of messages whose recorder's clock was set, and what was recorded more than once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags')

from async_chunking.bags.clock import Clock, SentTicks, clock_of, pace, set_back, steady
from async_chunking.bags.copies import Part, continued, copies, marks_of
from async_chunking.bags.definitions import BagError

MS = 10**6
COUNT = 200


def _ticks(clock, emitted=None, runs=None, late=None) -> tuple[SentTicks, np.ndarray, np.ndarray]:
    """Return commands 20 ms apart, the places of all messages, and when they came [ns].

    A joint state comes 5 ms before each command.
    """
    true = np.arange(COUNT) * 20 * MS
    delay = np.zeros(COUNT, np.int64) if late is None else late
    stamps = clock(true + delay)
    seen = np.stack([clock(true - 5 * MS), stamps], axis=1).ravel()
    places = np.arange(2 * COUNT)
    sent = true if emitted is None else emitted
    which = np.ones(COUNT, int) if runs is None else runs
    return SentTicks(places[1::2], stamps, sent, which), places, seen


@pytest.mark.parametrize('seconds', [-3600.0, -1.0, -0.08, -0.015, 0.015, 0.08, 1.0, 3600.0])
@pytest.mark.parametrize('times', [(100,), (50, 150)])
def test_a_step_of_any_size_is_undone(seconds: float, times):
    def clock(t):
        return t + sum(round(seconds * 1e9) * (t >= 20 * MS * k - 7 * MS) for k in times)

    ticks, places, stamps = _ticks(clock)
    found = clock_of(ticks, places, stamps)
    np.testing.assert_allclose(found.steps, [seconds] * len(times), atol=1e-6)
    true = np.stack([ticks.emitted - 5 * MS, ticks.emitted], axis=1).ravel()
    np.testing.assert_array_equal(found.corrected(places, stamps), true)


@pytest.mark.parametrize('seconds', [-3600.0, -1.0, -0.3, 0.3, 1.0, 3600.0])
@pytest.mark.parametrize('after', [False, True])
def test_what_lies_beside_a_step_is_of_the_side_that_fits(seconds: float, after: bool):
    """A picture comes between the last number before a step and the first one after it."""
    step = round(seconds * 1e9)

    def clock(t):
        return t + step * (t >= 20 * MS * 100 - 7 * MS)

    ticks, places, stamps = _ticks(clock)
    put_right = clock_of(ticks, places, stamps)
    place = 2 * 99 + 1  # Command 99 is the last message before the step.
    true = 20 * MS * 99 + 10 * MS
    told = put_right.between(place, int(stamps[place]), true + step * after)
    assert abs(told - true) < MS
    usual = put_right.between(20, int(stamps[20]), int(stamps[20]) + 3 * MS)
    assert usual == stamps[20] + 3 * MS


def test_messages_that_come_late_are_no_step():
    rng = np.random.default_rng(0)
    late = rng.exponential(2 * MS, COUNT).astype(np.int64)
    held = np.arange(COUNT)
    stuck = (held >= 80) & (held < 100)  # Twenty come at once.
    late[stuck] = (100 - held[stuck]) * 20 * MS
    ticks, places, stamps = _ticks(lambda t: t, late=late)
    assert len(clock_of(ticks, places, stamps).steps) == 0


def test_a_slower_way_of_the_commands_alone_is_no_step():
    """Else what was measured would be dated back, to before it was."""
    late = np.where(np.arange(COUNT) >= 100, 80 * MS, 0)
    true = np.arange(COUNT) * 20 * MS
    seen = np.concatenate([true - 5 * MS, true + late])
    order = np.argsort(seen, kind='stable')
    places = np.empty(2 * COUNT, int)
    places[order] = np.arange(2 * COUNT)
    ticks = SentTicks(places[COUNT:], true + late, true, np.ones(COUNT, int))
    assert len(clock_of(ticks, np.arange(2 * COUNT), seen[order]).steps) == 0


def test_a_command_that_is_late_beside_a_slower_way_is_no_step():
    held = np.arange(COUNT)
    late = 40 * MS * (held >= 100) + 80 * MS * (held == 100)
    ticks, places, stamps = _ticks(lambda t: t)
    stamps[1::2] += late
    ticks = ticks._replace(stamps=stamps[1::2])
    assert len(clock_of(ticks, places, stamps).steps) == 0


def test_a_clock_that_was_set_back_for_a_moment_is_refused():
    recording = _ticks(lambda t: t - 1000 * MS * ((t >= 1993 * MS) & (t < 2010 * MS)))
    with pytest.raises(BagError, match=r'the clock went back by 1\.0 s while it was recorded'):
        clock_of(*recording)


def test_between_runs_the_order_is_kept():
    runs = 1 + (np.arange(COUNT) >= 100)

    def back(t):
        return t - 1000 * MS * (t >= 1993 * MS)

    ticks, places, stamps = _ticks(back, runs=runs)
    assert clock_of(ticks, places, stamps).steps.tolist() == [-1.0]
    # The machine was started anew: its own clock tells nothing of the time between.
    anew = np.arange(COUNT) * 20 * MS - 10**12 * (runs == 2)
    ticks, places, stamps = _ticks(back, emitted=anew, runs=runs)
    found = clock_of(ticks, places, stamps)
    times = found.corrected(places, stamps)
    assert (np.diff(times) >= 0).all()
    assert np.diff(times).max() >= 0.9e9  # No demonstration goes across it.
    ticks, places, stamps = _ticks(lambda t: t, emitted=anew, runs=runs)
    assert len(clock_of(ticks, places, stamps).steps) == 0
    # The recorder's clock began anew with it.
    ticks, places, stamps = _ticks(
        lambda t: t - 10**12 * (t >= 1993 * MS), emitted=anew, runs=runs
    )
    assert (np.diff(clock_of(ticks, places, stamps).corrected(places, stamps)) >= 0).all()


def test_a_topic_that_goes_back_shows_that_the_clock_was_set():
    one, two = np.arange(10) * 20 * MS, np.arange(10) * 20 * MS + 5 * MS
    places = np.arange(0, 20, 2), np.arange(1, 20, 2)
    assert set_back(places, (one, two)) == 0.0
    assert set_back(places, (one, two - 9 * MS)) == 0.0  # Topics may pass each other a little.
    one[5:] -= 40 * MS
    assert set_back(places, (one, two)) == pytest.approx(0.02)


def _part(name: str, first: int, last: int, seed: int = 0, run: int = 7) -> Part:
    commands = np.random.default_rng(seed).normal(size=(300, 2))[first:last]
    return Part(Path(name), marks_of(run, np.arange(first, last) * 0.02, commands))


def test_copies_are_found_by_what_was_commanded():
    whole, short, shifted = _part('a', 0, 300), _part('b', 0, 200), _part('c', 250, 300)
    assert copies([short, whole, shifted]) == {0: (1, 1.0), 2: (1, 1.0)}
    assert copies([whole, _part('d', 0, 300, seed=1)]) == {}
    assert copies([whole, _part('a', 0, 300, run=8)]) == {}  # Two robots that do the same.
    assert copies([whole, _part('a', 0, 300)]) == {1: (0, 1.0)}  # A topic is relayed.
    assert copies([]) == {}


def test_recordings_that_overlap_are_not_two():
    assert copies([_part('e', 0, 150), _part('f', 100, 300)]) == {0: (1, pytest.approx(1 / 3))}
    assert copies([_part('e', 0, 150), _part('f', 149, 300)]) == {}
    torn = _part('e', 0, 150)
    torn = torn._replace(marks=np.delete(torn.marks, [0, 60, 61, 149]))
    assert copies([torn, _part('f', 100, 300)]) == {0: (1, pytest.approx(1 / 3, abs=0.01))}


def test_what_begins_alike_is_no_copy():
    """Simulations begin at one pose and at time zero; then their commands differ."""
    one, two = _part('a', 0, 300), _part('b', 0, 300, seed=1)
    alike = two._replace(marks=np.concatenate([one.marks[:200], two.marks[200:]]))
    assert copies([one, alike]) == {}


def test_a_run_that_goes_on_in_another_recording_is_found():
    first = _part('a', 0, 100)._replace(run=7, begin=0.0, end=1.98)
    second = _part('b', 100, 200)._replace(run=7, begin=2.0, end=3.98)
    both = [second, first]
    assert continued(both, both) == {0: ('began', first), 1: ('goes on', second)}
    for other in (
        second._replace(begin=3.0),  # A recorder was begun anew.
        second._replace(run=8),
        second._replace(source=first.source),
    ):
        assert continued([first], [other]) == {}


def test_a_command_that_stands_behind_a_later_one_shows_a_sorted_file():
    ticks, places, stamps = _ticks(lambda t: t - 60 * MS * (t >= 1993 * MS))
    order = np.argsort(stamps[1::2], kind='stable')
    ticks = ticks._replace(stamps=ticks.stamps[order], emitted=ticks.emitted[order])
    with pytest.raises(BagError, match=r'the clock was set by -0\.06 s, and the file was sorted'):
        clock_of(ticks, places, np.sort(stamps))


@pytest.mark.parametrize('rate', [0.5, 1.0, 2.0])
def test_the_rate_of_a_clock_is_that_of_most_commands(rate: float):
    times = np.arange(COUNT) * 20 * MS
    clock = (times / rate).astype(np.int64)
    clock[100:] += 3000 * MS  # A pause.
    assert pace(np.ones(COUNT), times, clock) == pytest.approx(rate)
    assert pace(np.arange(COUNT), times, clock) == 1.0  # No run is long enough.


@pytest.mark.parametrize('count', [24, 40, 60, 75, 200])
@pytest.mark.parametrize('step', [-3600.0, -1.0, 0.3, 3600.0])
def test_a_step_of_the_clock_is_no_other_rate(count: int, step: float):
    sent = np.arange(count) * 20 * MS
    stamps = sent + round(step * 1e9) * (np.arange(count) >= count // 2)
    assert pace(np.ones(count, int), sent, stamps) == pytest.approx(1.0)


def test_a_clock_that_gains_is_told():
    def slewed(t):
        return t + (0.1 * np.clip(t - 1000 * MS, 0, 2000 * MS)).astype(np.int64)

    found = clock_of(*_ticks(slewed))
    assert len(found.steps) == 0
    assert found.gained == pytest.approx(0.2, abs=0.001)
    assert clock_of(*_ticks(lambda t: t)).gained == 0.0


@pytest.mark.parametrize(
    ('back', 'dated'),
    [((), slice(0, None)), ((3,), slice(3, None)), ((9,), slice(0, 9)), ((6,), slice(0, None)),
     ((1, 3, 8, 9), slice(3, 8))],
)  # fmt: skip
def test_messages_beyond_a_step_that_no_command_tells_of_have_no_date(back, dated):
    told = np.array([5, 7])
    clock = Clock(told, told, told, np.ones(2), np.empty(0, int), np.zeros(1, int))
    stamps = np.arange(10) * 20 * MS
    for at in back:
        stamps[at:] -= 1000 * MS
    assert steady(np.arange(10), stamps, clock) == dated
