# SPDX-License-Identifier: Apache-2.0
"""
What was recorded more than once: found by what is in the messages, never by the names of files.

A copy may be in another folder, storage or compression, under another name, or cut short, and two
recorders may have run at once. What was commanded, and when the executor sent it, is the same in
all of them, and in nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_SHARE = 0.5  # Of its commands that are in another; more make it a copy.


class Part(NamedTuple):
    """
    A run, or a demonstration.

    Attributes:
        source: Recording that it is in.
        topic: Topic of its commands, which tells robots of one recording apart.
        marks: [n] what tells each command from all others.
    """

    source: Path
    topic: str
    marks: np.ndarray


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
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        marks = (marks ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        marks ^= marks >> np.uint64(29)
    return marks


def copies(parts: Sequence[Part]) -> dict[int, int]:
    """
    Return the parts that others hold too, each with the one that holds it.

    Of several the longest is kept, of equal ones the first.
    """
    marks = np.concatenate([np.unique(part.marks) for part in parts] or [np.zeros(0, np.uint64)])
    values, counts = np.unique(marks, return_counts=True)
    shared = values[counts > 1]
    copied: dict[int, int] = {}
    owners: dict[int, list[int]] = {}
    for place in sorted(range(len(parts)), key=lambda place: -len(parts[place].marks)):
        part = parts[place]
        known = np.intersect1d(part.marks, shared).tolist()
        held = Counter(owner for mark in known for owner in owners.get(mark, ()))
        for owner, count in held.most_common():
            apart = parts[owner].source == part.source and parts[owner].topic != part.topic
            if not apart and count > _SHARE * len(np.unique(part.marks)):
                copied[place] = owner
                break
        else:
            for mark in known:
                owners.setdefault(mark, []).append(place)
    return copied
