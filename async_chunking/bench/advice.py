# SPDX-License-Identifier: Apache-2.0
"""
What rows say about a latency: a strategy, an execution horizon, training, or that they cannot.

A candidate is a strategy with an execution horizon, at the delay that the latency makes. The one
that solves most leads. A candidate that played less than half of the leader's episodes is left
open. Another is as good as the leader unless McNemar's exact test on the episodes of both says
otherwise at 5 %. Of those as good, the advice is the one that needs no training, and then takes
the fewest policy calls (backward passes are not counted) for each action that is executed. That
it is better than `naive` is claimed at 5 % over all candidates (Bonferroni), as the best of many
looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Interval
from async_chunking.errors import AsyncChunkingError, StrategyError
from async_chunking.metrics.intervals import PairedTest, mcnemar, wilson
from async_chunking.strategies import CORRECTORS, RECIPES, resolve

LEVEL = 0.05
WORTH = 0.10  # A difference in the success rate that is worth knowing.
PLAIN = 'naive'  # What one has without any strategy.


class AdviceError(AsyncChunkingError):
    """There are no rows of what is asked."""


@dataclass(frozen=True)
class Candidate:
    """
    A strategy with an execution horizon, and how it did.

    Attributes:
        strategy: Name.
        execution_horizon: s [steps].
        solved: (seed, rollout, level) -> whether it was solved.
        calls: Velocity evaluations per executed row of a chunk.
        training: What has to be trained for it, recipes by name.
    """

    strategy: str
    execution_horizon: int
    solved: Mapping[tuple, bool]
    calls: float
    training: tuple[str, ...]

    @property
    def name(self) -> str:
        """As one says it to `up`."""
        return f'strategy:={self.strategy} execution_horizon:={self.execution_horizon}'

    @property
    def rollouts(self) -> int:
        """How many were played."""
        return len(self.solved)

    @property
    def success(self) -> Interval:
        """Success rate with its 95 % Wilson interval."""
        count = sum(self.solved.values())
        return Interval(count / self.rollouts, *wilson(count, self.rollouts))

    def against(self, other: Candidate) -> PairedTest:
        """Return the test of this one against another, on the episodes of both."""
        common = sorted(self.solved.keys() & other.solved.keys())
        return mcnemar([other.solved[key] for key in common], [self.solved[key] for key in common])


@dataclass(frozen=True)
class Advice:
    """
    What the rows of one task and delay say.

    Attributes:
        candidates: All, the one that solves most first.
        good: Those as good as the first, it included.
        open: Those that played too little to say.
        chosen: The advice.
        trained: The first, where it needs training and is better than the advice; else None.
        threshold: Largest p for which the advice counts as better than `naive`.
    """

    candidates: Sequence[Candidate]
    good: Sequence[Candidate]
    open: Sequence[Candidate]
    chosen: Candidate
    trained: Candidate | None
    threshold: float

    @property
    def plain(self) -> Candidate | None:
        """What one has without any strategy, as far as it was played."""
        same = [c for c in self.candidates if c.strategy == PLAIN and c not in self.open]
        near = [c for c in same if c.execution_horizon == self.chosen.execution_horizon]
        return (near or same or [None])[0]

    @property
    def undecided(self) -> bool:
        """Whether the rows cannot show that the advice is better than no strategy."""
        plain = self.plain
        if plain is None or plain is self.chosen:
            return True
        test = self.chosen.against(plain)
        return not (test.difference > 0.0 and test.p_value < self.threshold)

    @property
    def enough(self) -> int:
        """
        Rollouts after which a difference of `WORTH` would be seen four times of five.

        For two proportions near those measured, unpaired; pairs need fewer.
        """
        rate = min(max(self.candidates[0].success.value, 0.1), 0.9)
        return math.ceil(2.0 * rate * (1.0 - rate) * ((1.96 + 0.84) / WORTH) ** 2)


def measured_delays(rows: Iterable[Row], task: str) -> list[int]:
    """Return the constant delays of which there are rows [steps], in their order."""
    return sorted({row['delay'] for row in rows if row['task'] == task and _constant(row)})


def candidates(rows: Iterable[Row], task: str, delay: int) -> list[Candidate]:
    """
    Return the candidates at a delay, the one that solves most first.

    Rows count once for each episode; of several policies those of the one with most rows.

    Raises:
        AdviceError: There is no row of it.
    """
    here = [r for r in rows if r['task'] == task and r['delay'] == delay and _constant(r)]
    groups: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in here:
        place = groups.setdefault((row['strategy'], row['execution_horizon']), {})
        place.setdefault(row['policy'], []).append(row)
    if not groups:
        raise AdviceError(f"no rows of '{task}' with a constant delay of {delay} steps")
    made = [_candidate(*key, max(group.values(), key=len)) for key, group in groups.items()]
    return sorted(made, key=lambda c: (-c.success.value, len(c.training), c.calls, c.name))


def advise(ranked: Sequence[Candidate]) -> Advice:
    """Return what candidates say; the first one solves most of those that played enough."""
    most = max(c.rollouts for c in ranked)
    played = [c for c in ranked if 2 * c.rollouts >= most]
    leader = played[0]
    few = [c for c in ranked if c not in played or _pairs(c, leader) < most / 2]
    good = [leader, *(c for c in played[1:] if c not in few and not _worse(c, leader))]
    now = [c for c in good if not c.training] or [
        c for c in played if not c.training and c not in few
    ][:1]
    chosen = min(now or good, key=lambda c: (len(c.training), c.calls, -c.success.value))
    trained = leader if leader.training and chosen not in good else None
    order = [leader, *(c for c in ranked if c is not leader)]
    return Advice(order, good, few, chosen, trained, LEVEL / max(len(ranked) - 1, 1))


def _pairs(one: Candidate, other: Candidate) -> int:
    return len(one.solved.keys() & other.solved.keys())


def _candidate(strategy: str, execution_horizon: int, rows: Sequence[Row]) -> Candidate:
    solved = {(r['seed'], r['rollout'], r.get('level', '')): bool(r['success']) for r in rows}
    chunks = sum(r['chunks'] or 0 for r in rows)
    calls = sum(r['calls'] or 0 for r in rows) / chunks if chunks else math.nan
    return Candidate(
        strategy, execution_horizon, solved, calls / execution_horizon, _training(strategy)
    )


def _training(name: str) -> tuple[str, ...]:
    try:
        needs = resolve(name).needs
    except StrategyError:  # Rows of an older version may name what is gone.
        return ('unknown',)
    return tuple(sorted(need.partition(':')[2] for need in needs & (RECIPES | CORRECTORS)))


def _worse(one: Candidate, leader: Candidate) -> bool:
    return one.against(leader).p_value < LEVEL


def _constant(row: Row) -> bool:
    return (row['delay_truth'], row['delay_told']) == ('constant', 'exact')
