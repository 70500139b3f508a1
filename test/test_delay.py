# SPDX-License-Identifier: Apache-2.0
"""Delay estimators against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from async_chunking.delay import (
    ESTIMATORS,
    Ewma,
    WindowMaximum,
    WindowQuantile,
    feasible,
    lasts,
    to_steps,
)


def test_maximum_forgets_what_leaves_the_window() -> None:
    estimator = WindowMaximum(window=3)
    for seconds in (0.9, 0.1, 0.2):
        estimator.add(seconds)
    assert estimator.estimate == 0.9
    estimator.add(0.15)
    assert estimator.estimate == 0.2


def test_quantile_ignores_a_rare_spike() -> None:
    estimator = WindowQuantile(window=100, quantile=0.9)
    for index in range(100):
        estimator.add(2.0 if index == 50 else 0.1)
    assert estimator.estimate == 0.1


def test_ewma_is_mean_plus_deviations() -> None:
    estimator = Ewma(weight=0.5, deviations=1.0)
    estimator.add(0.1)
    estimator.add(0.3)
    mean = (0.1 * 0.5 + 0.3) / 1.5
    deviation = np.sqrt((0.5 * (0.1 - mean) ** 2 + (0.3 - mean) ** 2) / 1.5)
    assert estimator.estimate == pytest.approx(mean + deviation)


@pytest.mark.parametrize('name', ESTIMATORS)
def test_initial_holds_until_the_first_sample_and_after_reset(name: str) -> None:
    estimator = ESTIMATORS[name](initial=0.12)
    assert estimator.estimate == 0.12
    estimator.add(0.5)
    assert estimator.estimate == pytest.approx(0.5)
    estimator.reset()
    assert estimator.estimate == 0.12


@pytest.mark.parametrize('name', ESTIMATORS)
@pytest.mark.parametrize('bad', [-0.1, np.nan, np.inf])
def test_impossible_samples_are_refused(name: str, bad: float) -> None:
    estimator = ESTIMATORS[name]()
    with pytest.raises(ValueError, match='a delay must be finite and >= 0'):
        estimator.add(bad)
    assert len(estimator) == 0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match='window must be at least 1, got 0'):
        WindowMaximum(window=0)
    with pytest.raises(ValueError, match=r'quantile must be in \[0, 1\], got 2'):
        WindowQuantile(quantile=2)
    with pytest.raises(ValueError, match=r'weight must be in \(0, 1\], got 0'):
        Ewma(weight=0)


def test_a_started_step_counts_whole() -> None:
    assert to_steps(0.0, 50.0) == 0
    assert to_steps(0.02, 50.0) == 1
    assert to_steps(0.021, 50.0) == 2
    assert to_steps(0.12, 50.0) == 6
    assert to_steps(0.12, 15.0) == 2


@pytest.mark.parametrize(
    ('delay', 'execution_horizon', 'horizon', 'long_enough', 'one_at_a_time'),
    [
        (4, 8, 16, True, True),
        (8, 8, 16, True, True),
        (9, 8, 17, True, False),
        (8, 9, 16, False, False),
        (0, 16, 16, True, True),
        (4, 13, 16, False, False),
        (5, 4, 16, True, False),
    ],
)
def test_what_is_feasible(delay, execution_horizon, horizon, long_enough, one_at_a_time) -> None:
    assert lasts(delay, execution_horizon, horizon) is long_enough
    assert feasible(delay, execution_horizon, horizon) is one_at_a_time
