# SPDX-License-Identifier: Apache-2.0
"""What became of the stream during a fault, judged by what an observer saw on the network."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from async_chunking.metrics.limit_use import limit_use
from async_chunking.safety import Limits
from tools.faults.done import Done
from tools.faults.log import Log, SentCommand, paired
from tools.faults.table import Fault

MOST_MISSED = 0.01  # Share of the ticks that a loaded machine may cost.
MOST_CHUNKS = 1  # That it may take to go on after a fault.
_EDGE = 2  # Commands at the end of a session that its steps tell of, and the other way round.

_APART = 10  # Ticks between what says nothing of each other.

Tick = tuple[int, int]  # run_id, tick.
Wire = Mapping[Tick, np.ndarray]  # The command [D] of each tick on which one was sent.


@dataclass
class FaultWindow:
    """
    The time of a fault, as places in the log.

    Attributes:
        name: Name of the fault.
        start: First step.
        end: First step after the fault.
        stop: Behind the last step that counts.
        arrived: Chunks that had been sent when it ended.
        asked: Newest request when it ended.
        done: What it did.
        counted: Counter -> by how much it rose, from the executor's diagnostics.
        executor: Whether the executor's process is the same as before.
    """

    name: str
    start: int
    end: int = 0
    stop: int = 0
    arrived: int = 0
    asked: tuple[int, int] = (0, 0)
    done: Done = field(default_factory=Done)
    counted: Mapping[str, int] = field(default_factory=dict)
    executor: bool = True


@dataclass(frozen=True)
class Verdict:
    """
    What became of the stream.

    Attributes:
        name: Name of the fault.
        done: What it did.
        ticks: In the window, the recovery included.
        missed: Among these, ticks on which nothing was sent.
        velocity_use: Largest velocity of the commands on the wire, as a share of the limit.
        acceleration_use: Likewise.
        counted: Rejections and other counters that rose.
        chunks: That it took to go on after the fault, NaN if it never did.
        seconds: That it took.
        recorded: Ticks of the window that are in the recording.
        checks: Name -> whether it is as it must be.
    """

    name: str
    done: Done
    ticks: int
    missed: int
    velocity_use: float
    acceleration_use: float
    counted: Mapping[str, int]
    chunks: float
    seconds: float
    recorded: int
    checks: Mapping[str, bool]

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return all(self.checks.values())

    def figures(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            **vars(self), 'done': self.done.count, 'note': self.done.note, 'passed': self.passed,
        }  # fmt: skip


def judge(
    fault: Fault,
    window: FaultWindow,
    log: Log,
    wire: Wire,
    recorded: Collection[Tick],
    limits: Limits,
    period_ns: int,
) -> Verdict:
    """
    Return what became of the stream in a window.

    Args:
        fault: What went wrong.
        window: Time of the fault.
        log: Log of the whole session.
        wire: The commands of the whole session, from `on_the_wire`.
        recorded: Every ControlStep in the recording.
        limits: Limits of the robot.
        period_ns: Control period [ns].
    """
    steps = log.steps[window.start : window.stop]
    chunks, seconds = _recovery(window, log)
    velocity, acceleration, exceeded, sent_once = _use(steps, wire, limits, period_ns, fault.mute)
    missed = sum(step.missed for step in steps)
    kept = sum((step.run_id, step.tick) in recorded for step in steps)
    # Between two runs a spoiled chunk may be turned away for another reason.
    named = sum(count for name, count in window.counted.items() if name != 'starved_ticks')
    checks = {
        'every tick once and at its time': bool(steps)
        and _contiguous(steps, 0 if fault.paused else period_ns, fault.mute),
        'one command per tick': sent_once,
        'within the limits': exceeded == 0,
        f'at most {100 * MOST_MISSED:.0f} % missed': (
            fault.paused or fault.ends or missed <= MOST_MISSED * len(steps)
        ),
        'rejections named in /diagnostics': (
            all(window.counted.get(name, 0) for name in fault.names)
            and (not fault.names or named >= fault.at_least * window.done.count)
        ),
        f'goes on within {MOST_CHUNKS} chunk': fault.ends or chunks <= MOST_CHUNKS,
        'recording complete': _complete(steps, recorded, fault.cut),
        'the executor lives': fault.ends or window.executor,
        **window.done.checks,
    }
    return Verdict(
        window.name, window.done, len(steps), missed, velocity, acceleration,
        window.counted, chunks, seconds, kept, checks,
    )  # fmt: skip


def _contiguous(steps: Sequence[SentCommand], period_ns: int, mute: bool) -> bool:
    """Return whether ticks follow each other, and deadlines lie on one grid without drift.

    With a period of 0 the grid does not count; if the robot was `mute` there may be gaps.
    """
    for _, run in groupby(steps, key=lambda step: step.run_id):
        own = list(run)
        ticks = np.array([step.tick for step in own])
        due = np.array([step.deadline_ns for step in own])
        gaps = np.diff(ticks) < 1 if mute else np.diff(ticks) != 1
        if gaps.any() or (period_ns and (np.diff(due) != period_ns).any()):
            return False
    return True


def on_the_wire(log: Log) -> Wire:
    """Return the command of every tick; empty if commands and steps do not fit together."""
    try:
        sent, commands = paired(log)
    except ValueError:
        return {}
    return {(step.run_id, step.tick): c for step, c in zip(sent, commands, strict=True)}


def _use(
    steps: Sequence[SentCommand], wire: Wire, limits: Limits, period_ns: int, mute: bool
) -> tuple[float, float, int, bool]:
    """Return use of velocity and acceleration, limits exceeded, and if every tick has a command.

    All runs in one row, `mute` ones with gaps: where one begins, the command goes on, unless the
    step says that the simulation had put its robot elsewhere.
    """
    rows: list[np.ndarray] = []
    ticks: list[int] = []
    silent: list[int] = []
    tick = quiet = lost = 0
    for before, step in pairwise([*steps[:1], *steps]):
        unseen = 0 if before is step else _unseen(before, step, period_ns, mute)
        tick, quiet = tick + 1 + unseen, quiet + unseen + step.missed
        command = wire.get((step.run_id, step.tick))
        if command is not None:
            if step.teleported:  # Apart from what was before, and from rest.
                tick, quiet = tick + _APART, 0
                rows += [command, command]
                ticks += [tick - 2, tick - 1]
                silent += [0, 0]
            rows.append(command)
            ticks.append(tick)
            silent.append(quiet)
            quiet = 0
        elif not step.missed:
            lost += 1
    if not rows:
        return math.nan, math.nan, 0, lost <= _EDGE
    use: Any = limit_use(
        np.array(rows), period_ns * 1e-9, limits, np.array(ticks), np.array(silent)
    ).figures()
    return use['velocity_use'], use['acceleration_use'], int(use['exceeded']), lost <= _EDGE


def _unseen(before: SentCommand, step: SentCommand, period_ns: int, mute: bool) -> int:
    """Return the ticks of silence between two steps of which no step tells."""
    if mute and before.run_id == step.run_id:
        return step.tick - before.tick - 1
    if step.deadline_ns - before.deadline_ns == period_ns or step.missed:
        return 0
    # The robot's clock was set: how long it was silent is what the observer's clock says.
    return max(round((step.seen_ns - before.seen_ns) / period_ns) - 1, 0)


def _recovery(window: FaultWindow, log: Log) -> tuple[float, float]:
    """
    Return how many chunks and seconds it took until a chunk took over after the fault.

    Only chunks for requests that were made after it, since what was under way is a part of the
    fault; and only those that came before their last row was due, since the others say something
    about the speed of the machine.
    """
    for takeover in log.takeovers:
        if takeover.step >= window.end:
            sent = log.arrivals[window.arrived : takeover.arrived]
            count = 0
            for arrival in sent:
                asked_later = arrival[:2] > window.asked or arrival.run_id != window.asked[0]
                in_time = not arrival.late or arrival.request_id == takeover.request_id
                count += arrival.run_id == takeover.run_id and asked_later and in_time
            last = min(window.end, len(log.steps) - 1)
            begun, gone_on = log.steps[last], log.steps[takeover.step]
            return float(count), (gone_on.deadline_ns - begun.deadline_ns) * 1e-9
    return math.inf, math.nan


def _complete(steps: Sequence[SentCommand], recorded: Collection[Tick], cut: bool) -> bool:
    """Return whether every tick is recorded; with `cut` only up to where it ends."""
    there = [(step.run_id, step.tick) in recorded for step in steps]
    if cut:
        last = max((i for i, present in enumerate(there) if present), default=-1)
        return last >= 0 and all(there[: last + 1])
    return all(there)
