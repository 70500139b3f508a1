# SPDX-License-Identifier: Apache-2.0
"""Closed-loop rollouts on simulated time: many environments in lockstep, policy calls in batches.

Each environment has an executor of its own, the same object that runs on a robot; only the clock
and the transport are simulated. One tick of all environments is::

    ask      push the chunks whose delay is over, poll for a request        each environment
    answer   draw chunks for the requests that agree in rows, delay and     in batches
             execution horizon; those without delay are pushed at once
    act      step the executor, step the environment                        each environment

All randomness of a rollout comes from its own (seed, rollout, stream), so that neither the other
environments of a batch nor the strategy change its episode, its delays or its first noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils import _pytree as pytree

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Step
from async_chunking.metrics.record import Exchange, Run
from async_chunking.policies.base import CountingPolicy, FlowPolicy
from async_chunking.policies.weak import WithWeak
from async_chunking.samplers.base import Sampler, sample_chunk

Observation = Mapping[str, np.ndarray]


class Environment(Protocol):
    """What is controlled; `async_chunking.sim.task.Task` is one.

    Observations hold 'observation.state' [D], the measured positions [rad, m].
    """

    def reset(self, rng: np.random.Generator) -> Observation:
        """Begin an episode; everything random about it comes from `rng`."""

    def step(self, command: np.ndarray) -> tuple[Observation, bool, bool]:
        """Command one control period: what is observed then, whether it is over, and solved."""


class Seed(NamedTuple):
    """Whose randomness: equal seeds give equal rollouts, whatever else is in the batch."""

    seed: int
    rollout: int

    def rng(self, stream: int) -> np.random.Generator:
        """Return the generator of one stream: 0 episode, 1 delays."""
        return np.random.default_rng([self.seed, self.rollout, stream])

    def noise(self, request_id: int) -> torch.Generator:
        """Return the generator of one request, on the CPU: the same for every strategy."""
        sequence = np.random.SeedSequence([self.seed, self.rollout, 2, request_id])
        word = int(sequence.generate_state(1, np.uint64)[0])
        return torch.Generator().manual_seed(word)


@dataclass
class Question:
    """A request on its way through the policy."""

    loop: ClosedLoopRun
    request: ChunkRequest
    true_delay: int
    state: Any

    @property
    def shape(self) -> tuple:
        """What requests of one batch agree in."""
        boundary = self.request.boundary
        stateless = self.state is None
        return boundary.rows, boundary.delay, boundary.execution_horizon, stateless


class ClosedLoopRun:
    """One environment with its executor, and the record of what they did.

    Args:
        environment: Is reset here.
        config: Settings of the executor.
        behaviour: Merger and corrector.
        delays: (true, told) delay of each chunk [steps]; see `DelayModel.draws`.
        seed: Source of everything random.

    Attributes:
        done: The episode is over.
        calls: Velocity evaluations spent on this run's chunks.
    """

    def __init__(
        self,
        environment: Environment,
        config: ExecutorConfig,
        behaviour: Behaviour,
        delays: Iterator[tuple[int, int]],
        seed: Seed,
    ) -> None:
        self.seed = seed
        self.done = False
        self.calls = 0
        self._environment = environment
        self._config = config
        self._delays = delays
        self._next_delay = next(delays)
        self._observation = environment.reset(seed.rng(0))
        self._executor = Executor(config, behaviour, seed.rollout + 1, self._measured)
        self._arrivals: list[tuple[int, ActionChunk]] = []  # (tick, chunk) still on their way.
        self._sampler_state: Any = None
        self._success = False
        self._steps: list[Step] = []
        self._positions: list[np.ndarray] = []
        self._exchanges: dict[int, Exchange] = {}

    @property
    def observation(self) -> Observation:
        """What is observed at this tick."""
        return self._observation

    @property
    def _measured(self) -> np.ndarray:
        return self._observation['observation.state']

    def ask(self) -> Question | None:
        """Take over what has arrived; return the question for the policy at this tick, if any."""
        executor = self._executor
        for arrival in [a for a in self._arrivals if a[0] <= executor.tick]:
            self._arrivals.remove(arrival)
            executor.push(arrival[1])
        true, executor.delay = self._next_delay
        request = executor.poll()
        if request is None:
            return None
        if request.request_id == 1:  # Drawn before the clock starts, as in the papers.
            return Question(self, request, 0, None)
        self._next_delay = next(self._delays)
        return Question(self, request, true, self._sampler_state)

    def take(self, question: Question, actions: np.ndarray, state: Any, calls: int) -> None:
        """Receive the answer [rows, D]; it takes over when its delay is over."""
        request = question.request
        self.calls += calls
        self._sampler_state = state
        told = request.boundary.delay
        chunk = ActionChunk(request.run_id, request.request_id, request.tick, actions, told)
        self._exchanges[request.request_id] = Exchange(
            request.request_id, request.tick, request.boundary.previous, chunk.actions, told
        )
        due = request.tick + int(question.true_delay * self._config.stride + 1e-9)
        if due > self._executor.tick:
            self._arrivals.append((due, chunk))
        else:
            self._executor.push(chunk)

    def act(self) -> None:
        """Send this tick's command."""
        self._positions.append(np.array(self._measured))
        step = self._executor.step(self._observation)
        self._observation, self.done, self._success = self._environment.step(step.command)
        self._steps.append(step)

    def run(self) -> Run:
        """Return the record."""
        steps = self._steps
        period = self._config.control_period
        unknown = np.full(len(steps), np.nan)
        return Run(
            strategy=self._executor.behaviour.name,
            control_period=period,
            stride=self._config.stride,
            tick=np.array([s.tick for s in steps]),
            phase=np.array([s.phase for s in steps]),
            command=np.array([s.command for s in steps]),
            planned=np.array([s.planned for s in steps]),
            measured=np.array(self._positions),
            request_id=np.array([s.request_id for s in steps]),
            took_over=np.array([s.took_over for s in steps]),
            delay=np.array([s.delay for s in steps]),
            missed=np.array([s.missed for s in steps]),
            emitted=unknown,
            deadline=unknown,
            exchanges=self._exchanges,
            counters=dict(self._executor.counters),
            success=self._success,
            completion_time=len(steps) * period if self._success else np.nan,
        )


