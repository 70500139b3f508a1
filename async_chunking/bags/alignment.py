# SPDX-License-Identifier: Apache-2.0
"""
Which tick each recorded command belongs to, and on which ticks nothing was sent.

A recorder that is busy stamps messages late, so receive times cannot tell a tick without a command
from a command that came late. The executor's ControlSteps can: they are matched to the commands by
what both say, in order. What no step tells of is known by receive times alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from async_chunking.bags.files import Bag
from async_chunking.bags.namespaces import STEPS
from async_chunking.bags.wire import Series, read
from async_chunking.bags.wire_messages import TICKS, Wanted

_APART_NS = 20_000_000_000  # A step and its command are recorded within so long [ns].
_BLOCK = 4096  # Commands that are compared at once.
_SETTLED = 5  # Commands after which a recorder has caught up.


class Steps(NamedTuple):
    """
    What the executor said of each tick, in the order in which it was recorded.

    Attributes:
        stamps: [T] when it was recorded [ns].
        run: [T] id of the run.
        deadline: [T] when the command was due, on the executor's clock [ns].
        missed: [T] whether nothing was sent.
        teleported: [T] whether a simulation had put the robot elsewhere.
        command: [T, D] [rad, m], 32 bit.
    """

    stamps: np.ndarray
    run: np.ndarray
    deadline: np.ndarray
    missed: np.ndarray
    teleported: np.ndarray
    command: np.ndarray


class Aligned(NamedTuple):
    """
    The commands of one topic, with those that the recorder lost, as far as steps tell of them.

    Attributes:
        stamps: [n] when each was recorded [ns].
        positions: [n, k] [rad, m].
        silent: [n] ticks before each on which nothing was sent.
        teleported: [n] whether a simulation had put the robot elsewhere.
        recorded: [n] whether it is from the topic itself.
    """

    stamps: np.ndarray
    positions: np.ndarray
    silent: np.ndarray
    teleported: np.ndarray
    recorded: np.ndarray


def steps_of(bag: Bag, names: Sequence[str], namespace: str | None = None) -> Steps:
    """Return what the executor of a robot with some joints said; empty if nothing was recorded."""
    wanted = {'ticks': Wanted(STEPS, TICKS), 'command': Wanted(STEPS, STEPS, names)}
    parts: Mapping[str, list[Series]] = {key: [] for key in wanted}
    for key, series in read(bag, wanted, namespace):
        parts[key].append(series)
    size = len(names)
    if not all(parts.values()):
        none = np.zeros(0, np.int64)
        return Steps(none, none, none, none > 0, none > 0, np.zeros((0, size), np.float32))
    ticks, command = (_joined(parts[key]) for key in wanted)
    _, one, two = np.intersect1d(ticks.places, command.places, return_indices=True)
    run, deadline, missed, teleported = ticks.values[one].T
    command = command.values[two].astype(np.float32)
    return Steps(ticks.stamps[one], run, deadline, missed > 0, teleported > 0, command)


def _joined(parts: Sequence[Series]) -> Series:
    return Series(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def aligned(
    stamps: np.ndarray, positions: np.ndarray, slack: np.ndarray, steps: Steps, period: float
) -> Aligned:
    """
    Return what one topic was told, tick by tick.

    Args:
        stamps: [n] when its commands were recorded [ns].
        positions: [n, k] [rad, m].
        slack: [n, k] rounding of the positions on their way [rad, m].
        steps: Steps of the executor, with the k joints of this topic; may be empty.
        period: Control period [s].
    """
    step = _matched(stamps, positions, slack, steps)
    known = np.flatnonzero(step >= 0)
    if not len(known):
        none = np.zeros(len(stamps), dtype=bool)
        return Aligned(stamps, positions, _silence(stamps, period), none, ~none)
    # What the recorder lost: steps between two commands that something was sent on.
    lost = np.arange(int(step[known[0]]), int(step[known[-1]]) + 1)
    lost = np.setdiff1d(lost[~steps.missed[lost]], step[known])
    place = known[np.searchsorted(step[known], lost)]  # In front of the next that is there.
    recorded = np.insert(np.ones(len(stamps), dtype=bool), place, False)
    step = np.insert(step, place, lost)
    stamps = np.insert(stamps, place, steps.stamps[lost])
    positions = np.insert(positions, place, steps.command[lost], axis=0)
    silent = _silence(stamps, period)
    before, now = step[:-1], step[1:]
    sure = np.flatnonzero((before >= 0) & (now >= 0))
    passed = np.rint(np.diff(steps.deadline[step])[sure] / (1e9 * period))
    sure = sure[passed == now[sure] - before[sure]]  # Else a clock was set, or a step was lost.
    silent[sure + 1] = now[sure] - before[sure] - 1
    teleported = np.zeros(len(step), dtype=bool)
    teleported[step >= 0] = steps.teleported[step[step >= 0]]
    return Aligned(stamps, positions, silent, teleported, recorded)


def _matched(
    stamps: np.ndarray, positions: np.ndarray, slack: np.ndarray, steps: Steps
) -> np.ndarray:
    """Return the step [n] that tells of each command, -1 where none does."""
    sent = np.flatnonzero(~steps.missed)
    commands, step = steps.command[sent], np.full(len(stamps), -1)
    # A clock that was set back while recording is taken to stand still meanwhile.
    when, stamps = np.maximum.accumulate(steps.stamps[sent]), np.maximum.accumulate(stamps)
    i = j = 0
    size = 1
    while i < len(stamps) and j < len(sent):
        size = min(2 * size, _BLOCK, len(stamps) - i, len(sent) - j)
        same = _same(positions[i : i + size], commands[j : j + size], slack[i : i + size])
        same &= np.abs(stamps[i : i + size] - when[j : j + size]) < _APART_NS
        good = size if same.all() else int(same.argmin())
        step[i : i + good] = sent[j : j + good]
        i, j = i + good, j + good
        if good == size:
            continue
        size = 1
        # Either commands come that no step tells of, or steps of which no command is there.
        j += int(np.searchsorted(when[j:], stamps[i] - _APART_NS))
        steps_end = j + int(np.searchsorted(when[j:], stamps[i] + _APART_NS))
        commands_end = i + int(np.searchsorted(stamps[i:], stamps[i] + _APART_NS))
        more = _first(_same(positions[i], commands[j:steps_end], slack[i]))
        others = slice(i, commands_end if j < steps_end else i)
        fewer = _first(_same(positions[others], commands[j : j + 1], slack[others]))
        if more is not None and (fewer is None or more <= fewer):
            j += more
        else:
            i += fewer or 1
    return step


def _same(one: np.ndarray, two: np.ndarray, slack: np.ndarray) -> np.ndarray:
    with np.errstate(invalid='ignore'):
        near = np.abs(one - two) <= slack
    return (near | (one == two) | (np.isnan(one) & np.isnan(two))).all(axis=-1)


def _first(holds: np.ndarray) -> int | None:
    return int(holds.argmax()) if holds.any() else None


def _silence(stamps: np.ndarray, period: float) -> np.ndarray:
    """Return how many periods [n] nothing was sent before each command, by receive times.

    Messages that came late only, as the recorder was busy, are followed by others that come
    early: what counts is what is still missing some commands later.
    """
    if not len(stamps):
        return np.zeros(0, dtype=np.int64)
    before = np.concatenate(([stamps[0] - 1e9 * period], stamps[:-1]))
    index = np.arange(len(stamps))
    later = np.minimum(index + _SETTLED, len(stamps) - 1)
    # A simulation may be slower than its clock.
    period_ns = max(1e9 * period, float(np.median(np.diff(stamps, prepend=before[0]))))
    at_once = np.round((stamps - before) / period_ns) - 1
    in_all = np.round((stamps[later] - before) / period_ns) - (later - index + 1)
    return np.maximum(np.minimum(at_once, in_all), 0).astype(np.int64)
