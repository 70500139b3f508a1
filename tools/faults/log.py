# SPDX-License-Identifier: Apache-2.0
"""What an observer on the network saw of a robot, in the order in which it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

ALIGNMENT = 200  # Commands or steps that discovery may have cost one of the two streams.


class Arrival(NamedTuple):
    """A chunk that the policy sent; `late` if none of its rows was left when it came."""

    run_id: int
    request_id: int
    late: bool = False


class SentCommand(NamedTuple):
    """What a ControlStep says of one tick; `command` [D] as 32 bit numbers [rad, m].

    `teleported`: a simulation had put the robot elsewhere, and the command begins there.
    `seen_ns`: when the observer had it, on a clock that nobody sets.
    """

    run_id: int
    tick: int
    phase: int
    missed: bool
    deadline_ns: int
    command: np.ndarray
    teleported: bool = False
    seen_ns: int = 0


class SeenTakeover(NamedTuple):
    """A chunk that took over at `steps[step]`, when `arrived` chunks had been sent."""

    step: int
    run_id: int
    request_id: int
    arrived: int


@dataclass
class Log:
    """
    Everything so far.

    Attributes:
        commands: [D] each, on the topic that the robot listens to, 64 bit [rad, m].
        steps: One per tick.
        arrivals: Chunks of the policy.
        takeovers: Chunks that took over.
        states: Node -> values of its newest diagnostics.
        sentences: Node -> messages of all its diagnostics.
    """

    commands: list[np.ndarray] = field(default_factory=list)
    steps: list[SentCommand] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    takeovers: list[SeenTakeover] = field(default_factory=list)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    sentences: dict[str, list[str]] = field(default_factory=dict)

    def count(self, name: str, node: str = 'executor') -> int:
        """Return a counter of a node as its diagnostics show it."""
        return int(self.states.get(node, {}).get(name, 0))


def paired(log: Log) -> tuple[list[SentCommand], list[np.ndarray]]:
    """
    Return the steps on which something was sent, and the commands on the wire that belong to them.

    Both streams are complete from some point on; where that is, the values tell.

    Raises:
        ValueError: They do not fit together: a command was sent twice, not at all, or another one.
    """
    sent = [step for step in log.steps if not step.missed]
    stepped = np.array([step.command for step in sent], dtype=np.float32)
    wire = np.array(log.commands, dtype=np.float32)
    for shift in sorted(range(-ALIGNMENT, ALIGNMENT + 1), key=abs):
        steps, commands = max(-shift, 0), max(shift, 0)
        # The newest command may be there before the step that tells of it, or after.
        length = min(len(stepped) - steps, len(wire) - commands)
        left = max(len(stepped) - steps, len(wire) - commands) - length
        if length > 0 and left <= 2 and np.array_equal(
            stepped[steps : steps + length], wire[commands : commands + length], equal_nan=True
        ):  # fmt: skip
            return sent[steps : steps + length], log.commands[commands : commands + length]
    msg = f'{len(stepped)} steps and {len(wire)} commands do not fit together'
    raise ValueError(msg)
