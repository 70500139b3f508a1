# SPDX-License-Identifier: Apache-2.0
"""
Protocols of publications by name: which delays with which execution horizons, what is reported.

`rtc`: as `eval_flow.py` of the authors' real-time-chunking-kinetix (arXiv 2506.07339): d from 0 to
4, every s from max(1, d) to H - d; the figure over delays has s = max(1, d).

`remac`: arXiv 2601.20130: the same cells, at H = 8 in the text max(1, d) to 9 - d and in the code
`range(max(1, d), 9 - d)`, so that 9 - d itself, which is not feasible, is not among them; for each
delay the mean over its execution horizons.

`review`: arXiv 2605.08168 goes to d = 8 on Kinetix and to 20 on LIBERO, here as far as H / 2 lets
it. Its execution horizons are not known here; s = max(1, d), and the delays between, are ours.

`robot`: ours: the robot's own execution horizon, constant delays, and delays as a link has them,
of which the policy is told the maximum so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from async_chunking.bench.rows import Row
from async_chunking.bench.summary import Interval, condition_of, strategy_order
from async_chunking.bench.tables import number, rate
from async_chunking.errors import AsyncChunkingError
from async_chunking.metrics.intervals import mean_interval, wilson
from async_chunking.settings import unknown
from async_chunking.tables import NOTHING, Table

Horizons = Callable[[int, int, int], Sequence[int]]
"""(d, H, the robot's own s) -> execution horizons [steps]."""


@dataclass(frozen=True)
class Protocol:
    """
    Which cells are played, and which of them make a number.

    Attributes:
        source: Where it is from.
        delays: Steps; what is infeasible is left out.
        played: Execution horizons at a delay.
        reported: Those whose mean is the number.
        patterns: (truth, told) of the delays.
    """

    source: str
    delays: tuple[int, ...]
    played: Horizons
    reported: Horizons
    patterns: tuple[tuple[str, str], ...] = (('constant', 'exact'),)


def _all(delay: int, horizon: int, usual: int) -> Sequence[int]:
    del usual  # Unused.
    return range(max(1, delay), horizon - delay + 1)


def _least(delay: int, horizon: int, usual: int) -> Sequence[int]:
    del usual  # Unused.
    return [max(1, delay)] if 2 * delay <= horizon else []


def _usual(delay: int, horizon: int, usual: int) -> Sequence[int]:
    return [usual] if delay <= usual <= horizon - delay else []


PROTOCOLS: dict[str, Protocol] = {
    'rtc': Protocol('arXiv 2506.07339', (0, 1, 2, 3, 4), _all, _least),
    'remac': Protocol('arXiv 2601.20130', (0, 1, 2, 3, 4), _all, _all),
    'review': Protocol('arXiv 2605.08168', (0, 1, 2, 4, 8, 12, 20), _least, _least),
    'robot': Protocol(
        'this package',
        (0, 2, 4, 8),
        _usual,
        _usual,
        (('constant', 'exact'), ('spiky', 'maximum')),
    ),
}


def protocol(name: str) -> Protocol:
    """
    Return a protocol.

    Raises:
        AsyncChunkingError: There is none such; names those there are.
    """
    if name not in PROTOCOLS:
        raise AsyncChunkingError(unknown('protocol', name, PROTOCOLS))
    return PROTOCOLS[name]


def grids(name: str, task: str, strategies: Any, horizon: int, usual: int) -> list[dict[str, Any]]:
    """
    Return the grids of a sweep: one for each delay, as their execution horizons differ.

    Raises:
        AsyncChunkingError: No delay of the protocol is feasible with these chunks.
    """
    chosen, made = protocol(name), []
    for steps in chosen.delays:
        played = list(chosen.played(steps, horizon, usual))
        delays = [
            {'steps': steps, 'truth': truth, 'told': told}
            for truth, told in chosen.patterns
            if steps or truth == 'constant'
        ]
        if played:
            made.append(
                {
                    'tasks': [task],
                    'strategies': strategies,
                    'delays': delays,
                    'execution_horizons': played,
                }
            )
    if not made:
        msg = f"protocol '{name}': none of the delays {chosen.delays} is feasible with chunks of "
        raise AsyncChunkingError(msg + f'{horizon} rows and execution horizon {usual}')
    return made


def reported(name: str, rows: Iterable[Row], usual: int) -> dict[tuple[str, str], Interval]:
    """
    Return the numbers of a protocol: (strategy, delay as told in tables) -> success rate.

    A mean over execution horizons weighs each alike; its interval is over the episodes, each with
    its mean, since the same episodes were played with every one of them.
    """
    groups: dict[tuple[str, str], dict[int, dict[tuple[int, int], bool]]] = {}
    for row in rows:
        where = condition_of(row)
        wanted = protocol(name).reported(where.delay.steps, where.horizon, usual)
        if where.execution_horizon in wanted:
            cells = groups.setdefault((row['strategy'], where.delay.label), {})
            episodes = cells.setdefault(where.execution_horizon, {})
            episodes[row['seed'], row['rollout']] = bool(row['success'])
    return {key: _rate(list(cells.values())) for key, cells in groups.items()}


def _rate(cells: list[dict[tuple[int, int], bool]]) -> Interval:
    if len(cells) == 1:
        solved, count = sum(cells[0].values()), len(cells[0])
        return Interval(solved / count, *wilson(solved, count))
    common = sorted(set.intersection(*(set(episodes) for episodes in cells)))
    means = [float(np.mean([episodes[key] for episodes in cells])) for key in common]
    return Interval(*mean_interval(means))


def table(name: str, rows: Sequence[Row], usual: int) -> Table:
    """Return the protocol's table: strategies against delays."""
    cells = reported(name, rows, usual)
    labels = sorted({label for _, label in cells}, key=lambda text: (int(text.split()[0]), text))
    names = sorted({strategy for strategy, _ in cells}, key=strategy_order)
    lines = tuple(
        (
            strategy,
            *(
                rate(cells[strategy, label]) if (strategy, label) in cells else NOTHING
                for label in labels
            ),
        )
        for strategy in names
    )
    episodes = len({(row['seed'], row['rollout']) for row in rows})
    return Table(
        f'Solved [%] by the protocol {name} ({protocol(name).source})',
        ('strategy', *(f'd = {label}' for label in labels)),
        lines,
        note=f'{number(episodes)} episodes a cell, 95 % intervals.',
    )
