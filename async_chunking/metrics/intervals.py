# SPDX-License-Identifier: Apache-2.0
"""How sure a number is: confidence intervals, and paired tests between two strategies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """
    Return the Wilson score interval of a success rate.

    Raises:
        ValueError: `successes` is not within 0 to `trials`.
    """
    if not 0 <= successes <= trials:
        msg = f'successes must be 0 to trials = {trials}, got {successes}'
        raise ValueError(msg)
    if trials == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method='wilson')
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return mean and Student-t interval of the finite values; NaN bounds below two of them."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if not len(array):
        return math.nan, math.nan, math.nan
    mean = float(array.mean())
    if len(array) < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf(0.5 + confidence / 2.0, len(array) - 1) * stats.sem(array)
    return mean, float(mean - half), float(mean + half)


class PairedTest(NamedTuple):
    """
    Two strategies on the same trials.

    Attributes:
        pairs: Trials that both have.
        difference: Mean of second minus first; of success, the difference of the rates.
        p_value: Two-sided; NaN without a pair that differs.
    """

    pairs: int
    difference: float
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """
    Test whether two success rates on the same trials differ (McNemar's test, exact).

    Only trials that one strategy solved and the other did not say anything: under the null
    hypothesis either is as likely, a binomial test with probability one half.

    Raises:
        ValueError: The lengths differ.
    """
    one, two = (np.asarray(values, dtype=bool) for values in _same_length(first, second))
    won, lost = int((two & ~one).sum()), int((one & ~two).sum())
    difference = (won - lost) / len(one) if len(one) else math.nan
    p_value = stats.binomtest(won, won + lost).pvalue if won + lost else math.nan
    return PairedTest(len(one), difference, float(p_value))


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """
    Test whether a figure differs on the same trials (Wilcoxon's signed-rank test).

    Pairs with a value that is not finite are left out; equal ones (Pratt) keep their ranks.

    Raises:
        ValueError: The lengths differ.
    """
    one, two = (np.asarray(values, dtype=float) for values in _same_length(first, second))
    difference = (two - one)[np.isfinite(one) & np.isfinite(two)]
    if not difference.any():
        return PairedTest(len(difference), 0.0 if len(difference) else math.nan, math.nan)
    p_value: Any = stats.wilcoxon(difference, zero_method='pratt')[1]
    return PairedTest(len(difference), float(difference.mean()), float(p_value))


def _same_length(first: Sequence, second: Sequence) -> tuple[Sequence, Sequence]:
    if len(first) != len(second):
        msg = f'paired values must be as many on both sides, got {len(first)} and {len(second)}'
        raise ValueError(msg)
    return first, second
