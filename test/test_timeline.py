# SPDX-License-Identifier: Apache-2.0
"""The timeline: what the blend-in does to the chunks that join while it lasts."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.chunk import Plan
from async_chunking.executor.timeline import Timeline
from async_chunking.mergers.ensemble import Ensemble
from async_chunking.mergers.switch import Switch
from async_chunking.mergers.wait import Wait

BLEND = 20
AHEAD = 8.0 + np.arange(16.0)


@pytest.fixture
def timeline() -> Timeline:
    """A robot at 0 has begun a plan at 1, twenty ticks of blend-in."""
    timeline = Timeline(Switch(), 1.0, BLEND, 1)
    timeline.join(Plan(0.0, 1.0, np.ones((32, 1)), 1, 0), Switch())
    timeline.blend_from(np.zeros(1), 0)
    blended = timeline.actions(np.array([0.0, 5.0, 10.0, 20.0]))[:, 0]
    assert blended.tolist() == [0.0, 0.15625, 0.5, 1.0]  # x² (3 - 2 x)
    return timeline


def test_a_chunk_that_agrees_with_what_it_was_told_is_executed_as_it_is(timeline) -> None:
    told = timeline.upcoming(8, 16)
    timeline.join(Plan(8.0, 1.0, told, 2, 8), Switch())
    np.testing.assert_allclose(timeline.actions(AHEAD), told, atol=1e-12)


@pytest.mark.parametrize(('value', 'offset'), [(1.0, -1.0), (9.0, -1.0), (0.9, -0.9), (-3.0, 0.0)])
def test_what_is_left_of_the_blend_in_never_grows_nor_turns(timeline, value, offset) -> None:
    """The blend-in smooths the start, not the disagreement of chunks."""
    executed = timeline.actions(np.array([8.0]))[0, 0]
    left = 1.0 - executed
    timeline.join(Plan(8.0, 1.0, np.full((16, 1), value), 2, 8), Switch())
    after = timeline.actions(AHEAD)[:, 0]
    expected = {-1.0: -left, -0.9: executed - 0.9, 0.0: 0.0}[offset]
    assert after[0] - value == pytest.approx(expected)
    np.testing.assert_array_equal(after[BLEND - 8 :], value)


def test_after_the_blend_in_a_chunk_counts_at_once(timeline) -> None:
    timeline.join(Plan(21.0, 1.0, np.full((16, 1), -3.0), 2, 21), Switch())
    assert timeline.actions(np.array([21.0]))[0, 0] == -3.0


def test_a_robot_that_waited_begins_its_chunk_as_it_is(timeline) -> None:
    timeline.join(Plan(8.0, 1.0, np.full((16, 1), 0.2), 2, 8), Wait())
    np.testing.assert_array_equal(timeline.actions(AHEAD), 0.2)


def test_what_is_evaluated_ahead_is_what_is_planned_whatever_changes() -> None:
    """Chunks that join, a blend-in, a swap of mergers, ticks that are skipped or come again."""
    rng = np.random.default_rng(0)
    timeline = Timeline(Switch(), 1.5, BLEND, 2)
    for tick in range(400):
        if tick % 7 == 0:
            rows = rng.normal(size=(16, 2))
            merger = (Switch(), Ensemble(), Wait())[int(rng.integers(3))]
            timeline.join(Plan(tick - 1.0, 1.5, rows, tick, tick), merger)
        if rng.random() < 0.03:
            timeline.blend_from(rng.normal(size=2), tick)
        for asked in (tick, tick, tick + int(rng.integers(-3, 60))):
            expected = timeline.actions(asked + np.array([-1.0, 0.0, 1.0]))
            np.testing.assert_allclose(timeline.around(asked), expected, rtol=1e-12, atol=1e-12)
    timeline.clear()
    assert not timeline.covers(400)


def test_many_plans_are_evaluated_for_many_ticks_at_once() -> None:
    count = 0

    class Counted(Ensemble):
        def actions(self, active, ticks):
            nonlocal count
            count += 1
            return super().actions(active, ticks)

    timeline, merger = Timeline(Counted(), 1.0, 0, 1), Counted()
    for tick in range(96):
        if tick % 8 == 0:
            timeline.join(Plan(float(tick), 1.0, np.ones((48, 1)), tick, tick), merger)
        timeline.covers(tick)
        timeline.around(tick)
    assert count == 12  # Once for every chunk that joined, not twice for every tick.
