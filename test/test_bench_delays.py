# SPDX-License-Identifier: Apache-2.0
"""Delay models: what REMAC's appendix F describes, and what is feasible."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from async_chunking.bench.delays import DelayModel, DelayModelError, require_feasible


def draws(model: DelayModel, count: int = 4000, s: int = 8) -> list[tuple[int, int]]:
    return list(islice(model.draws(16, s, np.random.default_rng(0)), count))


def test_constant_and_exact() -> None:
    assert set(draws(DelayModel(4))) == {(4, 4)}


def test_noisy_telling_is_wrong_two_times_of_three() -> None:
    told = Counter(told for _, told in draws(DelayModel(4, told='noisy')))
    assert set(told) == {3, 4, 5}
    for count in told.values():
        assert count / 4000 == pytest.approx(1 / 3, abs=0.04)


def test_spikes_are_the_largest_feasible_delay() -> None:
    true = Counter(true for true, _ in draws(DelayModel(2, 'spiky'), s=6))
    assert set(true) == {1, 2, 3, 6}  # min(s, H - s) = 6
    assert true[6] / 4000 == pytest.approx(0.1, abs=0.02)


def test_never_outside_what_is_feasible() -> None:
    for s in (1, 8, 15):
        largest = min(s, 16 - s)
        for truth, told in (('fluctuating', 'noisy'), ('spiky', 'spiky'), ('spiky', 'ewma')):
            for pair in draws(DelayModel(largest, truth, told), 200, s):
                assert all(0 <= steps <= largest for steps in pair)
            for pair in draws(DelayModel(0, truth, told), 200, s):
                assert all(0 <= steps <= largest for steps in pair)


def test_estimators_know_the_past_only() -> None:
    pairs = draws(DelayModel(3, 'spiky', 'maximum'), 300)
    true = [t for t, _ in pairs]
    for index, (_, told) in enumerate(pairs):
        assert told == (max(true[max(0, index - 10) : index]) if index else 3)


def test_labels() -> None:
    assert DelayModel(4).label == '4'
    assert DelayModel(4, 'spiky', 'maximum').label == '4 spiky, told maximum'


def test_refuses_what_does_not_exist() -> None:
    with pytest.raises(DelayModelError, match='Choices: constant, fluctuating, spiky'):
        DelayModel(2, 'jumpy')
    with pytest.raises(DelayModelError, match='Choices: exact, noisy, spiky, maximum'):
        DelayModel(2, told='oracle')
    with pytest.raises(DelayModelError, match='>= 0'):
        DelayModel(-1)


def test_feasibility_names_the_range() -> None:
    require_feasible(8, 8, 16, rests=False)
    require_feasible(0, 1, 16, rests=False)
    with pytest.raises(DelayModelError, match='it must be 4 to 12'):
        require_feasible(4, 3, 16, rests=False)
    with pytest.raises(DelayModelError, match='it must be 4 to 12'):
        require_feasible(4, 13, 16, rests=False)
    with pytest.raises(DelayModelError, match='largest feasible delay is 8'):
        require_feasible(9, 9, 16, rests=False)


def test_a_robot_that_rests_may_wait_as_long_as_it_takes() -> None:
    for delay, s in ((1, 16), (16, 8), (20, 16), (100, 1)):
        require_feasible(delay, s, 16, rests=True)
    with pytest.raises(DelayModelError, match=r'it must be 1 to 16$'):
        require_feasible(20, 17, 16, rests=True)
    assert set(draws(DelayModel(20))) == {(20, 20)}
    assert {true for true, _ in draws(DelayModel(20, 'fluctuating'))} == {19, 20, 21}
    assert {true for true, _ in draws(DelayModel(20, 'spiky'))} == {19, 20, 21}
