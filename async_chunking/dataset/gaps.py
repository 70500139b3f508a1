# SPDX-License-Identifier: Apache-2.0
"""Where a recording has nothing: of all topics, of one, or before one begins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from async_chunking.bags.wire import WireKey
from async_chunking.dataset.footage import STALE_S, TopicTimes
from async_chunking.dataset.recorded import Key, Topics, column
from async_chunking.dataset.writing import DatasetError

_GAP_S = 0.1  # Of silence on all topics; longer is told [s].


def title_of(key: Key) -> str:
    """Return the topic, with its joints as it may hold others too, or the name of a stream."""
    name = key[1]
    return f'{name.topic} ({", ".join(name.joints)})' if isinstance(name, WireKey) else str(name)


def cameras_of(moments: Mapping[str, TopicTimes]) -> list[TopicTimes]:
    """Return the times of pictures alone."""
    return [shown for shown in moments.values() if shown.of_camera]


def check_gaps(
    topics: Topics, moments: Mapping[str, TopicTimes], start: int, stop: int, path: Path
) -> list[str]:
    """
    Return where nothing was recorded for some frames, of all topics or of one.

    Raises:
        DatasetError: It was for so long that every stream would be blamed for it.
    """
    everything = np.sort(np.concatenate(column(topics, 0)))
    if words := _gap(everything, start, stop):
        words = f'{path}: nothing at all was recorded for {words}: it was paused, or the clock was'
        if _longest(everything, start, stop)[0] > STALE_S:
            raise DatasetError(f'{words} set; record it again')
        return [f'{words} set; what came before is held as long']
    said = {title_of(key): _gap(series.stamps, start, stop) for key, series in topics.items()}
    said |= {shown.topic: _gap(shown.stamps, start, stop) for shown in cameras_of(moments)}
    return [
        f'{path}: {name} said nothing for {words}; what came before is held as long'
        for name, words in said.items()
        if words
    ]


def _longest(stamps: np.ndarray, start: int, stop: int) -> tuple[float, float]:
    """Return the longest time between two stamps [ns], and when it begins, from `start` on [s]."""
    stamps = stamps[(stamps >= start) & (stamps <= stop)]
    gaps = np.diff(stamps) * 1e-9
    if not len(gaps) or gaps.max() <= max(_GAP_S, 5.0 * float(np.median(gaps))):
        return 0.0, 0.0
    return float(gaps.max()), float(stamps[gaps.argmax()] - start) * 1e-9


def _gap(stamps: np.ndarray, start: int, stop: int) -> str:
    seconds, at = _longest(stamps, start, stop)
    return f'{seconds:.2f} s after {at:.1f} s' if seconds else ''


def late_start(topics: Topics, moments: Mapping[str, TopicTimes], path: Path) -> list[str]:
    """Return which topic cuts the beginning off, as it begins long after the first command."""
    starts = {title_of(key): int(series.stamps[0]) for key, series in topics.items()}
    starts |= {shown.topic: int(shown.stamps[0]) for shown in cameras_of(moments)}
    first = min(int(series.stamps[0]) for key, series in topics.items() if key[0] == 'command')
    last = max(starts, key=lambda name: starts[name])
    late = (starts[last] - first) * 1e-9
    if late <= _GAP_S:
        return []
    return [f'{path}: begins {late:.2f} s after the first command, as {last} only begins then']
