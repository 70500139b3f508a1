# SPDX-License-Identifier: Apache-2.0
"""Answers one request after the other: the policy node without ROS."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor.turns import moved, smooth
from async_chunking.policies.base import ChunkPolicy, CountingPolicy, FlowPolicy
from async_chunking.policies.fit import facts_of
from async_chunking.policies.placed import Placement, place
from async_chunking.policies.source import PolicySource
from async_chunking.policies.strategy_fit import check_strategy
from async_chunking.policies.weak import WithWeak
from async_chunking.robot.action_modes import ActionModes
from async_chunking.samplers.base import PolicyError, Sampler, sample_chunk
from async_chunking.strategies import Strategy, resolve


@dataclass(frozen=True)
class _Service:
    """What serves one strategy."""

    sampler: Sampler
    policy: FlowPolicy | ChunkPolicy
    counted: tuple[CountingPolicy, ...]
    checkpoint: str


_ON_CPU = Placement()
_SERVICES = 16  # Strategies, or spellings of their constants, that are kept ready.


class Responder:
    """Serves every strategy that a policy's checkpoints allow; each is loaded when first asked.

    Args:
        source: The policy.
        seed: Seed of all noise.
        placement: Where and how the policy runs.
        modes: What the policy's numbers mean for each joint; None for positions.

    Raises:
        PlacementError: It cannot run there.
    """

    def __init__(
        self,
        source: PolicySource,
        seed: int = 0,
        placement: Placement = _ON_CPU,
        modes: ActionModes | None = None,
    ) -> None:
        placement.check()
        self._source = source
        self._placement = placement
        self._modes = modes
        self._generator = torch.Generator().manual_seed(seed)
        self._services: dict[str, _Service] = {}
        self._policies: dict[Strategy, Any] = {}  # By strategy, whatever its constants are.
        # Run and strategy, and what the sampler wants back at the next request of these.
        self._held: tuple[tuple[int, str], Any] = (0, ''), None

    def answer(
        self,
        request: ChunkRequest,
        observation: Mapping[str, Any],
        measured: np.ndarray | None = None,
    ) -> ActionChunk:
        """Return the chunk for a request, or the reason why there is none.

        Args:
            request: From the executor, in positions, as is the answer. The policy is asked in its
                own numbers, the boundary too.
            observation: Name -> array without batch dimension, or text.
            measured: [D] joints when it was made [rad, m]; needed where the policy's numbers are
                no positions, or a joint turns without end: what is planned is told to the policy
                in the turn of what is measured, and the answer is in that of the plan.
        """
        modes, boundary = self._modes, request.boundary
        try:
            if modes is None or not modes.needs_pose or measured is None:
                return self._answer(request, observation)
            endless = np.array(modes.continuous or [False] * len(measured))
            plan = boundary.previous
            begin = plan[0] if len(plan) else measured
            previous = modes.to_actions(moved(plan, begin, measured, endless), measured)
            request = replace(request, boundary=replace(boundary, previous=previous))
            answer = self._answer(request, observation)
        except (AsyncChunkingError, PolicyError) as error:
            return refused(request, self._source.action_dim, str(error))
        rows = smooth(modes.to_positions(answer.actions, measured), endless)
        return replace(answer, actions=moved(rows, rows[0], begin, endless))

    def warm_up(
        self,
        strategy: str,
        observation: Mapping[str, Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> float:
        """Go through `rehearse` at once.

        Returns:
            What the quickest answer took [s].

        Raises:
            AsyncChunkingError: As `rehearse`.
        """
        return min(self.rehearse(strategy, observation, clock))

    def rehearse(
        self,
        strategy: str,
        observation: Mapping[str, Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> Iterator[float]:
        """Load a strategy and answer made-up requests, so that no real one pays for the first.

        Real requests may be answered between two steps, and do not notice.

        Yields:
            Infinity once it is loaded, then what each answer took [s].

        Raises:
            AsyncChunkingError: The policy cannot serve the strategy, or not this observation.
        """
        self._service(strategy)
        yield math.inf
        mine: tuple[tuple[int, str], Any] = (0, ''), None
        for rows in (0, self._source.horizon, self._source.horizon):
            previous = np.zeros((rows, self._source.action_dim))
            boundary = Boundary(previous, delay=min(rows, 1), execution_horizon=1)
            begin = clock()
            theirs, self._held = self._held, mine
            try:
                self._answer(ChunkRequest(0, 0, 0, strategy, boundary), observation)
            except PolicyError as error:
                msg = f'{self._source.title}: {error}'
                raise AsyncChunkingError(msg) from error
            finally:
                mine, self._held = self._held, theirs
            yield clock() - begin

    def _answer(self, request: ChunkRequest, observation: Mapping[str, Any]) -> ActionChunk:
        service = self._service(request.strategy)
        batch = {name: _batch(values) for name, values in observation.items()}
        before = sum(policy.calls for policy in service.counted)
        if isinstance(service.policy, ChunkPolicy):
            actions, calls = service.policy.chunk(batch, self._generator), 1
        else:
            actions = self._sample(service.policy, service.sampler, request, batch)
            calls = sum(policy.calls for policy in service.counted) - before
        return ActionChunk(
            request.run_id,
            request.request_id,
            request.tick,
            actions[0].double().numpy(),
            conditioned_delay=request.boundary.delay,
            calls=calls,
            checkpoint=service.checkpoint,
        )

    def _sample(
        self, policy: FlowPolicy, sampler: Sampler, request: ChunkRequest, batch: dict
    ) -> torch.Tensor:
        stream = (request.run_id, request.strategy)
        boundary = replace(request.boundary, previous=_batch(request.boundary.previous))
        held, state = self._held
        actions, state = sample_chunk(
            policy, sampler, batch, boundary, self._generator, state if stream == held else None
        )
        self._held = stream, state
        return actions

    def _service(self, name: str) -> _Service:
        if name not in self._services:
            strategy = resolve(name)
            check_strategy(strategy, facts_of(self._source), self._modes)
            self._services[name] = self._load(strategy)
            for oldest in list(self._services)[:-_SERVICES]:
                del self._services[oldest]
        return self._services[name]

    def _load(self, strategy: Strategy) -> _Service:
        kind = replace(strategy, name='', summary='', paper='', constants=())
        if kind not in self._policies:
            self._policies[kind] = self._policy(strategy)
        policy, counted, digest = self._policies[kind]
        return _Service(strategy.load_sampler(), policy, counted, digest)

    def _policy(
        self, strategy: Strategy
    ) -> tuple[FlowPolicy | ChunkPolicy, tuple[CountingPolicy, ...], str]:
        placement, digest = self._placement, self._source.digest(strategy)
        bare = self._source.policy_for(strategy, placement.device)
        if not isinstance(bare, FlowPolicy):
            return place(bare, placement), (), digest
        policy = CountingPolicy(place(bare, placement))
        if 'weak_policy' not in strategy.needs:
            return policy, (policy,), digest
        weak = CountingPolicy(place(self._source.weak_policy(placement.device), placement))
        return WithWeak(policy, weak), (policy, weak), digest


def refused(request: ChunkRequest, columns: int, reason: str) -> ActionChunk:
    """Return the answer to a request that cannot be served."""
    nothing = np.empty((0, columns))
    return ActionChunk(request.run_id, request.request_id, request.tick, nothing, refusal=reason)


def _batch(values: Any) -> Any:
    """Return a batch of one: a uint8 tensor of an image, a list of a text, else float32."""
    if isinstance(values, str):
        return [values]
    array = np.array(values, order='C')  # A copy: pictures are shared, and read only.
    kind = torch.uint8 if array.dtype == np.uint8 else torch.float32
    return torch.as_tensor(array, dtype=kind)[None]
