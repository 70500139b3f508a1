# SPDX-License-Identifier: Apache-2.0
"""
The time of each message of a recording whose clock was set meanwhile.

A recorder stamps messages by the clock of its machine, which NTP or a person may set by an hour.
The executor tells with every command when it was sent on a clock that nobody sets, so the stamps
of a robot's recording can be put right; of another they can only be doubted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_SET = 100_000_000  # Messages are never late by more; a clock that moves by more was set [ns].


@dataclass(frozen=True)
class Clock:
    """
    How far a recording's clock was off, stretch by stretch.

    Attributes:
        places: [n] of the commands among all messages.
        times: [n] when each was recorded, by the clock as it was at first [ns].
        stretch: [n] number of the stretch that each lies in.
        offsets: [stretches] what the clock has more than at first [ns].
    """

    places: np.ndarray
    times: np.ndarray
    stretch: np.ndarray
    offsets: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """Steps by which the clock was set, each time [s]."""
        return np.diff(self.offsets) * 1e-9

    def corrected(self, places: np.ndarray, stamps: np.ndarray) -> np.ndarray:
        """Return when messages were recorded by the clock as it was at first [n] [ns]."""
        if len(self.offsets) < 2:
            return stamps
        last = len(self.places) - 1
        after = np.clip(np.searchsorted(self.places, places), 0, last)
        before = np.clip(after - 1, 0, last)
        # Where it was set between two commands, the reading that lies between them is right.
        middle = (self.times[before] + self.times[after]) // 2
        readings = np.stack([stamps - self.offsets[self.stretch[i]] for i in (before, after)])
        nearest = np.abs(readings - middle).argmin(axis=0)
        return np.take_along_axis(readings, nearest[None], axis=0)[0]


def clock_of(
    places: np.ndarray, stamps: np.ndarray, emitted: np.ndarray, runs: np.ndarray
) -> Clock:
    """
    Return the clock of a recording.

    Between two runs nothing is known: the machine may have been started anew, and its own clock
    with it. There the recorder's clock counts as not set.

    Args:
        places: [n] of commands among all messages.
        stamps: [n] when they were recorded [ns].
        emitted: [n] when they were sent, on a clock that is never set [ns].
        runs: [n] of which run each is.
    """
    if not len(places):
        return Clock(places, stamps, np.zeros(0, np.intp), np.zeros(0, np.int64))
    ahead, other = stamps - emitted, np.diff(runs) != 0
    begins = other | (np.abs(np.diff(ahead)) > _SET)
    stretch = np.concatenate(([0], np.cumsum(begins)))
    level = np.array([int(np.median(ahead[stretch == s])) for s in range(stretch[-1] + 1)])
    changes = np.where(other[begins], 0, np.diff(level))
    # A few messages that were held up look like a clock that was set and set back.
    offsets = np.concatenate(([0], np.cumsum(changes)))
    kept = np.flatnonzero(np.abs(np.diff(offsets, prepend=np.iinfo(np.int32).max)) > _SET)
    belongs = np.searchsorted(kept, np.arange(len(offsets)), side='right') - 1
    stretch, offsets = belongs[stretch], offsets[kept]
    return Clock(places, stamps - offsets[stretch], stretch, offsets)


def set_back(places: Iterable[np.ndarray], stamps: Iterable[np.ndarray]) -> float:
    """Return by how much a recording's clock went back at most, message by message [s]."""
    place, stamp = np.concatenate([*places]), np.concatenate([*stamps])
    ordered = stamp[np.argsort(place, kind='stable')]
    back = np.diff(ordered).min(initial=0)
    return float(-back * 1e-9) if back < -_SET else 0.0
