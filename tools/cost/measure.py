# SPDX-License-Identifier: Apache-2.0
"""
What a chunk costs: every sampler against `plain` on one policy, in one interleaved run.

The velocity calls that a sampler makes are recorded first, by kind (batch, flow time per row,
with a backward pass). In each round every sampler draws one chunk, and the same calls are made
bare right after it, so that a change of the machine's speed meets both alike. The overhead is what
a sampler takes beyond its bare calls.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.policies.base import Encoding, FlowPolicy, Observation, WrappedPolicy
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import Context, normal
from async_chunking.strategies import SAMPLERS

Task = Callable[[], Any]

Timer = Callable[[Task], float]
"""Runs a task once and returns how long it took [ms]."""


class CallKind(NamedTuple):
    """What makes one velocity call cost another time than a second one.

    Attributes:
        batch: Elements.
        flow_time: Flow time of the first element: one, or one for each row.
        gradient: With a backward pass.
    """

    batch: int
    flow_time: tuple[float, ...]
    gradient: bool


@dataclass(frozen=True)
class Cost:
    """
    What one sampler costs.

    Attributes:
        name: In `SAMPLERS`.
        calls: Velocity evaluations for a chunk, a batch of N counted N times.
        ms: Median time for a chunk [ms].
        bare_ms: Median time of its calls alone [ms].
        overhead: Median time beyond the calls, as a part of theirs.
    """

    name: str
    calls: int
    ms: float
    bare_ms: float
    overhead: float


class Recorder(WithWeak):
    """A policy that is its own weak one, and notes the kind of every call."""

    def __init__(self, policy: WithWeak) -> None:
        self._noting = _Noting(policy.policy)
        super().__init__(self._noting, self._noting)

    @property
    def kinds(self) -> list[CallKind]:
        """The calls so far, by kind."""
        return self._noting.kinds


class _Noting(WrappedPolicy):
    def __init__(self, policy: FlowPolicy) -> None:
        super().__init__(policy)
        self.kinds: list[CallKind] = []

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        time = tuple(flow_time[0].reshape(-1).tolist())
        self.kinds.append(CallKind(len(actions), time, actions.requires_grad))
        return super().velocity(actions, flow_time, encoding)


class CostCase:
    """
    A policy with a boundary half a chunk long, and the chunks drawn for it.

    Args:
        policy: To be measured.
        observation: Observation of batch 1.
        num_steps: Solver steps.
        device: Where the policy is.
    """

    def __init__(
        self,
        policy: FlowPolicy,
        observation: Observation,
        num_steps: int,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.policy = WithWeak(policy, policy)
        self.num_steps = num_steps
        generator = torch.Generator(device).manual_seed(0)
        like = torch.zeros(1, device=device)
        noise = normal((1, policy.horizon, policy.action_dim), generator, like)
        with torch.no_grad():
            encoding = self.policy.encode(observation)
        half = policy.horizon // 2
        boundary = Boundary(noise[:, half:].contiguous(), max(half // 2, 1), half)
        self.generator = generator
        self.context = Context(self.policy, encoding, boundary, noise, generator)

    def drawing(self, name: str) -> tuple[Callable[[], Tensor], list[CallKind]]:
        """Return what draws a chunk with a sampler, and the kinds of its calls."""
        sampler = SAMPLERS[name].load(num_steps=self.num_steps)
        recorder = Recorder(self.policy)
        state = None

        def draw(policy: FlowPolicy) -> Any:
            with torch.no_grad():
                return sampler.draw(replace(self.context, policy=policy, state=state))

        state = draw(recorder).state  # The second chunk of a stream is what it costs.
        recorder.kinds.clear()
        draw(recorder)
        return lambda: draw(self.policy).actions, recorder.kinds

    def calling(self, kind: CallKind) -> Callable[[], Tensor]:
        """Return what makes one velocity call of a kind."""
        x = self.context.noise.repeat(kind.batch, 1, 1)
        time = x.new_tensor(kind.flow_time).expand(kind.batch, -1)
        if len(kind.flow_time) == 1:
            time = time.flatten()
        encoding = self.policy.repeat(self.context.encoding, kind.batch)

        def call() -> Tensor:
            with torch.set_grad_enabled(kind.gradient):
                start = x.detach().requires_grad_(kind.gradient)
                v = self.policy.velocity(start, time, encoding)
            return torch.autograd.grad(v, start, x)[0] if kind.gradient else v

        return call


def measure(
    case: CostCase,
    names: Sequence[str],
    rounds: int,
    timer: Timer,
    prepare: Callable[[Task], Task] = lambda task: task,
) -> list[Cost]:
    """
    Return the cost of each sampler.

    Args:
        case: What is sampled.
        names: Keys of `SAMPLERS`.
        rounds: How often each is timed, after one that is not.
        timer: Times one task.
        prepare: Done once with every task that is timed.
    """
    drawn = {name: case.drawing(name) for name in names}
    call = {kind: case.calling(kind) for kind in {k for _, kinds in drawn.values() for k in kinds}}
    pairs = {}
    for name, (draw, kinds) in drawn.items():
        calls = [call[kind] for kind in kinds]
        pairs[name] = prepare(draw), prepare(lambda calls=calls: [one() for one in calls])
    times: dict[str, list[list[float]]] = {name: [] for name in names}
    for count in range(rounds + 1):
        for name, pair in pairs.items():
            taken = [0.0, 0.0]
            for which in (0, 1) if count % 2 else (1, 0):  # Neither is always the later one.
                call[drawn[name][1][0]]()  # So that both find the caches warm.
                taken[which] = timer(pair[which])
            if count > 0:
                times[name].append(taken)
    return [_cost(name, drawn[name][1], times[name]) for name in names]


def _cost(name: str, kinds: Sequence[CallKind], times: Sequence[Sequence[float]]) -> Cost:
    whole, bare = zip(*times, strict=True)
    return Cost(
        name,
        sum(kind.batch for kind in kinds),
        statistics.median(whole),
        statistics.median(bare),
        statistics.median(w / b - 1 for w, b in times),
    )
