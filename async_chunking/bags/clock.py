# SPDX-License-Identifier: Apache-2.0
"""
The time of each message of a recording whose clock was set meanwhile.

A recorder stamps messages by the clock of its machine, which NTP or a person may set by an hour.
The executor tells with every command when it was sent on a clock that nobody sets, so the stamps
of a robot's recording can be put right; of another they can only be doubted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from async_chunking.bags.definitions import BagError

_SET = 100_000_000  # Messages of several topics are never out of order by more [ns].
_OUT = 1_000_000  # Those of one topic never by more [ns].
_LEAST = 5_000_000  # A step below this, or below half a period, makes no difference [ns].
_WINDOW = 15  # Commands before and after a step whose level it must have changed.
_BATCH = 1_000_000_000  # Nor those of a recorder that writes topic by topic [ns].
_PACE = 25  # Commands that show a rate; fewer of a short recording.
_PAUSE = 1_000_000_000  # Is put where a time passed that nothing tells of [ns].


@dataclass(frozen=True)
class Clock:
    """
    How far a recording's clock was off, stretch by stretch.

    Attributes:
        places: [n] of the commands among all messages.
        stamps: [n] when they were recorded [ns].
        emitted: [n] when they were sent, on a clock that nobody sets [ns].
        runs: [n] of which run each is.
        begins: [stretches - 1] place of the first message of each stretch but the first.
        offsets: [stretches] what the clock has more than at first [ns].
    """

    places: np.ndarray
    stamps: np.ndarray
    emitted: np.ndarray
    runs: np.ndarray
    begins: np.ndarray
    offsets: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """Steps by which the clock was set, each time [s]."""
        return np.diff(self.offsets) * 1e-9

    @property
    def of_runs(self) -> list[np.ndarray]:
        """Commands of each run of which it is told when they were sent."""
        runs = [np.flatnonzero(self.runs == run) for run in np.unique(self.runs)]
        return [its for its in runs if self.emitted[its[-1]] > self.emitted[its[0]]]

    @property
    def gained(self) -> float:
        """What the clock gained on the executor's in a run, but for those steps, at most [s]."""
        ahead = (self.corrected(self.places, self.stamps) - self.emitted) * 1e-9
        ends = [(ahead[its[:_WINDOW]], ahead[its[-_WINDOW:]]) for its in self.of_runs]
        return max((float(np.median(b) - np.median(a)) for a, b in ends), key=abs, default=0.0)

    def run_at(self, place: int) -> int | None:
        """Return the run of the last command up to a place among all messages; None for none."""
        at = int(np.searchsorted(self.places, place, side='right')) - 1
        return int(self.runs[at]) if at >= 0 else None

    def corrected(self, places: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Return when messages were recorded by the clock as it was at first [n] [ns]."""
        return stamps - self.offsets[np.searchsorted(self.begins, places, side='right')]

    def between(self, place: int, before: int, stamp: int) -> int:
        """
        Return when a message was recorded that is none of those which the clock counts [ns].

        Where the clock was set between its neighbours, it belongs to the side on which it follows
        the message before it most closely.

        Args:
            place: Place of the message before it; -1 for none.
            before: Stamp of that one [ns].
            stamp: Stamp of the message [ns].
        """
        stretch = int(np.searchsorted(self.begins, place, side='right'))
        last = before - self.offsets[stretch]
        borders = stretch < len(self.begins) and self.begins[stretch] == place + 1
        times = stamp - self.offsets[stretch : stretch + 1 + borders]
        return int(times[np.abs(times - last).argmin()])


class SentTicks(NamedTuple):
    """
    What the executor told of its commands, in the order in which it was written.

    Attributes:
        places: [n] among all messages.
        stamps: [n] when they were recorded [ns].
        emitted: [n] when they were sent, on a clock that is never set [ns].
        runs: [n] of which run each is.
    """

    places: np.ndarray
    stamps: np.ndarray
    emitted: np.ndarray
    runs: np.ndarray


def clock_of(ticks: SentTicks, places: np.ndarray, stamps: np.ndarray) -> Clock:
    """
    Return the clock of a recording.

    It was set where the recorder's clock and the executor's part by more than half a period, at
    once and for good, and where messages of all topics show it. Between two runs the machine may
    have been started anew, and the executor's clock with it: then nothing is known but the order.

    Args:
        ticks: Commands.
        places: [m] of all messages, commands too, in order.
        stamps: [m] when they were recorded [ns].

    Raises:
        BagError: It was set, and it cannot be told by how much.
    """
    _check_order(ticks)
    begins, sizes = [], []
    ahead = ticks.stamps - ticks.emitted
    passed = np.diff(ticks.emitted)
    period = int(np.median(passed[passed > 0])) if (passed > 0).any() else 0
    least = max(_LEAST, period // 2)
    other = np.diff(ticks.runs) != 0
    for tick in np.flatnonzero(other | (np.abs(np.diff(ahead)) > least)).tolist():
        first, last = np.searchsorted(places, ticks.places[tick : tick + 2])
        between = np.diff(stamps[first : last + 1])
        size = _size(ticks, ahead, tick, between, least)
        if size:
            at = int(between.argmax() if size > 0 else between.argmin())
            begins.append(places[first + at + 1])
            sizes.append(size)
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    clock = Clock(*ticks, np.array(begins, np.int64), offsets)
    _check(ticks, clock)
    return clock


def _size(ticks: SentTicks, ahead: np.ndarray, at: int, between: np.ndarray, least: int) -> int:
    """Return by how much the clock was set between two commands, 0 for not at all [ns]."""
    passed, jump = int(ticks.emitted[at + 1] - ticks.emitted[at]), int(ahead[at + 1] - ahead[at])
    same = ticks.runs[at] == ticks.runs[at + 1]
    if passed <= 0:
        if same or between.min() > -_SET:
            return 0
        return int(ticks.stamps[at + 1] - ticks.stamps[at]) - _PAUSE
    before = _level(ahead, ticks.runs, at, -1)
    size = int(_level(ahead, ticks.runs, at + 1, 1) - before)
    shown = np.abs(between - size).min() <= passed + least
    steady = not same or abs(size - jump) <= max(least, abs(jump) // 4)
    return size if abs(size) > least and shown and steady else 0


def _level(ahead: np.ndarray, runs: np.ndarray, at: int, way: int) -> float:
    """Return the level of a few commands of one run from `at` on, forward or back."""
    index = np.arange(at, at + way * _WINDOW, way)
    index = index[(index >= 0) & (index < len(ahead))]
    return float(np.median(ahead[index[runs[index] == runs[at]]]))


def _check_order(ticks: SentTicks) -> None:
    """Refuse commands that are not in the order in which they were sent."""
    back = (np.diff(ticks.runs) == 0) & (np.diff(ticks.emitted) < 0)
    if back.any():
        at = int(back.argmax())
        sent, told = (-int(np.diff(times)[at]) * 1e-9 for times in (ticks.emitted, ticks.stamps))
        msg = (
            f'a command that was sent {sent:.2g} s earlier stands behind another: the clock was '
            f'set by {told - sent:+.2g} s, and the file was sorted by time since; give it as it '
            'was recorded'
        )
        raise BagError(msg)


def _check(ticks: SentTicks, clock: Clock) -> None:
    """Refuse times that do not follow each other as the commands were sent."""
    times = clock.corrected(ticks.places, ticks.stamps)
    same, passed = np.diff(ticks.runs) == 0, np.diff(ticks.emitted)
    if (back := same & (np.diff(times) < -_SET) & (passed > 0)).any():
        at = int(back.argmax())
        msg = (
            f'the clock went back by {(times[at] - times[at + 1]) * 1e-9:.1f} s while it was '
            'recorded, and it cannot be told when; record it again'
        )
        raise BagError(msg)


def pace(runs: np.ndarray, times: np.ndarray, clock: np.ndarray) -> float:
    """
    Return how fast time passed by another clock, as a multiple.

    Args:
        runs: [n] of which run each command is.
        times: [n] of the commands, by that clock [ns].
        clock: [n] of the commands, by this one [ns].
    """
    apart = max(min(_PACE, len(times) // 8), 1)  # So that a step is in few of them.
    later = np.arange(apart, len(times))
    later = later[(runs[later] == runs[later - apart]) & (clock[later] > clock[later - apart])]
    passed, counted = (t[later] - t[later - apart] for t in (times, clock))
    return float(np.median(passed / counted)) if len(later) else 1.0


def set_back(places: Sequence[np.ndarray], stamps: Sequence[np.ndarray]) -> float:
    """
    Return by how much a recording's clock went back at most, 0 for not at all [s].

    Args:
        places: Places of each topic's messages, [n] among all messages.
        stamps: Stamps of each topic's messages, [n] when they were recorded [ns].
    """
    place, stamp = np.concatenate([*places]), np.concatenate([*stamps])
    ordered = stamp[np.argsort(place, kind='stable')]
    among = int(np.diff(ordered).min(initial=0))
    own = min(int(np.diff(series).min(initial=0)) for series in stamps)
    back = min(among if among < -_BATCH else 0, own if own < -_OUT else 0)
    return -back * 1e-9


def steady(places: np.ndarray, stamps: np.ndarray, clock: Clock) -> slice:
    """
    Return which messages of a topic can be dated: none beyond a step that no command tells of.

    Args:
        places: [n] of the messages of a topic among all, in order.
        stamps: [n] when they were recorded, corrected [ns].
        clock: Clock of the recording.
    """
    if not len(clock.places):
        return slice(None)
    back = np.flatnonzero(np.diff(stamps) < -_OUT)
    early = back[places[back] < clock.places[0]]
    late = back[places[back + 1] > clock.places[-1]]
    return slice(int(early[-1]) + 1 if len(early) else 0, int(late[0]) + 1 if len(late) else None)
