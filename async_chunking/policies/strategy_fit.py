# SPDX-License-Identifier: Apache-2.0
"""
May a strategy run? `check_strategy` is the one answer; never imports torch.

It is asked twice: before anything starts, with all that is known, and when a strategy is chosen
while the robot runs, with what that process knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from async_chunking.delay import lasts, to_steps
from async_chunking.errors import AsyncChunkingError, StrategyError
from async_chunking.policies.fit import Facts, FitError
from async_chunking.robot.action_modes import ActionModes
from async_chunking.strategies import DEFAULTS, NEEDS, RECIPES, STRATEGIES, Strategy, resolve


@dataclass(frozen=True)
class Timing:
    """
    The times at which chunks are asked for and come.

    Attributes:
        execution_horizon: Rows between two requests.
        delay_s: Delay to be expected [s].
        policy_rate_hz: Rows per second.
    """

    execution_horizon: int
    delay_s: float
    policy_rate_hz: float

    @property
    def delay(self) -> int:
        """Rows of a chunk that pass meanwhile [policy steps]."""
        return to_steps(self.delay_s, self.policy_rate_hz)


def check_strategy(
    strategy: Strategy,
    policy: Facts,
    modes: ActionModes | None = None,
    timing: Timing | None = None,
) -> None:
    """
    Refuse a strategy that cannot run, before the robot moves.

    Args:
        strategy: Resolved.
        policy: What is known of it; `offers` at least.
        modes: What the robot's actions mean, where it is known.
        timing: Where it is known.

    Raises:
        StrategyError: A constant is wrong, the policy lacks what the strategy needs, or the
            actions mean something else than it reads in them. Names what can run instead.
        FitError: Chunks are too short for the timing, or the checkpoint was not trained for it.
    """
    strategy.load_merger()  # Refuses constants that it cannot have, and below the sampler's.
    rows = strategy.rows(policy.horizon, committed=0)
    _check_needs(strategy, policy)
    if modes is not None and strategy.sampler.reads_states:
        _check_states(strategy, modes)
    if timing is not None:
        _check_horizon(strategy, policy, timing)
        _check_training(strategy, policy, timing.delay)
        if rows < timing.execution_horizon:
            msg = (
                f"strategy '{strategy.name}' leaves {rows} rows of a chunk of {policy.horizon}, "
                f'fewer than execution_horizon {timing.execution_horizon}'
            )
            raise FitError(msg)


def first_served(policy: Facts, modes: ActionModes, timing: Timing) -> Strategy:
    """
    Return the first of `DEFAULTS` that can run.

    Raises:
        AsyncChunkingError: None can; says why of the last, which needs least.
    """
    for name in DEFAULTS[:-1]:
        strategy = resolve(name)
        try:
            check_strategy(strategy, policy, modes, timing)
        except AsyncChunkingError:
            continue
        return strategy
    strategy = resolve(DEFAULTS[-1])
    check_strategy(strategy, policy, modes, timing)
    return strategy


def _check_needs(strategy: Strategy, policy: Facts) -> None:
    missing = sorted(strategy.needs - policy.offers)
    if missing:
        possible = ', '.join(n for n, s in STRATEGIES.items() if s.needs <= policy.offers)
        reasons = '; '.join(NEEDS[need] for need in missing)
        msg = f"strategy '{strategy.name}' needs {reasons}. This policy can run: {possible}"
        raise StrategyError(msg)
    recipes = sorted(need.removeprefix('recipe:') for need in strategy.needs & RECIPES)
    if len(recipes) > 1:
        msg = f"strategy '{strategy.name}' needs two policies at once: {' and '.join(recipes)}"
        raise StrategyError(msg)


def _check_states(strategy: Strategy, modes: ActionModes) -> None:
    """Refuse a strategy that reads states in the old plan where its rows are none."""
    if not modes.trivial:
        msg = (
            f"strategy '{strategy.name}' takes the old plan's rows for states, but action modes "
            f'are {", ".join(sorted(set(modes.modes)))}; it needs a policy of absolute positions'
        )
        raise StrategyError(msg)
    if not modes.in_order:
        msg = (
            f"strategy '{strategy.name}' puts rows of the old plan where 'observation.state' is, "
            'but that has the joints in another order; list them in the order of `joints`'
        )
        raise StrategyError(msg)
    if strategy.adds_rows:
        msg = (
            f"strategy '{strategy.name}' adds the old plan's rows up, but they are absolute "
            'positions here; leave mode=delta to code that draws chunks of increments itself'
        )
        raise StrategyError(msg)


def _check_horizon(strategy: Strategy, policy: Facts, timing: Timing) -> None:
    """Refuse a policy whose chunks end before the next can take over."""
    execution_horizon, delay = timing.execution_horizon, timing.delay
    if not 1 <= execution_horizon <= policy.horizon:
        msg = f'execution_horizon must be 1 to the horizon {policy.horizon}'
        msg += f', got {execution_horizon}'
        raise FitError(msg)
    if strategy.rests or lasts(delay, execution_horizon, policy.horizon):
        return
    left = policy.horizon - delay
    remedy = (
        f'execution_horizon may be at most {left}'
        if left > 0
        else 'use a policy with longer chunks, make it quicker, or rest meanwhile: strategy:=sync'
    )
    msg = (
        f'{policy.title}: the horizon of {policy.horizon} rows is too short for execution_horizon '
        f'{execution_horizon} + delay {delay} = {execution_horizon + delay} rows (the delay is '
        f'{timing.delay_s * 1e3:.0f} ms at {timing.policy_rate_hz:g} Hz); {remedy}'
    )
    raise FitError(msg)


def _check_training(strategy: Strategy, policy: Facts, delay: int) -> None:
    """Refuse a delay that the training of the checkpoint did not know."""
    for need in sorted(strategy.needs & set(policy.delays)):
        longest = policy.delays[need][1]
        if delay > longest:
            msg = (
                f"{policy.title}: the checkpoint of strategy '{strategy.name}' was trained for "
                f'delays up to {longest} steps, the delay is {delay}; train it with a higher '
                'max_delay'
            )
            raise FitError(msg)
