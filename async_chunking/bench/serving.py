# SPDX-License-Identifier: Apache-2.0
"""Answers the questions of many runs with one policy: in batches where the policy can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from async_chunking.bench.rollout import Question
from async_chunking.chunk import Boundary
from async_chunking.policies.base import ChunkPolicy, CountingPolicy, FlowPolicy
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import Sampler, sample_chunk


class SamplingServer:
    """Draws the chunks of many runs with one policy and one sampler.

    Args:
        policy: Policy of the strategy; one without a velocity is asked for each run on its own.
        sampler: Sampler of the strategy.
        weak: A weaker checkpoint of the policy, if the sampler asks for one.
    """

    def __init__(
        self,
        policy: FlowPolicy | ChunkPolicy,
        sampler: Sampler,
        weak: FlowPolicy | None = None,
    ) -> None:
        self._sampler = sampler
        self._chunks = policy if isinstance(policy, ChunkPolicy) else None
        flows = [one for one in (policy, weak) if isinstance(one, FlowPolicy)]
        self._counted = [CountingPolicy(one) for one in flows]
        self._policy = WithWeak(*self._counted) if weak else (self._counted or [None])[0]

    def answer(self, questions: Sequence[Question]) -> None:
        """Answer every question, in as few batches as their shapes allow."""
        if self._chunks is not None:
            for question in questions:
                self._answer_one(self._chunks, question)
            return
        groups: dict[tuple, list[Question]] = {}
        for question in questions:
            groups.setdefault(question.shape, []).append(question)
        for group in groups.values():
            self._answer_batch(group)

    @property
    def _samples(self) -> int:
        return sum(policy.samples for policy in self._counted)

    def _answer_one(self, policy: ChunkPolicy, question: Question) -> None:
        """Answer as a policy node does: servers and LeRobot take one observation at a time."""
        noise = question.loop.seed.noise(question.request.request_id)
        actions = policy.chunk(_batch([question]), noise)
        question.loop.take(question, actions[0].double().cpu().numpy(), None, 1)

    def _answer_batch(self, group: Sequence[Question]) -> None:
        assert self._policy is not None  # Else there is a chunk policy.
        before = self._samples
        first = group[0].request.boundary
        previous = torch.as_tensor(
            np.stack([q.request.boundary.previous for q in group]), dtype=torch.float32
        )
        boundary = Boundary(previous, first.delay, first.execution_horizon)
        noise = [q.loop.seed.noise(q.request.request_id) for q in group]
        state = _joined([q.state for q in group])
        drawn = sample_chunk(self._policy, self._sampler, _batch(group), boundary, noise, state)
        actions = drawn.actions.double().cpu().numpy()
        calls = (self._samples - before) // len(group)
        for index, question in enumerate(group):
            question.loop.take(question, actions[index], _one(drawn.state, index), calls)


def _batch(group: Sequence[Question]) -> dict[str, Any]:
    """Return the observations as a policy takes them; see `policies.base.Observation`."""
    observations = [question.loop.observation for question in group]
    return {name: _entry([o[name] for o in observations]) for name in observations[0]}


def _entry(values: Sequence[Any]) -> Any:
    if isinstance(values[0], str):
        return list(values)
    stacked = np.stack(values)
    kind = torch.uint8 if stacked.dtype == np.uint8 else torch.float32
    return torch.as_tensor(stacked, dtype=kind)


def _joined(states: Sequence[Any]) -> Any:
    """Join samplers' states of single streams to that of a batch; None stays None."""
    return pytree.tree_map(
        lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], torch.Tensor) else leaves[0],
        *states,
    )


def _one(state: Any, index: int) -> Any:
    """Cut one stream's state out of that of a batch."""
    return pytree.tree_map(
        lambda leaf: leaf[index : index + 1] if isinstance(leaf, torch.Tensor) else leaf, state
    )
