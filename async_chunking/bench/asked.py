# SPDX-License-Identifier: Apache-2.0
"""Sweeps that are asked for on the command line instead of in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from async_chunking.bench.protocols import grids
from async_chunking.bench.sweep import BATCH, Sweep
from async_chunking.settings import validated
from async_chunking.sim import TASKS

if TYPE_CHECKING:
    from async_chunking.bench.scene import Bench

QUICK_S, QUICK_ENV_S = 420.0, 210.0
DELAYS = (0, 2, 4, 8)
QUICK_ENV = ('sync', 'naive', 'ensemble', 'rtc', 'paint', 'bid')
"""Strategies that every flow policy can serve, one of each kind: five minutes are not enough for
all of them in an environment that takes a millisecond or more a step."""


def seconds(env: str) -> float:
    """Return how long `quick` may take [s]."""
    return QUICK_ENV_S if env else QUICK_S


def quick(env: str, bench: Bench) -> Sweep:
    """Return what a few minutes are enough for: of an environment, or of the package's own."""
    task = env or next(iter(TASKS))
    usual = bench.execution_horizon(task)
    most = min(usual, bench.horizon(task) - usual)
    delays = [d for d in DELAYS if d <= most and (not env or d != 2)]
    strategies: Any = list(QUICK_ENV) if env else 'all'
    return _sweep(BATCH, task, strategies, delays, [usual])


def sweep_of(
    env: str, strategies: str, delays: str, execution_horizon: str, rollouts: int, bench: Bench
) -> Sweep:
    """
    Return the sweep that words describe.

    Args:
        env: Name of the environment.
        strategies: Names with commas between them, or all.
        delays: Numbers with commas between them [steps].
        execution_horizon: A number, 'delay', or empty for the usual one [steps].
        rollouts: For each cell; rounded up to whole batches.
        bench: Knows the environment.

    Raises:
        SettingsError: A word is none of these.
    """
    usual = execution_horizon or bench.execution_horizon(env)
    steps = [_number(word) for word in _words(delays)]
    return _sweep(whole(rollouts), env, _names(strategies), steps, [_number(usual)])


def by_protocol(protocol: str, env: str, strategies: str, rollouts: int, bench: Bench) -> Sweep:
    """
    Return the sweep of a protocol; see `protocols`.

    Raises:
        AsyncChunkingError: There is none such, or none of its delays is feasible.
    """
    horizon, usual = bench.horizon(env), bench.execution_horizon(env)
    cells = grids(protocol, env, _names(strategies), horizon, usual)
    return validated(Sweep, {'rollouts': whole(rollouts), 'grids': cells}, 'the command line')


def _sweep(rollouts: int, task: str, strategies: Any, delays: list, horizons: list) -> Sweep:
    grid = {
        'tasks': [task],
        'strategies': strategies,
        'delays': delays,
        'execution_horizons': horizons,
    }
    return validated(Sweep, {'rollouts': rollouts, 'grids': [grid]}, 'the command line')


def whole(rollouts: int) -> int:
    """Round up to whole batches."""
    return -(-rollouts // BATCH) * BATCH


def _names(strategies: str) -> Any:
    return strategies if strategies == 'all' else _words(strategies)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(',') if word.strip()]


def _number(word: Any) -> Any:
    """Return a whole number where it is one; the sweep refuses what it cannot use."""
    return int(word) if str(word).isdecimal() else word
