# SPDX-License-Identifier: Apache-2.0
"""The stage `evaluate`: rollouts of a flow policy whose chunks take over late.

The protocol of the RTC benchmark: in each cycle the policy sees the present observation, then the
first `delay` actions of the cycle still come from the chunk before, the rest, up to
`execution_horizon`, from the new one.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from async_chunking.bench.delays import require_feasible
from async_chunking.bench.rows import Row
from async_chunking.bench.sweep import Cell
from async_chunking.chunk import Boundary
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import CountingPolicy, FlowPolicy
from async_chunking.policies.fit import Facts
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.samplers.base import Sampler, sample_chunk
from async_chunking.samplers.plain import Plain
from async_chunking.strategies import resolve
from tools.kinetix.env import Level
from tools.kinetix.flow import OBSERVATION
from tools.kinetix.levels import ACTION_NOISE, MAX_STEPS, STEP_RATE_HZ

PIECE = 256


class ProtocolError(AsyncChunkingError):
    """The benchmark cannot run a strategy."""


def sampler_of(cell: Cell, policy: FlowPolicy) -> Sampler:
    """
    Return the sampler of a cell's strategy.

    Raises:
        DelayModelError: Delay, execution horizon and horizon do not fit.
        StrategyError: The strategy is unknown, or the policy cannot serve it.
        ProtocolError: It changes more than the sampler.
    """
    strategy = resolve(cell.strategy)
    delay, largest = cell.delay.steps, policy.horizon
    require_feasible(delay, cell.execution_horizon, largest, rests=strategy.rests)
    facts = Facts(type(policy).__name__, policy.horizon, policy.action_dim, policy.offers)
    check_strategy(strategy, facts)
    if (strategy.merger, strategy.corrector) != ('switch', 'none'):
        msg = f"'{cell.strategy}' changes more than how a chunk is drawn; this benchmark compares "
        raise ProtocolError(msg + 'samplers')
    return strategy.load_sampler()


def evaluate(level: Level, policy: FlowPolicy, cell: Cell, rollouts: int) -> list[Row]:
    """
    Run rollouts of a cell side by side, each to the end of its first episode.

    The noise on the actions and the first noise of the policy depend on seed and rollout alone, so
    strategies are compared on the same episodes.
    """
    sampler, delay, length = sampler_of(cell, policy), cell.delay.steps, cell.execution_horizon
    counted = InPieces(policy)
    generators = [_generator(cell, index) for index in range(rollouts)]
    simulated = Simulated(level, rollouts, cell.seed)
    results = Results(rollouts)
    running = np.arange(rollouts)
    nothing = Boundary(torch.zeros(rollouts, 0, policy.action_dim), 0, 1)
    previous, memory = _draw(policy, Plain(), simulated, running, nothing, generators, None)
    now = 0
    while now < MAX_STEPS and len(running):
        samples, boundary = counted.samples, Boundary(previous, delay, length)
        actions, memory = _draw(counted, sampler, simulated, running, boundary, generators, memory)
        calls = (counted.samples - samples) // len(running)
        results.cycle(running, actions[:, :delay] - previous[:, :delay], calls)
        played = torch.cat([previous[:, :delay], actions[:, delay:length]], dim=1).numpy()
        for row in range(min(length, MAX_STEPS - now)):
            now += 1
            results.step(*simulated.step(running, played[:, row]), now)
        kept = torch.from_numpy(~results.done[running])
        running = running[kept.numpy()]
        simulated.forget_ended(running)
        previous, memory = _select((actions[:, length:], memory), kept)
    return results.rows(cell)


class Simulated:
    """
    The simulated rollouts. As they end, they are left out, in few sizes, each compiled once.

    The noise on a rollout's actions does not depend on which others are left.
    """

    def __init__(self, level: Level, rollouts: int, seed: int) -> None:
        self.slots = np.arange(rollouts)  # The rollouts simulated, in rising order.
        self.states, self.observations = level.start(rollouts)
        self._rollouts, self._key = rollouts, jax.random.key(seed)
        self._advance = _compiled(level, rollouts)

    def observe(self, running: np.ndarray) -> Tensor:
        """Return the observations [B, O] of rollouts."""
        return torch.from_numpy(np.asarray(self.observations)[self._places(running)])

    def step(self, running: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply actions [B, 6] to rollouts; return for all whether they are done, and solved."""
        command = np.zeros((len(self.slots), actions.shape[1]), np.float32)
        command[self._places(running)] = actions
        self._key, key = jax.random.split(self._key)
        self.states, self.observations, *ends = self._advance(
            self.states, command, key, self.slots
        )
        done, solved = np.zeros((2, self._rollouts), bool)
        done[self.slots], solved[self.slots] = map(np.asarray, ends)
        return done, solved

    def forget_ended(self, running: np.ndarray) -> None:
        """Shrink to a quarter as soon as the running rollouts fit in."""
        quarter = self._rollouts // 4
        if len(running) <= quarter < len(self.slots):
            ended = np.setdiff1d(self.slots, running)
            kept = np.sort(np.concatenate([running, ended[: quarter - len(running)]]))
            places = self._places(kept)
            self.states, self.observations = jax.tree.map(
                lambda leaf: leaf[places], (self.states, self.observations)
            )
            self.slots = kept

    def _places(self, rollouts: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.slots, rollouts)


