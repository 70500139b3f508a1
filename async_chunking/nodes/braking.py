# SPDX-License-Identifier: Apache-2.0
"""Where a command loop sends its commands, and how it brings the robot to rest after an error."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from async_chunking.chunk import ChunkRequest
from async_chunking.executor import Executor, Step
from async_chunking.nodes.pacing import Pace

_REST_TICKS = 500  # Braking takes no longer than this.
_STILL = 1e-6  # Slower is at rest [rad/s, m/s].


class Output(Protocol):
    """What the loop calls on every tick; must be quick."""

    def prepare(self, step: Step) -> None:
        """Make ready what the command is sent by, in place of what was made and not sent."""

    def command(self, step: Step) -> np.ndarray | None:
        """Send what is ready; return the joints [D] whose drivers did not get it, None if none."""

    def report(self, step: Step, deadline_ns: int, emitted_ns: int, loop: Any) -> None:
        """Tell what was done, and how the command loop stands."""

    def ask(self, request: ChunkRequest) -> None:
        """Put a request to the policy."""


def come_to_rest(
    executor: Executor, pace: Pace, output: Output, last: np.ndarray, patience_s: float
) -> np.ndarray:
    """Brake after an error, with the little that is needed for it.

    Args:
        executor: Core of the run that failed.
        pace: Clock that says when ticks are due.
        output: Where commands go.
        last: [D] the last command that was sent [rad, m].
        patience_s: Longest wait for one tick [s].

    Returns:
        [D] the last command that was sent now.
    """
    executor.stop()
    for _ in range(_REST_TICKS):
        due = pace.wait(patience_s)
        if due is None:
            continue
        step = executor.step()
        output.prepare(step)
        pace.hold(due.deadline_ns)
        step = send(executor, output, step)
        if at_rest(executor, step, last):
            break
        last = step.command
    return last


def send(executor: Executor, output: Output, step: Step) -> Step:
    """Send a tick's command; what a driver did not get is taken back."""
    lost = output.command(step)
    return step if lost is None else executor.withdraw(step, lost)


def at_rest(executor: Executor, step: Step, last: np.ndarray) -> bool:
    """Return whether nothing moves after a tick's command and the `last` [D] before it."""
    return np.array_equal(step.command, last) and bool(
        (np.abs(executor.gate.velocity) < _STILL).all()
    )
