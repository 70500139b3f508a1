# SPDX-License-Identifier: Apache-2.0
"""The command loop: drives the core executor, one tick per deadline, and nothing else.

It runs in a process that does nothing else either. What others have for it is taken between two
ticks by `listen`, a bounded share each time.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from async_chunking.chunk import ActionChunk
from async_chunking.executor import Admitted, Behaviour, Executor, ExecutorConfig, Outcome, Step
from async_chunking.gate import Gate
from async_chunking.nodes.braking import Output, at_rest, come_to_rest, send
from async_chunking.nodes.garbage import Garbage
from async_chunking.nodes.pacing import Due, Pace
from async_chunking.nodes.sender.values import Known
from async_chunking.pose import go_on

_CHUNKS_PER_TICK = 16  # A flood of chunks must not delay the command,
_CHUNKS = 256  # nor fill the memory.
_WAIT_S = 0.1  # How often the loop looks whether it shall end [s].


class CommandLoop:
    """Owns the core executor and ticks it.

    Args:
        config: Settings of the executor.
        behaviour: Merger and corrector to begin with.
        pace: Clock that says when ticks are due.
        output: Where commands and reports go.
        listen: Takes what others have for the loop, and calls the methods below.
        gate: Gate of commands that were sent before, to go on from the last of them.
        displaced: What is done if the joints rest elsewhere then; see `pose.go_on`.

    Attributes:
        gate: Through which every command goes; None until a pose is known.
        known: The newest that others know; `listen` replaces it.
        behaviour: For the next chunk boundary; `listen` replaces it.
        executor: The core of the current run; None until a pose is known.
        last: [D] the last command that was sent [rad, m]; NaN before the first.
        served: The last strategy of which a chunk took over.
        error: What ended the loop, None if nothing did.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        behaviour: Behaviour,
        pace: Pace,
        output: Output,
        listen: Callable[[], None],
        gate: Gate | None = None,
        displaced: str = 'keep',
    ) -> None:
        self.gate = gate
        self.known = Known()
        self.behaviour = behaviour
        self.executor: Executor | None = None
        self.last = np.full(config.action_dim, np.nan)
        self.served = ''
        self.error: BaseException | None = None
        self._displaced = displaced
        self._config = config
        self._pace = pace
        self._output = output
        self._listen = listen
        self._chunks: deque[ActionChunk | Admitted] = deque()
        # Longer than a tick, so that only a clock that stands still makes the loop look up.
        self._patience = max(_WAIT_S, 2.0 * config.control_period)
        self._past: Counter[str] = Counter()
        self._sent_ns = 0  # When the last command was; before the first, when the run began.
        self._halted = False
        self._resting = False

    @property
    def counters(self) -> Counter[str]:
        """Counts of this run and those before it."""
        return self._past + (self.executor.counters if self.executor else Counter())

    # --- for `listen` ---------------------------------------------------------------------------

    def deliver(self, chunk: ActionChunk | Admitted) -> None:
        """Take a chunk at one of the next ticks."""
        if len(self._chunks) >= _CHUNKS:
            self._past[Outcome.FLOOD.name.lower()] += 1
        else:
            self._chunks.append(chunk)

    def begin(self, most: np.ndarray, displaced: str) -> None:
        """Begin a new run, and leave a safe stop if there is one.

        It goes on from the last command, so that the stream is continuous.

        Args:
            most: [D] what a joint at rest may be off from where it was told to be [rad, m].
            displaced: What is done if it is farther off; see `pose.go_on`.
        """
        pose, gate, home, teleported = self.known.pose, self.gate, None, False
        assert pose is not None  # Whoever begins has seen it.
        self._sent_ns = self._sent_ns or self._pace.now_ns()
        if self.executor is not None:
            self._past += self.executor.counters
        if gate is not None:
            home, teleported = go_on(gate, pose, most, displaced, self._config.endless)
        self.executor = Executor(
            self._config, self.behaviour, secrets.randbits(63), pose, gate, home, teleported
        )
        self.gate = self.executor.gate

    def brake(self) -> None:
        """Bring the robot to rest within its limits, and keep it there until a new run."""
        if self.executor is not None:
            self.executor.stop()

    def rest(self) -> None:
        """Bring the robot to rest within its limits, then end."""
        self.brake()
        self._resting = True
        self._halted |= self.executor is None  # Nothing to bring to rest.

    # --- the loop -------------------------------------------------------------------------------

    def run(self) -> None:
        """Tick until the robot was brought to rest; after an error, bring it to rest."""
        try:
            with Garbage(every=round(self._config.control_rate_hz)) as garbage:
                self._pace.restart()
                while not self._halted:
                    self._turn(garbage)
        except Exception as error:
            self.error = error
            executor, output = self.executor, self._output
            if executor is not None:
                with contextlib.suppress(Exception):
                    self.last = come_to_rest(
                        executor, self._pace, output, self.last, self._patience
                    )

    def _turn(self, garbage: Garbage) -> None:
        due = self._pace.wait(self._patience)
        self._listen()
        if self.executor is None and self.known.pose is not None and not self._halted:
            self.begin(np.zeros(self._config.action_dim), self._displaced)
        executor = self.executor
        if executor is None:
            return
        if due is not None:
            self._tick(executor, due)
            garbage.tick()
        else:  # The clock of a simulation stands still.
            self._take_chunks(executor)
            self._halted |= self._resting

    def _tick(self, executor: Executor, due: Due) -> None:
        skipped = [executor.skip() for _ in range(due.missed)]
        self._take_chunks(executor)
        if due.jumped:
            executor.lose_time(due.silent)
        executor.delay = self.known.delay
        executor.set_behaviour(self.behaviour)
        request = executor.poll()
        step = executor.step(self.known.observation)
        step = self._send(executor, step, due)
        for index, skip in enumerate(skipped):
            due_ns = due.deadline_ns - (due.missed - index) * self._pace.period_ns
            self._output.report(skip, due_ns, self._sent_ns, self)
        if step.took_over:
            self.served = executor.behaviour.name
        self._output.report(step, due.deadline_ns, self._sent_ns, self)
        if request is not None:
            self._output.ask(request)

    def _send(self, executor: Executor, step: Step, due: Due) -> Step:
        """Send at the deadline; what was computed before a long pause is not sent after it."""
        self._output.prepare(step)
        self._pace.hold(due.deadline_ns)
        if self._pace.now_ns() - due.deadline_ns > self._pace.period_ns:
            return executor.withdraw(step)
        step = send(executor, self._output, step)
        if not step.missed:
            self._sent_ns = self._pace.now_ns()
        self._halted |= self._resting and at_rest(executor, step, self.last)
        self.last = step.command
        return step

    def _take_chunks(self, executor: Executor) -> None:
        for _ in range(min(len(self._chunks), _CHUNKS_PER_TICK)):
            executor.push(self._chunks.popleft())
