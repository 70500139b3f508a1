# SPDX-License-Identifier: Apache-2.0
"""From rows to numbers with intervals: one `Point` per condition, paired tests between two."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import Row
from async_chunking.metrics.intervals import PairedTest, mcnemar, mean_interval, wilson
from async_chunking.strategies import STRATEGIES


class Condition(NamedTuple):
    """What rows are grouped by; seeds are pooled."""

    task: str
    delay: DelayModel
    execution_horizon: int
    horizon: int


class Interval(NamedTuple):
    """A mean with its 95 % interval; NaN where unknown."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    def scaled(self, factor: float) -> Interval:
        """Return it in another unit."""
        return Interval(*(factor * part for part in self))


@dataclass(frozen=True)
class Point:
    """One strategy in one condition.

    Attributes:
        strategy: Name.
        condition: Where it was measured.
        rollouts: How many.
        success: Share of rollouts that solved the task, Wilson interval.
        completion_time: Time of the solved ones, ATR [s].
        consistency: CON of the rollouts [rad].
        seam_jump: Jump of the plan at a takeover, mean of the rollouts' means [rad].
        command_jerk: Root mean square [rad/s^3].
        starved: Share of ticks without a plan.
        calls: Velocity evaluations per chunk.
    """

    strategy: str
    condition: Condition
    rollouts: int
    success: Interval
    completion_time: Interval
    consistency: Interval
    seam_jump: Interval
    command_jerk: Interval
    starved: float
    calls: float

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: nested plain values, None for what is unknown."""
        values = asdict(self)
        condition = values.pop('condition')._asdict()
        condition |= {'delay': asdict(self.condition.delay)}
        flat = {k: v._asdict() if isinstance(v, Interval) else v for k, v in values.items()}
        return _finite({**condition, **flat})


def condition_of(row: Row) -> Condition:
    """Return where a row was measured."""
    delay = DelayModel(row['delay'], row['delay_truth'], row['delay_told'])
    return Condition(row['task'], delay, row['execution_horizon'], row['horizon'])


def points(rows: Iterable[Row]) -> list[Point]:
    """Return one point for each strategy and condition, in the order of tables."""
    groups: dict[tuple[Condition, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((condition_of(row), row['strategy']), []).append(row)
    summaries = [_point(strategy, where, group) for (where, strategy), group in groups.items()]
    return sorted(summaries, key=_order)


def _value(row: Row, name: str) -> float:
    return math.nan if row[name] is None else row[name]


def _point(strategy: str, condition: Condition, rows: Sequence[Row]) -> Point:
    solved = sum(row['success'] for row in rows)

    def interval(name: str) -> Interval:
        return Interval(*mean_interval([_value(row, name) for row in rows]))

    def share(part: str, whole: str) -> float:
        return sum(_value(row, part) for row in rows) / sum(_value(row, whole) for row in rows)

    return Point(
        strategy=strategy,
        condition=condition,
        rollouts=len(rows),
        success=Interval(solved / len(rows), *wilson(solved, len(rows))),
        completion_time=interval('completion_time_s'),
        consistency=interval('consistency_rad'),
        seam_jump=interval('seam_jump_rad'),
        command_jerk=interval('command_jerk_rad_s3'),
        starved=share('starved_ticks', 'ticks'),
        calls=share('calls', 'chunks'),
    )


def _order(point: Point) -> tuple:
    where = point.condition
    return where.task, strategy_order(point.strategy), where.execution_horizon, where.delay.label


def strategy_order(name: str) -> tuple:
    """Return a sorting key: the order of the strategy table, combinations after it."""
    names = list(STRATEGIES)
    return (names.index(name) if name in names else len(names), name)


def paired(rows: Iterable[Row], reference: str) -> dict[tuple[Condition, str], PairedTest]:
    """Return McNemar's test of every other strategy against `reference`, on the same episodes.

    Rows are pairs when condition, level of a pooled task, seed and rollout agree: same episode,
    delays and first noise.
    """
    solved: dict[tuple[Condition, str], dict[tuple[str, int, int], bool]] = {}
    for row in rows:
        episodes = solved.setdefault((condition_of(row), row['strategy']), {})
        episodes[row.get('level', ''), row['seed'], row['rollout']] = row['success']
    tests = {}
    for (where, strategy), episodes in solved.items():
        others = solved.get((where, reference), {})
        common = sorted(episodes.keys() & others.keys())
        if strategy != reference and common:
            tests[where, strategy] = mcnemar(
                [others[key] for key in common], [episodes[key] for key in common]
            )
    return tests


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