class SamplingServer:
    """Draws the chunks of many runs with one policy and one sampler.

    Args:
        policy: Policy of the strategy.
        sampler: Sampler of the strategy.
        weak: A weaker checkpoint of the policy, if the sampler asks for one.
    """

    def __init__(
        self, policy: FlowPolicy, sampler: Sampler, weak: FlowPolicy | None = None
    ) -> None:
        self._counted = [CountingPolicy(one) for one in (policy, weak) if one is not None]
        self._policy = self._counted[0] if weak is None else WithWeak(*self._counted)
        self._sampler = sampler

    def answer(self, questions: Sequence[Question]) -> None:
        """Answer every question, in as few batches as their shapes allow."""
        groups: dict[tuple, list[Question]] = {}
        for question in questions:
            groups.setdefault(question.shape, []).append(question)
        for group in groups.values():
            self._answer_batch(group)

    @property
    def _samples(self) -> int:
        return sum(policy.samples for policy in self._counted)

    def _answer_batch(self, group: Sequence[Question]) -> None:
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


def _batch(group: Sequence[Question]) -> dict[str, torch.Tensor]:
    observations = [question.loop.observation for question in group]
    return {
        name: torch.as_tensor(np.stack([o[name] for o in observations]), dtype=torch.float32)
        for name in observations[0]
    }


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


def play(loops: Sequence[ClosedLoopRun], server: SamplingServer) -> list[Run]:
    """Play all episodes to their end; environments that finish early leave the batch."""
    active = list(loops)
    while active:
        asked = [loop.ask() for loop in active]
        server.answer([question for question in asked if question is not None])
        for loop in active:
            loop.act()
        active = [loop for loop in active if not loop.done]
    return [loop.run() for loop in loops]