class InPieces(CountingPolicy):
    """Evaluates large batches, BID's, in pieces: a third faster, as these fit into the cache."""

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        """Evaluate piece by piece; `samples` counts as before, `calls` each piece."""
        parts = zip(*(whole.split(PIECE) for whole in (actions, flow_time, encoding)), strict=True)
        return torch.cat([CountingPolicy.velocity(self, *part) for part in parts])


class Results:
    """What is known of each rollout so far."""

    def __init__(self, rollouts: int) -> None:
        self.done = np.zeros(rollouts, bool)
        self.success = np.zeros(rollouts, bool)
        self.steps = np.full(rollouts, MAX_STEPS)
        self.chunks = np.zeros(rollouts, int)
        self.calls = np.zeros(rollouts, int)
        self.mismatch = np.zeros((rollouts, 2))

    def cycle(self, running: np.ndarray, gap: Tensor, calls: int) -> None:
        """Take in new chunks of the rollouts that are running; `gap` [B, d, D] is new - old."""
        self.chunks[running] += 1
        self.calls[running] += calls
        both = (gap.abs().mean(dim=(1, 2)), gap.norm(dim=2).mean(dim=1))  # NaN without delay.
        self.mismatch[running] += torch.stack(both, dim=1).numpy()

    def step(self, done: np.ndarray, solved: np.ndarray, now: int) -> None:
        """Take in a step of all; only the end of the first episode counts."""
        ended = done & ~self.done
        self.steps[ended] = now
        self.success[ended] = solved[ended]
        self.done |= done

    def rows(self, cell: Cell) -> list[Row]:
        """Return one row per rollout."""
        shared = {k: v for k, v in asdict(cell).items() if k != 'delay'} | {'cell': cell.key}
        shared |= {f'delay_{key}': value for key, value in asdict(cell.delay).items()}
        shared['delay'] = shared.pop('delay_steps')
        gaps = self.mismatch / self.chunks[:, None]
        return [
            {
                **shared,
                'rollout': index,
                'success': bool(self.success[index]),
                'completion_time_s': steps / STEP_RATE_HZ if self.success[index] else None,
                'consistency_rad': gaps[index, 0],
                'consistency_l2_rad': gaps[index, 1],
                'ticks': steps,
                'chunks': int(self.chunks[index]),
                'calls': int(self.calls[index]),
            }
            for index, steps in enumerate(self.steps.tolist())
        ]


def _draw(policy, sampler, simulated, running, boundary, generators, memory) -> tuple:
    seen = {OBSERVATION: simulated.observe(running)}
    own = [generators[index] for index in running]
    return sample_chunk(policy, sampler, seen, boundary, own, memory)


def _generator(cell: Cell, rollout: int) -> torch.Generator:
    name = f'{cell.task} {cell.seed} {rollout}'
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def _select(tree: Any, kept: Tensor) -> Any:
    """Return the same with only the kept elements of each tensor's first dimension."""
    return pytree.tree_map(lambda leaf: leaf[kept] if isinstance(leaf, Tensor) else leaf, tree)


def _compiled(level: Level, rollouts: int) -> Any:
    return partial(_compiled_step(level), rollouts=rollouts)


@cache
def _compiled_step(level: Level) -> Any:
    return jax.jit(partial(_noisy_step, level), static_argnames='rollouts')


def _noisy_step(
    level: Level, states: Any, actions: Any, key: jax.Array, slots: Any, rollouts: int
) -> tuple:
    noise = jax.random.normal(key, (rollouts, actions.shape[1]))[slots]
    after = jax.vmap(level.step)(states, actions + ACTION_NOISE * noise)
    return after.state, after.observation, after.done, after.solved
