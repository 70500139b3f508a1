# SPDX-License-Identifier: Apache-2.0
"""Mergers against constructed plans."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.chunk import Plan
from async_chunking.mergers import MERGERS
from async_chunking.mergers.bspline import BSpline
from async_chunking.mergers.ensemble import Ensemble
from async_chunking.mergers.switch import Switch
from async_chunking.mergers.wait import Wait


def plan(
    origin: float, values: list[float], stride: float = 1.0, takeover: int | None = None
) -> Plan:
    """Return a plan that takes over at its first row, unless told otherwise."""
    takeover = int(origin) if takeover is None else takeover
    return Plan(origin, stride, np.array(values)[:, None], 1, takeover)


def test_plan_is_linear_between_rows_and_absent_outside() -> None:
    slow = plan(10, [0.0, 3.0, 6.0], stride=50 / 15)
    at = slow.at(np.array([9.0, 10.0, 10 + 50 / 15, 15.0, 19.9, 20.0]))[:, 0]
    np.testing.assert_allclose(at, [np.nan, 0.0, 3.0, 4.5, 6.0, np.nan])
    assert slow.end == pytest.approx(20.0)


def test_switch_leaves_the_old_plan_at_once() -> None:
    active = Switch().join((plan(0, [1.0] * 8),), plan(4, [2.0] * 8, takeover=6))
    np.testing.assert_array_equal(Switch().actions(active, np.array([6.0, 11.0]))[:, 0], [2, 2])
    assert np.isnan(Switch().actions(active, np.array([12.0]))).all()


def test_wait_starts_the_chunk_when_it_arrives() -> None:
    active = Wait().join((), plan(4, [0.0, 1.0, 2.0], takeover=9))
    np.testing.assert_array_equal(Wait().actions(active, np.array([9.0, 11.0]))[:, 0], [0, 2])


def test_ensemble_weighs_the_oldest_first() -> None:
    merger = Ensemble(decay=0.5)
    active: tuple[Plan, ...] = ()
    for index, value in enumerate([1.0, 2.0, 4.0]):
        active = merger.join(active, plan(index, [value] * 5))
    weights = np.exp(-0.5 * np.arange(3))
    expected = weights @ [1.0, 2.0, 4.0] / weights.sum()
    assert merger.actions(active, np.array([3.0]))[0, 0] == pytest.approx(expected)


def test_ensemble_counts_only_chunks_that_have_a_row() -> None:
    merger = Ensemble(decay=0.5)
    active = merger.join((plan(0, [1.0] * 4),), plan(2, [2.0] * 4))
    weights = np.exp(-0.5 * np.arange(2))
    expected = [weights @ [1.0, 2.0] / weights.sum(), 2.0, np.nan]
    at = merger.actions(active, np.array([3.0, 5.0, 6.0]))[:, 0]
    np.testing.assert_allclose(at, expected)


@pytest.mark.parametrize('horizon', [6, 50])
def test_ensemble_equals_the_online_recursion_of_act(horizon: int) -> None:
    """It keeps every chunk that has a row, 50 of them at horizon 50 and a chunk each tick."""
    rng = np.random.default_rng(0)
    decay = 0.1
    merger, active = Ensemble(decay=decay), ()
    weights = np.exp(-decay * np.arange(horizon))
    totals = np.cumsum(weights)
    average, count = np.empty(0), np.empty(0, dtype=int)
    for tick in range(2 * horizon + 8):
        chunk = rng.normal(size=horizon)
        active = merger.join(active, plan(tick, list(chunk)))
        # avg <- (avg * sum(w[:c]) + new * w[c]) / sum(w[:c + 1]); the last one appended as is.
        old = chunk[: len(average)]
        average = (average * totals[count - 1] + old * weights[count]) / totals[count]
        average = np.append(average, chunk[len(average) :])
        count = np.append(count + 1, np.ones(horizon - len(count), dtype=int))
        assert merger.actions(active, np.array([float(tick)]))[0, 0] == pytest.approx(average[0])
        average, count = average[1:], np.minimum(count[1:], horizon)


def test_ensemble_of_equal_chunks_is_that_chunk() -> None:
    merger, active = Ensemble(), ()
    for index in range(6):
        active = merger.join(active, plan(index, [0.7] * 8))
    np.testing.assert_allclose(merger.actions(active, np.arange(5.0, 13.0)), 0.7)


def test_bspline_reproduces_a_cubic_and_smooths_a_zigzag() -> None:
    time = np.linspace(0.0, 1.0, 16)
    cubic = np.stack([time**3 - time, 2.0 * time**2], axis=1)
    np.testing.assert_allclose(BSpline().prepare(cubic), cubic, atol=1e-12)
    zigzag = np.where(np.arange(16) % 2, 1.0, -1.0)[:, None]
    smooth = BSpline().prepare(zigzag)
    assert np.abs(np.diff(smooth, n=2, axis=0)).max() < np.abs(np.diff(zigzag, n=2, axis=0)).max()
    assert smooth.shape == zigzag.shape


def test_bspline_has_as_many_control_points_as_it_says() -> None:
    """So many rows can be met exactly, and one more cannot."""
    rows = np.random.default_rng(0).normal(size=(9, 2))
    np.testing.assert_allclose(BSpline(control_points=8).prepare(rows[:8]), rows[:8], atol=1e-9)
    assert np.abs(BSpline(control_points=8).prepare(rows) - rows).max() > 0.01


def test_bspline_leaves_chunks_too_short_for_its_degree() -> None:
    rows = np.ones((3, 2))
    assert BSpline().prepare(rows) is rows


@pytest.mark.parametrize('name', MERGERS)
def test_every_merger_plays_a_single_chunk_as_it_is(name: str) -> None:
    merger = MERGERS[name]()
    rows = np.linspace(0.0, 1.0, 8)[:, None]
    active = merger.join((), Plan(0.0, 1.0, merger.prepare(rows), 1, 0))
    np.testing.assert_allclose(merger.actions(active, np.arange(8.0)), rows, atol=1e-12)
