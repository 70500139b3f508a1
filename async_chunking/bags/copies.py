# SPDX-License-Identifier: Apache-2.0
"""
What was recorded more than once: found by what is in the messages, never by the names of files.

A copy may be in another folder, storage or compression, under another name or namespace, or cut
short; two recorders may have run at once, or one while another recording was played. What was
commanded, and when the executor sent it in which run, is the same in all of them, and in nothing
else. What was observed at each command is the same in them too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_FEW = 3  # Commands; fewer in common are no overlap,
_LITTLE = 0.02  # nor is a smaller share of them.
_DENSE = 0.5  # Of the commands between the first and the last in common; fewer are chance.
_END = 0.1  # Share of what is in common that may be missing between it and an end.
_PAUSE_S = 0.5  # Between two parts of a run; after more of it a recorder was begun anew [s].
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Part(NamedTuple):
    """
    A run, or a demonstration.

    Attributes:
        source: Recording that it is in.
        marks: [n] what tells each command from all others, in order.
        run: Run of an executor that it is of; 0 for none.
        begin: Time at which the first command was sent, on the clock of that run [s].
        end: Time at which the last one was [s].
    """

    source: Path
    marks: np.ndarray
    run: int = 0
    begin: float = 0.0
    end: float = 0.0


class Shared(NamedTuple):
    """Other part that holds some of one too, and what share of it [0 to 1]."""

    owner: int
    share: float


def marks_of(run: np.ndarray | int, times: np.ndarray, commands: np.ndarray) -> np.ndarray:
    """
    Return what tells each command from all others [n].

    Args:
        run: Run that it belongs to; [n] or one for all.
        times: [n] when it was sent; or recorded, where that is not known.
        commands: [n, D] [rad, m].
    """
    columns = [np.broadcast_to(run, len(times)), times, *commands.T]
    marks = np.zeros(len(times), np.uint64)
    for column in columns:
        marks = _mixed(marks, np.ascontiguousarray(column, np.float64).view(np.uint64))
    return marks


def sequences(marks: np.ndarray, length: int) -> np.ndarray:
    """Return what tells `length` commands one after the other from all others [n - length + 1]."""
    count = max(len(marks) - length + 1, 0)
    mixed = np.zeros(count, np.uint64)
    for first in range(length if count else 0):
        mixed = _mixed(mixed, marks[first : first + count])
    return mixed


def _mixed(marks: np.ndarray, bits: np.ndarray) -> np.ndarray:
    marks = (marks ^ bits) * _MULTIPLIER
    return marks ^ (marks >> np.uint64(29))


def copies(parts: Sequence[Part], few: int = _FEW) -> dict[int, Shared]:
    """
    Return the parts that others hold too, wholly or from one end on.

    Of several the longest is kept, of equal ones the first.

    Args:
        parts: Runs or demonstrations.
        few: So many different marks must be the same.
    """
    marks = np.concatenate([np.unique(part.marks) for part in parts] or [np.zeros(0, np.uint64)])
    values, counts = np.unique(marks, return_counts=True)
    shared = values[counts > 1]
    copied: dict[int, Shared] = {}
    owners: dict[int, list[int]] = {}
    for place in sorted(range(len(parts)), key=lambda place: -len(parts[place].marks)):
        known = np.intersect1d(parts[place].marks, shared).tolist()
        held = Counter(owner for mark in known for owner in owners.get(mark, ()))
        for owner, count in held.most_common():
            if count >= few and (share := _overlap(parts[place].marks, parts[owner].marks)):
                copied[place] = Shared(owner, share)
                break
        else:
            for mark in known:
                owners.setdefault(mark, []).append(place)
    return copied


def _overlap(one: np.ndarray, two: np.ndarray) -> float:
    """
    Return what share of one is in two, 0 unless both are of one recording.

    Then nothing but the beginning of one of them precedes what they have in common, and nothing
    but the end of one of them follows it.
    """
    here, there = (np.flatnonzero(np.isin(a, b)) for a, b in ((one, two), (two, one)))
    spans = [int(places[-1] - places[0]) + 1 for places in (here, there)]
    missing = 1 + _END * max(spans)
    begins = min(here[0], there[0]) <= missing
    ends = min(len(one) - here[-1], len(two) - there[-1]) - 1 <= missing
    dense = min(len(here), len(there)) > _DENSE * max(spans)
    share = len(here) / len(one)
    return share if begins and ends and dense and share > _LITTLE else 0.0


def continued(parts: Sequence[Part], others: Sequence[Part]) -> dict[int, tuple[str, Part]]:
    """
    Return the parts of which the run is in another recording too, as where it was split.

    Args:
        parts: Runs or demonstrations.
        others: Runs, or whole recordings.

    Returns:
        Place of a part -> 'goes on' or 'began', and in which of the others.
    """
    of_run: dict[int, list[Part]] = {}
    for other in others:
        of_run.setdefault(other.run, []).append(other)
    pieces: dict[int, tuple[str, Part]] = {}
    for place, part in enumerate(parts):
        for other in of_run.get(part.run, []) if part.run else []:
            waits = {'goes on': other.begin - part.end, 'began': part.begin - other.end}
            for how, seconds in waits.items():
                if other.source != part.source and 0.0 < seconds < _PAUSE_S:
                    pieces.setdefault(place, (how, other))
    return pieces
