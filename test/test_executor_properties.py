# SPDX-License-Identifier: Apache-2.0
"""Whatever arrives, in whatever order: one command per tick, never stale, never over a limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Phase
from async_chunking.mergers import MERGERS
from async_chunking.safety import Limits

LIMITS = Limits([-1.0, -0.5], [1.0, 2.0], [3.0, 2.0], [5.0, 20.0])
HORIZON = 6
HOLD = 0.3
SLACK = 1e-9
WORSE = st.sampled_from(['nan', 'wide', 'long', 'far', 'future', 'run', 'refusal', 'joints'])


class Faulty(Corrector):
    """Returns whatever, or fails."""

    def __init__(self, value: float | None) -> None:
        self.value = value

    def correct(self, action, row, horizon, observation):
        if self.value is None:
            raise ArithmeticError
        return action + self.value


FAULTS = (None, np.nan, 1e9, -0.3)
CORRECTORS = st.sampled_from([Corrector(), *map(Faulty, FAULTS)])


class ExecutorMachine(RuleBasedStateMachine):
    """Drives the core as a hostile network and a careless operator would."""

    @initialize(
        merger=st.sampled_from(sorted(MERGERS)),
        rate=st.sampled_from([50.0, 20.0, 15.0]),
        blend=st.sampled_from([0.0, 0.1]),
    )
    def begin(self, merger: str, rate: float, blend: float) -> None:
        config = ExecutorConfig(
            LIMITS, ('a', 'b'), HORIZON, 3, policy_rate_hz=rate, blend_s=blend,
            hold_timeout_s=HOLD, request_timeout_s=0.1,
        )  # fmt: skip
        self.core = Executor(config, self.behaviour(merger), 1, np.array([0.2, 0.1]))
        self.requests: list[ChunkRequest] = []
        self.sent = [np.array([0.2, 0.1])]
        self.ticks: list[int] = []
        self.rng = np.random.default_rng(0)

    @staticmethod
    def behaviour(merger: str, corrector: Corrector | None = None) -> Behaviour:
        return Behaviour(merger, MERGERS[merger](), corrector or Corrector())

    @rule(ticks=st.integers(1, 12), seed=st.integers(0, 9))
    def tick(self, ticks: int, seed: int) -> None:
        for _ in range(ticks):
            request = self.core.poll()
            if request is not None:
                assert request.tick == self.core.tick
                assert request.boundary.rows <= HORIZON
                assert np.isfinite(request.boundary.previous).all()
                self.requests.append(request)
            step = self.core.step({'observation.state': np.full(2, seed)})
            self.ticks.append(step.tick)
            self.sent.append(step.command)
            if step.phase is Phase.EXECUTING:
                assert 0.0 <= step.row < 2 * HORIZON
                asked = {r.request_id: r.tick for r in self.requests}[step.request_id]
                if step.took_over:
                    oldest = HORIZON * self.core.config.stride
                    assert step.tick - asked <= max(oldest, HOLD * 50.0)
            else:
                assert step.request_id == 0
                assert np.isnan(step.planned).all()

    @rule()
    def miss_a_deadline(self) -> None:
        self.ticks.append(self.core.skip().tick)
        # What a robot that brakes meanwhile has for a speed is not seen in its commands.
        self.sent[:-1] = [np.full(2, np.nan)] * 2

    @rule(index=st.integers(0, 5), size=st.sampled_from([0.01, 0.5, 1.2]))
    def answer(self, index: int, size: float) -> None:
        """Any of the last requests: late, reordered or twice."""
        if self.requests:
            self.core.push(self.chunk(self.requests[-1 - index % len(self.requests)], size))

    @rule(kind=WORSE)
    def bad_answer(self, kind: str) -> None:
        if not self.requests:
            return
        chunk = self.chunk(self.requests[-1], 0.1)
        before = self.core.counters['accepted']
        rows = chunk.actions
        changes = {
            'nan': {'actions': rows * np.nan},
            'wide': {'actions': np.zeros((HORIZON, 5))},
            'long': {'actions': np.zeros((99, 2))},
            'far': {'actions': rows + 100.0},
            'future': {'tick': self.core.tick + 1},
            'run': {'run_id': 2},
            'refusal': {'refusal': 'no'},
            'joints': {'joint_names': ('b', 'a')},
        }[kind]
        self.core.push(replace(chunk, **changes))
        assert self.core.counters['accepted'] == before

    def chunk(self, request: ChunkRequest, size: float) -> ActionChunk:
        rows = np.clip(self.rng.normal(0.3, size, (HORIZON, 2)), -0.6, 1.1)
        return ActionChunk(1, request.request_id, request.tick, rows, request.boundary.delay)

    @rule(merger=st.sampled_from(sorted(MERGERS)), corrector=CORRECTORS)
    def change_strategy(self, merger: str, corrector: Corrector) -> None:
        self.core.set_behaviour(self.behaviour(merger, corrector))

    @rule(delay=st.integers(0, 30))
    def change_delay(self, delay: int) -> None:
        self.core.delay = delay

    @rule()
    def stop(self) -> None:
        self.core.stop()

    @rule()
    def reset(self) -> None:
        self.core.reset()

    @invariant()
    def every_tick_once(self) -> None:
        assert self.ticks == list(range(len(self.ticks)))

    @invariant()
    def within_limits(self) -> None:
        sent = np.array(self.sent[-40:])
        assert np.isfinite(self.sent[-1]).all()
        velocity = np.diff(sent, axis=0) / 0.02
        acceleration = np.diff(velocity, axis=0) / 0.02
        assert not (sent < LIMITS.lower - SLACK).any()
        assert not (sent > LIMITS.upper + SLACK).any()
        assert not (np.abs(velocity) > LIMITS.velocity + 1e-7).any()
        assert not (np.abs(acceleration) > LIMITS.acceleration + 1e-6).any()


TestExecutorMachine = ExecutorMachine.TestCase
TestExecutorMachine.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True
)
