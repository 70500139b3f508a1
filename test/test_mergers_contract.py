# SPDX-License-Identifier: Apache-2.0
"""What every merger in the table owes, whatever it does; a new row is tested by being there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import ClassVar

import numpy as np
import pytest

from async_chunking.chunk import Plan
from async_chunking.mergers import MERGERS, Merger

STRIDES = (1.0, 50 / 15)
HORIZON = 8
# Takeovers in ticks after the request: at once, usual, and so late that little is left.
DELAYS = (0, 3, 6)


def chain(stride: float, delay: int, seed: int = 0, count: int = 5) -> list[Plan]:
    """Return plans that were asked for every three rows and take over `delay` rows later."""
    rng = np.random.default_rng(seed)
    plans = []
    for index in range(count):
        asked = round(index * 3 * stride)
        takeover = asked + round(delay * stride)
        rows = np.cumsum(rng.normal(size=(HORIZON, 2)), axis=0)
        plans.append(Plan(float(asked), stride, rows, index + 1, takeover))
    return plans


def joined(merger: Merger, plans: list[Plan]) -> tuple[Plan, ...]:
    active: tuple[Plan, ...] = ()
    for plan in plans:
        active = merger.join(active, plan)
    return active


def after(plan: Plan, step: float = 0.25) -> np.ndarray:
    """Return ticks from a takeover on, until well after the end of every plan."""
    return plan.takeover + np.arange(0.0, 2 * HORIZON * plan.stride, step)


def cases() -> list[list[Plan]]:
    return [chain(stride, delay) for stride in STRIDES for delay in DELAYS]


# --- the contract -------------------------------------------------------------------------------


def says_the_newest_last(merger: Merger) -> None:
    for plans in cases():
        newest = joined(merger, plans)[-1]
        assert newest.request_id == plans[-1].request_id
        assert newest.takeover == plans[-1].takeover


def plans_whatever_a_plan_covers_and_nothing_else(merger: Merger) -> None:
    """NaN only where nothing is planned, in all dimensions at once."""
    for plans in cases():
        active = joined(merger, plans)
        ticks = after(plans[-1])
        absent = np.isnan(merger.actions(active, ticks))
        covered = ~np.isnan([plan.at(ticks)[:, 0] for plan in active])
        assert (absent == absent[:, :1]).all()
        np.testing.assert_array_equal(absent[:, 0], ~covered.any(axis=0))
        assert absent.any()
        assert not absent.all()


def stays_between_the_plans(merger: Merger) -> None:
    for plans in cases():
        active = joined(merger, plans)
        ticks = after(plans[-1])
        there = np.array([plan.at(ticks) for plan in active])
        there = there[:, ~np.isnan(there).all(axis=(0, 2))]
        actions = merger.actions(active, ticks)[: there.shape[1]]
        assert (actions >= np.nanmin(there, axis=0) - 1e-9).all()
        assert (actions <= np.nanmax(there, axis=0) + 1e-9).all()


def keeps_chunks_that_agree(merger: Merger) -> None:
    """Chunks that say the same about the same tick are executed as they are."""
    if merger.waits:
        return  # It begins a chunk where the robot rests, not where its rows belong.
    for plans in cases():
        truth = [
            replace(plan, rows=(plan.origin + plan.stride * np.arange(HORIZON))[:, None])
            for plan in plans
        ]
        active = joined(merger, truth)
        ticks = np.arange(truth[-1].takeover, truth[-1].end - truth[-1].stride, 0.25)
        for plan in truth:  # A last row is held for one step, whatever the next would have been.
            ticks = ticks[(ticks <= plan.end - plan.stride) | (ticks >= plan.end)]
        np.testing.assert_allclose(merger.actions(active, ticks)[:, 0], ticks, atol=1e-9)


def ends_with_the_newest(merger: Merger) -> None:
    """The newest plan alone is left when the others have ended."""
    for plans in cases():
        active = joined(merger, plans)
        others = max((plan.end for plan in active[:-1]), default=0.0)
        ticks = after(plans[-1])
        ticks = ticks[ticks >= others]
        np.testing.assert_allclose(
            merger.actions(active, ticks), active[-1].at(ticks), atol=1e-9, equal_nan=True
        )


def knows_only_differences_of_ticks(merger: Merger) -> None:
    """A run that began an hour ago is executed as one that began now."""
    for plans in cases():
        later = [
            replace(p, origin=p.origin + 180_000, takeover=p.takeover + 180_000) for p in plans
        ]
        ticks = after(plans[-1])
        np.testing.assert_allclose(
            merger.actions(joined(merger, later), ticks + 180_000),
            merger.actions(joined(merger, plans), ticks),
            atol=1e-6,
            equal_nan=True,
        )


def says_the_same_one_by_one(merger: Merger) -> None:
    for plans in cases():
        active = joined(merger, plans)
        ticks = after(plans[-1])
        single = np.vstack([merger.actions(active, ticks[i : i + 1]) for i in range(len(ticks))])
        np.testing.assert_allclose(
            merger.actions(active, ticks), single, atol=1e-12, equal_nan=True
        )


def does_not_jump_where_it_says_so(merger: Merger) -> None:
    """Where one plan takes over from others, and where the others end."""
    if not merger.continuous:
        return
    for plans in cases():
        for count in range(2, len(plans) + 1):
            before, new = joined(merger, plans[: count - 1]), plans[count - 1]
            now = np.array([float(new.takeover)])
            old = merger.actions(before, now)
            if np.isnan(old).any():
                continue  # The robot was at rest.
            active = merger.join(before, new)
            np.testing.assert_allclose(merger.actions(active, now), old, atol=1e-9)
            fine = np.arange(new.takeover, active[-1].end - 1e-3, 1e-3)
            assert np.abs(np.diff(merger.actions(active, fine), axis=0)).max() < 0.05


def counts_from_the_takeover(merger: Merger) -> None:
    """What a plan had for ticks before it took over does not matter, nor when it was asked for."""
    if merger.waits:
        return  # It begins a chunk where the robot rests, whatever row that is.
    for plans in cases():
        new = plans[-1]
        earlier = replace(
            new,
            origin=new.origin - 2 * new.stride,
            rows=np.concatenate([np.full((2, 2), 7.0), new.rows]),
        )
        ticks = after(new)
        np.testing.assert_allclose(
            merger.actions(joined(merger, [*plans[:-1], earlier]), ticks),
            merger.actions(joined(merger, plans), ticks),
            atol=1e-9,
            equal_nan=True,
        )


def forgets_what_has_ended(merger: Merger) -> None:
    """No plan is kept that has no row left, nor more than 16 unless all are averaged."""
    plans = chain(1.0, 3, count=200)
    active = joined(merger, plans)
    assert all(plan.end > plans[-1].takeover for plan in active)
    if getattr(merger, 'max_chunks', None) == 0:
        return
    long = np.zeros((500, 2))  # None of these ends while the others are asked for.
    assert len(joined(merger, [replace(plan, rows=long) for plan in plans[:100]])) <= 16


def is_a_value(merger: Merger) -> None:
    """A merger holds nothing that changes, and changes nothing that it is given."""
    for field in fields(merger):
        with pytest.raises(FrozenInstanceError):
            setattr(merger, field.name, 0)
    plans = chain(1.0, 3)
    kept = [plan.rows.copy() for plan in plans]
    ticks = after(plans[-1])
    merger.prepare(plans[0].rows)
    first, again = (merger.actions(joined(merger, plans), ticks) for _ in range(2))
    np.testing.assert_allclose(first, again, equal_nan=True)
    np.testing.assert_array_equal([plan.rows for plan in plans], kept)


def prepares_rows_of_the_same_shape(merger: Merger) -> None:
    for count in (1, 2, 3, 4, 8, 50):
        rows = np.cumsum(np.random.default_rng(count).normal(size=(count, 3)), axis=0)
        prepared = merger.prepare(rows)
        assert prepared.shape == rows.shape
        assert np.isfinite(prepared).all()


CONTRACT: tuple[Callable[[Merger], None], ...] = (
    says_the_newest_last,
    plans_whatever_a_plan_covers_and_nothing_else,
    stays_between_the_plans,
    keeps_chunks_that_agree,
    ends_with_the_newest,
    knows_only_differences_of_ticks,
    says_the_same_one_by_one,
    does_not_jump_where_it_says_so,
    counts_from_the_takeover,
    forgets_what_has_ended,
    is_a_value,
    prepares_rows_of_the_same_shape,
)


@pytest.mark.parametrize('owed', CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize('name', MERGERS)
def test_every_merger_in_the_table(name: str, owed: Callable[[Merger], None]) -> None:
    owed(MERGERS[name]())


# --- the contract bites -------------------------------------------------------------------------


@dataclass(frozen=True)
class CrossFade(Merger):
    """Fades every plan in over a time, from when it takes over; a right one, not in the table."""

    continuous: ClassVar[bool] = True
    ticks: float = 2.0

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        return (*(plan for plan in active if plan.end > new.takeover), new)[-16:]

    def actions(self, active: tuple[Plan, ...], ticks: np.ndarray) -> np.ndarray:
        said = np.full((len(ticks), active[-1].rows.shape[1]), np.nan)
        for index, plan in enumerate(active):
            weight = self.weight(active, index, ticks)[:, None]
            said = self.mixed(said, plan.at(ticks), weight)
        return said

    def weight(self, active: tuple[Plan, ...], index: int, ticks: np.ndarray) -> np.ndarray:
        """Return how much of a plan is faded in: all of it before what came before it ends."""
        start = active[index].takeover
        end = min([start + self.ticks, *(plan.end for plan in active[:index])])
        return np.clip((ticks - start) / max(end - start, 1e-9), 0.0, 1.0)

    def mixed(self, old: np.ndarray, new: np.ndarray, weight: np.ndarray) -> np.ndarray:
        both = (1.0 - weight) * old + weight * new
        return np.where(np.isnan(new), old, np.where(np.isnan(old), new, both))


class FromItsFirstRow(CrossFade):
    """Fades from the request on instead of from the takeover."""

    def weight(self, active: tuple[Plan, ...], index: int, ticks: np.ndarray) -> np.ndarray:
        return np.clip((ticks - active[index].origin) / self.ticks, 0.0, 1.0)


class FromItsFirstRowAndNoClaim(FromItsFirstRow):
    """The same, and promises no continuity by which it would be found out."""

    continuous: ClassVar[bool] = False


class TheWrongWayRound(CrossFade):
    """Begins with the new plan and goes back to the old."""

    def mixed(self, old: np.ndarray, new: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return super().mixed(old, new, 1.0 - weight)


class PastTheEnd(CrossFade):
    """Is not done when the old plan ends."""

    def weight(self, active: tuple[Plan, ...], index: int, ticks: np.ndarray) -> np.ndarray:
        return np.clip((ticks - active[index].takeover) / 40.0, 0.0, 1.0)


class NothingWithoutBoth(CrossFade):
    """Plans only where both plans have a row."""

    def mixed(self, old: np.ndarray, new: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return new if np.isnan(old).all() else (1.0 - weight) * old + weight * new


class TooMuch(CrossFade):
    """Weights that do not add up to one."""

    def mixed(self, old: np.ndarray, new: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return super().mixed(old, 1.1 * new, weight)


class ForEver(CrossFade):
    """Keeps every plan there was."""

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        return (*active, new)


class NewestFirst(CrossFade):
    """Puts the new plan where the executor does not look."""

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        return (new, *super().join(active, new)[:-1])


class AtItsFirstTick(CrossFade):
    """Counts from the beginning of the run."""

    def weight(self, active: tuple[Plan, ...], index: int, ticks: np.ndarray) -> np.ndarray:
        return np.clip(ticks / 1000.0, 0.0, 1.0) * (index > 0) + (index == 0)


def broken(merger: Merger) -> list[str]:
    names = []
    for owed in CONTRACT:
        try:
            owed(merger)
        except AssertionError:
            names.append(owed.__name__)
    return names


def test_a_right_cross_fade_keeps_the_contract() -> None:
    assert broken(CrossFade()) == []


@pytest.mark.parametrize(
    'wrong',
    [*CrossFade.__subclasses__(), FromItsFirstRowAndNoClaim],
    ids=lambda one: one.__name__,
)
def test_a_wrong_cross_fade_breaks_it(wrong: type[CrossFade]) -> None:
    assert broken(wrong())


def test_a_claim_that_does_not_hold_is_found() -> None:
    class Jumping(MERGERS['switch']):
        continuous = True

    assert broken(Jumping()) == ['does_not_jump_where_it_says_so']
