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

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Step
from async_chunking.metrics.record import Exchange, Run

Observation = Mapping[str, Any]


class Environment(Protocol):
    """What is controlled; `async_chunking.sim.task.Task` is one.

    Observations hold 'observation.state' [D], the measured positions [rad, m]; where actions are
    no positions, whatever there is. An entry may be a picture of bytes, or text.
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


class Loop(Protocol):
    """One environment with what drives it; `ClosedLoopRun` is one.

    Attributes:
        seed: Source of everything random.
        done: The episode is over.
        calls: Velocity evaluations spent on its chunks.
    """

    seed: Seed
    done: bool
    calls: int

    @property
    def observation(self) -> Observation:
        """What the policy is asked about."""

    @property
    def turned_away(self) -> str:
        """Why none of its chunks was taken; empty if one was."""

    def ask(self) -> Question | None:
        """Take over what has arrived; return the question for the policy at this tick, if any."""

    def take(self, question: Question, actions: np.ndarray, state: Any, calls: int) -> None:
        """Receive the answer [rows, D]; it takes over when its delay is over."""

    def act(self) -> None:
        """Send this tick's command."""

    def run(self) -> Run:
        """Return the record."""


@dataclass
class Question:
    """A request on its way through the policy."""

    loop: Loop
    request: ChunkRequest
    true_delay: int
    state: Any

    @property
    def shape(self) -> tuple:
        """What requests of one batch agree in."""
        boundary = self.request.boundary
        stateless = self.state is None
        return boundary.rows, boundary.delay, boundary.execution_horizon, stateless


class EpisodeRun:
    """One environment, and the record of what was done in it; who decides, a subclass says.

    Args:
        environment: Is reset here.
        config: Limits, rates and horizons.
        delays: (true, told) delay of each chunk [steps]; see `DelayModel.draws`.
        seed: Source of everything random.
        rest: What is sent while nothing is planned [D], NaN for the last command; None where
            commands are positions.

    Attributes:
        done: The episode is over.
        calls: Velocity evaluations spent on this run's chunks.
    """

    def __init__(
        self,
        environment: Environment,
        config: ExecutorConfig,
        delays: Iterator[tuple[int, int]],
        seed: Seed,
        rest: np.ndarray | None,
    ) -> None:
        self.seed = seed
        self.done = False
        self.calls = 0
        self._environment = environment
        self._config = config
        self._delays = delays
        self._next_delay = next(delays)
        self._observation = environment.reset(seed.rng(0))
        self._rest = rest
        self._start = self._measured if rest is None else np.nan_to_num(rest)
        self._success = False
        self._steps: list[Step] = []
        self._positions: list[np.ndarray] = []
        self._exchanges: dict[int, Exchange] = {}

    @property
    def _measured(self) -> np.ndarray:
        return self._observation.get('observation.state', np.empty(0))

    def _send(self, command: np.ndarray) -> None:
        """Give the environment a command [D]."""
        self._observation, self.done, self._success = self._environment.step(command)

    def _record(self, strategy: str, counters: Mapping[str, int]) -> Run:
        """Return what was done so far."""
        steps, period = self._steps, self._config.control_period
        unknown = np.full(len(steps), np.nan)
        return Run(
            strategy=strategy,
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
            counters=dict(counters),
            success=self._success,
            completion_time=len(steps) * period if self._success else np.nan,
        )


class ClosedLoopRun(EpisodeRun):
    """One environment with its executor.

    Args:
        environment: See `EpisodeRun`.
        config: Settings of the executor.
        behaviour: Merger and corrector.
        delays: See `EpisodeRun`.
        seed: See `EpisodeRun`.
        rest: See `EpisodeRun`.
    """

    def __init__(
        self,
        environment: Environment,
        config: ExecutorConfig,
        behaviour: Behaviour,
        delays: Iterator[tuple[int, int]],
        seed: Seed,
        rest: np.ndarray | None = None,
    ) -> None:
        super().__init__(environment, config, delays, seed, rest)
        self._executor = Executor(config, behaviour, seed.rollout + 1, self._start)
        self._arrivals: list[tuple[int, ActionChunk]] = []  # (tick, chunk) still on their way.
        self._sampler_state: Any = None

    @property
    def observation(self) -> Observation:
        """What is observed at this tick."""
        return self._observation

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
        if self._rest is not None and not np.isfinite(step.planned).all():
            kept = np.where(np.isnan(self._rest), step.command, self._rest)
            step = step._replace(command=kept)
        self._send(step.command)
        self._steps.append(step)

    @property
    def turned_away(self) -> str:
        """Why none of its chunks was taken; empty if one was, or none came."""
        if self._executor.counters['accepted'] or not self._executor.reasons:
            return ''
        outcome, reason = next(iter(self._executor.reasons.items()))
        return f'every chunk is turned away, {outcome.name.lower()}: {reason}'

    def run(self) -> Run:
        """Return the record."""
        return self._record(self._executor.behaviour.name, self._executor.counters)


class Server(Protocol):
    """What answers questions; see `async_chunking.bench.serving`."""

    def answer(self, questions: Sequence[Question]) -> None:
        """Answer every question by its run's `take`."""


def play(loops: Sequence[Loop], server: Server) -> list[Run]:
    """Play all episodes to their end; environments that finish early leave the batch."""
    active = list(loops)
    while active:
        asked = [loop.ask() for loop in active]
        server.answer([question for question in asked if question is not None])
        for loop in active:
            loop.act()
        active = [loop for loop in active if not loop.done]
    return [loop.run() for loop in loops]
