# SPDX-License-Identifier: Apache-2.0
"""Strategies side by side: means with intervals over their runs, and paired tests between two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

from async_chunking.bags.summary import RunReport
from async_chunking.metrics.intervals import PairedTest, mcnemar, mean_interval, wilcoxon, wilson

# Figures that are compared between strategies, by their path in a run's figures.
TESTED = (
    'completion_time_s', 'consistency_rad', 'consistency_l2_rad', 'seam_jump_rad',
    'command_jerk_rad_s3', 'measured_jerk_rad_s3',
)  # fmt: skip
_SIGNED = {'limits.position_margin_rad'}  # All other figures are 0 or more.
_MIN_PAIRS = 6  # Fewer cannot reach 5 % in a two-sided signed-rank test.


class Estimate(NamedTuple):
    """A mean over runs and its 95 % interval; bounds are NaN with a single run."""

    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class StrategyReport:
    """
    All runs of one strategy.

    Attributes:
        strategy: Name of the strategy.
        runs: Those that count: with known outcomes if any has one.
        cut_off: Further runs, which ended before their outcome was known.
        success_rate: With the Wilson interval.
        figures: Path of a figure -> estimate over the runs.
    """

    strategy: str
    runs: Sequence[RunReport]
    cut_off: int
    success_rate: Estimate
    figures: Mapping[str, Estimate]


class Comparison(NamedTuple):
    """A test of one figure between two strategies on the scenes that both played."""

    figure: str
    first: str
    second: str
    test: PairedTest


def flatten(figures: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return nested figures by path: {'delay_steps': {'max': 3}} -> {'delay_steps.max': 3}."""
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = value
    return flat


def by_strategy(runs: Iterable[RunReport]) -> list[StrategyReport]:
    """Return the strategies in the order in which they come, those of each robot for itself."""
    runs = list(runs)
    several = len({run.key.namespace for run in runs}) > 1
    groups: dict[str, list[RunReport]] = {}
    for run in runs:
        name = f'{run.key.namespace or "/"} {run.strategy}' if several else run.strategy
        groups.setdefault(name, []).append(run)
    return [_strategy(name, group) for name, group in groups.items()]


def _strategy(name: str, group: Sequence[RunReport]) -> StrategyReport:
    ended = [run for run in group if run.episodes]
    runs = ended or group
    episodes = [episode for run in runs for episode in run.episodes]
    successes = sum(episode.success for episode in episodes)
    rate = successes / len(episodes) if episodes else math.nan
    interval = wilson(successes, len(episodes)) if episodes else (math.nan, math.nan)
    flat = [flatten(run.figures) for run in runs]
    figures = {
        path: _estimate(path, [_number(f.get(path)) for f in flat])
        for path in flat[0]
        if path != 'strategy'
    }
    rate = Estimate(rate, *interval, len(episodes))
    return StrategyReport(name, runs, len(group) - len(runs), rate, figures)


def _estimate(path: str, values: Sequence[float]) -> Estimate:
    """Return a mean with its interval, cut at 0 where nothing is below."""
    mean, low, high = mean_interval(values)
    return Estimate(mean, low if path in _SIGNED else max(low, 0.0), high, len(values))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def compare(strategies: Sequence[StrategyReport]) -> list[Comparison]:
    """Return the paired tests between all strategies that have enough scenes in common."""
    comparisons = []
    for first, second in combinations(strategies, 2):
        pairs = _pairs(first.runs, second.runs)
        if len(pairs) < _MIN_PAIRS:
            continue
        ended = [(a, b) for a, b in pairs if a.episodes and b.episodes]
        if ended:
            test = mcnemar(
                [bool(a.figures['success']) for a, _ in ended],
                [bool(b.figures['success']) for _, b in ended],
            )
            comparisons.append(Comparison('success', first.strategy, second.strategy, test))
        for figure in TESTED:
            test = wilcoxon(
                [_number(a.figures[figure]) for a, _ in pairs],
                [_number(b.figures[figure]) for _, b in pairs],
            )
            if test.pairs >= _MIN_PAIRS:
                comparisons.append(Comparison(figure, first.strategy, second.strategy, test))
    return comparisons


def _pairs(
    first: Sequence[RunReport], second: Sequence[RunReport]
) -> list[tuple[RunReport, RunReport]]:
    """
    Pair runs of the same scene.

    Of a scene that was played again its first run counts, so that pairs are independent. Runs of
    unknown scenes, as a real robot leaves them, have no partner: the order in which they were
    recorded is none.
    """
    ones, twos = (
        {run.trial: run for run in reversed(runs) if run.trial} for runs in (first, second)
    )
    return [(run, twos[trial]) for trial, run in reversed(ones.items()) if trial in twos]
