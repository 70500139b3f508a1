# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests against published or hand-made answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from async_chunking.metrics.intervals import mcnemar, mean_interval, wilcoxon, wilson


def test_wilson_interval_of_a_known_case():
    """15 of 20, z = 1.96: centre 0.7097, half width 0.1784, by hand."""
    assert wilson(15, 20) == pytest.approx((0.531, 0.888), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match='successes must be 0 to trials = 3, got 4'):
        wilson(4, 3)


def test_mean_interval_is_students():
    """Mean 3, standard error sqrt(2.5 / 5), t(0.975, 4) = 2.776."""
    assert mean_interval([1, 2, 3, 4, 5]) == pytest.approx((3.0, 1.037, 4.963), abs=1e-3)
    mean, low, high = mean_interval([2.0, math.nan])
    assert mean == 2.0
    assert math.isnan(low)
    assert math.isnan(high)


def test_mcnemar_counts_only_the_trials_that_differ():
    """Seven won, one lost: two-sided binomial p = 2 * (1 + 8) / 2^8."""
    first = [True] * 10 + [False] * 7 + [True]
    second = [True] * 10 + [True] * 7 + [False]
    test = mcnemar(first, second)
    assert test.pairs == 18
    assert test.difference == pytest.approx(6 / 18)
    assert test.p_value == pytest.approx(2 * 9 / 256)


def test_mcnemar_says_nothing_without_a_difference():
    assert math.isnan(mcnemar([True, False], [True, False]).p_value)
    with pytest.raises(ValueError, match='got 1 and 2'):
        mcnemar([True], [True, False])


def test_wilcoxon_of_a_clear_difference():
    """All six differences of one sign: p = 2 / 2^6."""
    test = wilcoxon(np.arange(6.0), np.arange(6.0) + np.array([1, 2, 3, 4, 5, 6]) / 10)
    assert test.p_value == pytest.approx(2 / 64)
    assert test.difference == pytest.approx(0.35)


def test_wilcoxon_leaves_out_what_is_not_finite():
    test = wilcoxon([1.0, math.nan, 3.0], [2.0, 5.0, math.inf])
    assert (test.pairs, test.difference) == (1, 1.0)
    assert math.isnan(wilcoxon([1.0, 2.0], [1.0, 2.0]).p_value)
