# SPDX-License-Identifier: Apache-2.0
"""
A rollout that a scheduler of another package drives; what it shares with ours is all but that.

Environment, policy, delays and noise are those of `async_chunking.bench.rollout`. There is no
executor: what the peer sends goes to the environment as it is, or through the gate where asked.
While it sends nothing the last command stands, as with a robot's driver; such a tick is starved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from async_chunking.bench.rollout import Environment, EpisodeRun, Observation, Question, Seed
from async_chunking.chunk import Boundary, ChunkRequest
from async_chunking.executor import ExecutorConfig, Phase, Step
from async_chunking.gate import Gate
from async_chunking.metrics.record import Exchange, Run


class ChunkWanted(NamedTuple):
    """
    What a peer wants a chunk for.

    Attributes:
        observation: What the policy shall see.
        tick: Tick of that observation; row 0 of the chunk belongs to it.
        previous: [R, D] what it will send from that tick on; no rows if it waits.
    """

    observation: Observation
    tick: int
    previous: np.ndarray


class Peer(Protocol):
    """One scheduler of one robot. Each tick: `receive` what is due, `look`, then `command`."""

    def receive(self, rows: np.ndarray, delay: int) -> None:
        """Take the chunk [H, D] that was asked for, `delay` ticks ago."""

    def look(self, tick: int, observation: Observation, idle: bool) -> ChunkWanted | None:
        """See the robot; return what to ask the policy, never unless it is `idle`."""

    def command(self) -> np.ndarray | None:
        """Return what it sends at this tick [D], None for nothing."""


class PeerRun(EpisodeRun):
    """
    One environment with a peer; is a `Loop` of the bench.

    Args:
        environment: Is reset here.
        config: Limits, for the gate, rates and execution horizon.
        peer: New for each rollout.
        delays: (true, told) delay of each chunk [steps].
        seed: Source of everything random.
        rest: What the driver gets while nothing is sent [D], NaN for the last command; None where
            commands are positions.
        gated: Commands go through the gate of the executor.
    """

    turned_away = ''

    def __init__(
        self,
        environment: Environment,
        config: ExecutorConfig,
        peer: Peer,
        delays: Iterator[tuple[int, int]],
        seed: Seed,
        rest: np.ndarray | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__(environment, config, delays, seed, rest)
        self._peer = peer
        self._last = self._before = self._start
        self._gate = Gate(config.limits, config.control_period) if gated else None
        if self._gate:
            self._gate.start(self._last)
        self._asked: ChunkWanted | None = None
        self._arrival: tuple[int, int, np.ndarray] | None = None  # Due tick, delay, rows.
        self._joined = 0  # Request whose chunk came, until its first command.
        self._requests = 0

    @property
    def observation(self) -> Observation:
        """What the policy is asked about."""
        return self._observation if self._asked is None else self._asked.observation

    def ask(self) -> Question | None:
        """Give the peer what has arrived, let it look, and return what it asks."""
        tick = len(self._steps)
        if self._arrival and self._arrival[0] <= tick:
            self._receive(*self._arrival[1:])
        asked = self._peer.look(tick, self._observation, idle=self._asked is None)
        if asked is None:
            return None
        self._asked = asked
        self._requests += 1
        true, told = self._next_delay
        if self._requests == 1:
            true = told = 0  # Drawn before the clock starts, as with our strategies.
        else:
            self._next_delay = next(self._delays)
        boundary = Boundary(asked.previous, told, self._config.execution_horizon)
        request = ChunkRequest(1, self._requests, tick, '', boundary)
        return Question(self, request, true, None)

    def take(self, question: Question, actions: np.ndarray, state: Any, calls: int) -> None:
        """Receive the answer [H, D]; the peer gets it when its delay is over."""
        del state  # Unused.
        assert self._asked is not None
        self.calls += calls
        number, told = question.request.request_id, question.request.boundary.delay
        asked = self._asked
        self._exchanges[number] = Exchange(number, asked.tick, asked.previous, actions, told)
        if question.true_delay:
            due = question.request.tick + question.true_delay
            self._arrival = due, question.true_delay, actions
        else:
            self._receive(0, actions)

    def _receive(self, delay: int, actions: np.ndarray) -> None:
        self._arrival = self._asked = None
        self._joined = self._requests
        self._peer.receive(actions, delay)

    def act(self) -> None:
        """Send what the peer sends at this tick, if anything."""
        self._positions.append(np.array(self._measured))
        wanted = self._peer.command()
        command = self._standing() if wanted is None else self._passed(wanted)
        self._steps.append(self._step(wanted, command))
        self._last = command
        self._send(command)

    def _standing(self) -> np.ndarray:
        """Return what is in force while the peer sends nothing."""
        if self._gate:
            return self._gate.brake()
        if self._rest is None:
            return self._last
        return np.where(np.isnan(self._rest), self._last, self._rest)

    def _passed(self, wanted: np.ndarray) -> np.ndarray:
        before, self._before = self._before, wanted
        return self._gate.follow(wanted, wanted - before) if self._gate else wanted

    def _step(self, wanted: np.ndarray | None, command: np.ndarray) -> Step:
        tick, sent = len(self._steps), wanted is not None
        took_over = bool(sent and self._joined)
        delay = tick - self._exchanges[self._joined].tick if took_over else -1
        request_id = self._joined if took_over else self._running
        if took_over:
            self._joined = 0
        return Step(
            tick,
            Phase.EXECUTING if sent else Phase.HOLDING,
            command,
            np.full_like(command, np.nan) if wanted is None else wanted,
            request_id if sent else 0,
            np.nan,
            took_over,
            delay,
            limited=bool(sent and np.abs(command - wanted).max() > 1e-9),
        )

    @property
    def _running(self) -> int:
        """Number of the request whose chunk was executed last."""
        return next((step.request_id for step in reversed(self._steps) if step.request_id), 0)

    def run(self) -> Run:
        """Return the record."""
        return self._record('peer', {'limited_ticks': sum(s.limited for s in self._steps)})
