# SPDX-License-Identifier: Apache-2.0
"""The command thread: drives the core executor, one tick per deadline, and nothing else.

Everything that may take long (deserialising, checking and refining chunks, logging) happens in
other threads; what they have for this one comes through a queue and is taken between two ticks.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.executor import (
    Admitted,
    Behaviour,
    Executor,
    ExecutorConfig,
    Outcome,
    Step,
)
from async_chunking.executor.turns import apart
from async_chunking.nodes.pacing import Garbage, Pace, prepare_thread

_CHUNKS_PER_TICK = 16  # A flood of chunks must not delay the command,
_CHUNKS = 256  # nor fill the memory.
_WAIT = 0.1  # How often the thread looks whether it shall end [s].
_REST_TICKS = 500  # Braking takes no longer than this.


class Output(Protocol):
    """What the loop calls on every tick; must be quick."""

    def command(self, step: Step) -> None:
        """Send the command."""

    def report(self, step: Step, deadline_ns: int, emitted_ns: int, executor: Executor) -> None:
        """Tell what was done."""

    def ask(self, request: ChunkRequest) -> None:
        """Put a request to the policy."""


@dataclass
class Inputs:
    """What other threads know; the loop reads it, each field is replaced as a whole.

    Attributes:
        measured: [D] newest joint positions, None before the first [rad, m].
        observation: Newest of every stream, for the corrector.
        behaviour: Merger and corrector for the next chunk boundary.
        delay: To condition the next request on [steps].
    """

    measured: np.ndarray | None
    observation: Mapping[str, np.ndarray] | None
    behaviour: Behaviour
    delay: int = 0


class CommandLoop:
    """Owns the core executor and the thread that ticks it.

    Args:
        config: Of the executor.
        pace: When ticks are due.
        inputs: Shared with the threads that receive.
        output: Where commands and reports go.
        priority: SCHED_FIFO priority, 0 for none.
        lock_memory: Keep all memory in RAM.

    Attributes:
        denied: Wishes about scheduling and memory that the system did not grant.
        error: What ended the thread, None while it runs or after it was stopped.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        pace: Pace,
        inputs: Inputs,
        output: Output,
        priority: int = 0,
        lock_memory: bool = False,
    ) -> None:
        self._config = config
        self._pace = pace
        self._inputs = inputs
        self._output = output
        self._wishes = (priority, lock_memory)
        self._orders: deque[Callable[[], object]] = deque()
        self._chunks: deque[Admitted] = deque()
        # Longer than a tick, so that only a clock that stands still makes the thread look up.
        self._patience = max(_WAIT, 2.0 * config.control_period)
        self._executor: Executor | None = None
        self._last = np.full(config.action_dim, np.nan)
        self._past: Counter[str] = Counter()
        self._halted = False
        self._resting = False
        self.denied: list[str] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name='command', daemon=True)

    # --- for other threads ----------------------------------------------------------------------

    @property
    def executor(self) -> Executor | None:
        """The core of the current run; None until a pose was measured."""
        return self._executor

    @property
    def counters(self) -> Counter[str]:
        """Counts of this run and those before it."""
        executor = self._executor
        return self._past + (executor.counters.copy() if executor else Counter())

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Bring the robot to rest within its limits, then end the thread."""
        self._orders.append(self._rest)
        self._thread.join(timeout=_REST_TICKS * self._config.control_period + 1.0)
        self._halted = True
        self._thread.join(timeout=2.0)

    def deliver(self, chunk: ActionChunk) -> None:
        """Check and refine a chunk here, and let the command thread take it."""
        executor = self._executor
        if executor is not None:
            if len(self._chunks) >= _CHUNKS:
                executor.counters[Outcome.FLOOD.name.lower()] += 1
            else:
                self._chunks.append(executor.admit(chunk))

    def brake(self) -> None:
        """Bring the robot to rest within its limits, and keep it there until a reset."""
        self._orders.append(self._brake)

    def reset(self, displaced: np.ndarray, timeout: float = 2.0) -> int | None:
        """Begin a new run, and leave a safe stop if there is one.

        It goes on from the last command, so that the stream is continuous; a joint that is at rest
        but not where it was told to be goes on from where it was measured.

        Args:
            displaced: [D] how far off that is [rad, m].
            timeout: [s].

        Returns:
            The id of the new run, or None if the thread did not answer.
        """
        done = threading.Event()
        self._orders.append(lambda: (self._begin(displaced), done.set()))
        return self._executor.run_id if done.wait(timeout) else None

    # --- the thread -----------------------------------------------------------------------------

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
            with contextlib.suppress(Exception):
                self._come_to_rest()

    def _run(self) -> None:
        self.denied = prepare_thread(*self._wishes)
        with Garbage(every=round(self._config.control_rate_hz)) as garbage:
            self._pace.restart()
            while not self._halted:
                due = self._pace.wait(self._patience)
                if not self._ready():
                    continue
                if due is None:  # The clock of a simulation stands still.
                    self._run_errands()
                    self._halted |= self._resting
                    continue
                self._tick(due.deadline_ns, due.missed)
                garbage.tick()

    def _ready(self) -> bool:
        if self._executor is None and self._inputs.measured is not None:
            self._begin(np.zeros(self._config.action_dim))
        if self._executor is None and self._orders:  # Nothing to bring to rest.
            self._halted = True
        return self._executor is not None

    def _begin(self, displaced: np.ndarray) -> None:
        measured, gate = self._inputs.measured, None
        if self._executor is not None:
            self._past += self._executor.counters
            gate = self._executor.gate
            off = np.abs(apart(measured, self._last, self._config.endless))
            far = (gate.velocity == 0.0) & (off > displaced)
            if far.any():
                gate.start(np.where(far, measured, self._last))
        self._executor = Executor(
            self._config, self._inputs.behaviour, secrets.randbits(63), measured, gate
        )

    def _tick(self, deadline_ns: int, missed: int) -> None:
        skipping = self._executor
        skipped = [skipping.skip() for _ in range(missed)]
        self._run_errands()
        executor = self._executor
        executor.delay = self._inputs.delay
        executor.set_behaviour(self._inputs.behaviour)
        request = executor.poll()
        step = executor.step(self._inputs.observation)
        self._output.command(step)
        emitted_ns = self._pace.now_ns()
        for index, skip in enumerate(skipped):
            due_ns = deadline_ns - (missed - index) * self._pace.period_ns
            self._output.report(skip, due_ns, emitted_ns, skipping)
        self._output.report(step, deadline_ns, emitted_ns, executor)
        if request is not None:
            self._output.ask(request)
        if self._resting and np.array_equal(step.command, self._last):
            self._halted = True
        self._last = step.command

    def _run_errands(self) -> None:
        while self._orders:
            self._orders.popleft()()
        for _ in range(min(len(self._chunks), _CHUNKS_PER_TICK)):
            self._executor.push(self._chunks.popleft())

    def _brake(self) -> None:
        self._executor.stop()

    def _rest(self) -> None:
        self._executor.stop()
        self._resting = True

    def _come_to_rest(self) -> None:
        """Brake after an error, with the little that is needed for it."""
        self._executor.stop()
        for _ in range(_REST_TICKS):
            if self._pace.wait(self._patience) is not None:
                step = self._executor.step()
                self._output.command(step)
                if np.array_equal(step.command, self._last):
                    return
                self._last = step.command
