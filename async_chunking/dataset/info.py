# SPDX-License-Identifier: Apache-2.0
"""
What a data set says of itself in `meta/`, and whether its frames agree.

Whoever copies, cuts or converts data sets leaves such contradictions: rows of another version, an
episode at another rate, names of other joints. Nothing is learned from data that contradict
themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import read_json

_NO_NUMBERS = ('image', 'video', 'string')  # Features of such a dtype have files of their own.
_RATE = 0.1  # Share by which the rate of an episode may differ from the one that is told.
_STILL = 1e-3  # Frames; time that advances by less stands still.
_GAP = 2.5  # Frames that may pass between two; a clock that was read late is no gap.


class DataError(AsyncChunkingError):
    """Demonstrations that nothing can be learned from."""


@dataclass(frozen=True)
class DatasetInfo:
    """
    The content of `meta/info.json`.

    Attributes:
        path: Folder of the data set.
        fps: Frames per second.
        robot: Name of the embodiment, or ''.
        features: Name -> dtype, shape, names.
        content: All of it.
    """

    path: Path
    fps: float
    robot: str
    features: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]

    @property
    def file(self) -> Path:
        """Where it is from."""
        return self.path / 'meta/info.json'

    @property
    def continuous(self) -> frozenset[str]:
        """Names of actions that are angles of joints that turn without end."""
        named = self.features.get('action', {}).get('continuous', ())
        return frozenset(map(str, named)) if isinstance(named, (list, tuple)) else frozenset()

    def check_totals(self, numbers: np.ndarray, lengths: np.ndarray) -> None:
        """
        Refuse a data set of which files are missing, or are there twice.

        Args:
            numbers: [E] index of each episode.
            lengths: [E] its frames.

        Raises:
            DataError: `info.json` or the table of episodes says otherwise.
        """
        for key, count in (('frames', int(lengths.sum())), ('episodes', len(lengths))):
            total = self.content.get(f'total_{key}', count)
            if total != count:
                msg = (
                    f'{self.file}: total_{key} says {total} {key}, data/ has {count}: parquet '
                    'files are missing or of another version of it. Copy it once more'
                )
                raise DataError(msg)
        there = dict(zip(numbers.tolist(), lengths.tolist(), strict=True))
        listed = [*_episodes(self.path)]
        if listed and (left := sorted(set(there) - {number for _, number, _ in listed})):
            msg = f'{listed[0][0]}: episode {left[0]} is not listed, data/ has it'
            raise DataError(f'{msg}. Copy it once more')
        for file, number, length in listed:
            if there.get(number, 0) != length:
                msg = (
                    f'{file}: episode {number} has length {length}, data/ has '
                    f'{there.get(number, 0)} frames of it. Copy it once more'
                )
                raise DataError(msg)

    def check_columns(self, numeric: Sequence[str]) -> None:
        """
        Refuse numbers that are told of and not there.

        Raises:
            DataError: Names the feature.
        """
        for name, feature in self.features.items():
            wanted = name == 'action' or name.startswith('observation.')
            dtype = feature.get('dtype', 'image')
            if wanted and name not in numeric and dtype not in _NO_NUMBERS:
                msg = (
                    f'{self.file}: {name} has dtype {dtype}, data/ has no such numbers. '
                    f'Numbers: {", ".join(numeric)}'
                )
                raise DataError(msg)

    def check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """
        Refuse a feature whose rows are not of the shape that is told; a row may be flattened.

        Raises:
            DataError: Names both shapes.
        """
        told = self.features.get(name, {}).get('shape')
        if told is None:
            return
        try:
            size = tuple(int(length) for length in told)
        except (TypeError, ValueError):
            size = ()
        same = size == shape if min(len(size), len(shape)) > 1 else True
        if not size or math.prod(size) != math.prod(shape) or not same:
            msg = f'{self.file}: {name} has shape {told}, data/ has rows of shape {[*shape]}'
            raise DataError(msg)

    def names(self, name: str, shape: tuple[int, ...]) -> tuple[str, ...]:
        """
        Return what each number of a feature is, () where it is not told.

        LeRobot's `names` are a list, lists in groups of any depth, one after the other, or a place
        for each name. As many names as a row has axes ('motors', 'actions') are of the axes.

        Raises:
            DataError: There are more or fewer, or one is there twice.
        """
        told = self.features.get(name, {}).get('names')
        where = f'{self.file}: features.{name}.names {told}'
        listed = [*_listed(told, where)]
        twice = sorted({entry for entry in listed if listed.count(entry) > 1})
        if twice:
            msg = f'{where}: {twice[0]} is there twice; each number has a name of its own'
            raise DataError(msg)
        count = math.prod(shape)
        if len(listed) not in (0, count, max(len(shape), 1)):
            msg = f'{where}: {len(listed)} names for {count} numbers; correct them, or null'
            raise DataError(msg)
        return tuple(listed) if len(listed) == count else ()

    def check_times(self, times: np.ndarray, ends: np.ndarray) -> None:
        """
        Refuse time stamps that do not go by the frames per second that are told.

        Args:
            times: [N] of each frame [s].
            ends: [E] frame after the last one of each episode.

        Raises:
            DataError: Names the episode and the frame.
        """
        for number, part in enumerate(np.split(times, ends[:-1])):
            if wrong := _wrong_times(part, self.fps):
                msg = f'{self.path}: episode {number}{wrong}'
                raise DataError(msg)


def _wrong_times(times: np.ndarray, fps: float) -> str:
    """Return what is wrong with the time stamps of an episode; '' for nothing."""
    steps = np.diff(times)
    if not np.isfinite(times).all():
        return f', frame {int((~np.isfinite(times)).argmax())}: the time stamp is no number'
    if (still := steps * fps < _STILL).any():
        at = int(still.argmax())
        return (
            f', frame {at + 1}: the time stamp goes from {times[at]:g} s to {times[at + 1]:g} s; '
            'it must increase'
        )
    usual = steps[steps <= _GAP * np.median(steps)] if len(steps) else steps
    if len(steps) and abs(1.0 - (rate := 1.0 / usual.mean()) / fps) > _RATE:
        return f': meta/info.json says {fps:g} frames per second, the time stamps have {rate:.3g}'
    if len(steps) and steps.max() * fps > _GAP:
        at = int(steps.argmax())
        return (
            f': {steps[at]:.3g} s pass between frames {at} and {at + 1}, {1.0 / fps:.3g} s by its '
            'rate: frames are missing. Remove that episode'
        )
    return ''


def read_told(path: Path) -> DatasetInfo:
    """
    Return what a data set says of itself.

    Raises:
        DataError: There is nothing, or it is no description of a data set.
    """
    file = path / 'meta' / 'info.json'
    try:
        info = read_json(file)
    except OSError as error:
        msg = f'no demonstrations at {path}: {file} {error.strerror}'
        raise DataError(msg) from error
    except ValueError as error:
        msg = f'{file} is not JSON: {error}'
        raise DataError(msg) from error
    features = info.get('features') if isinstance(info, dict) else None
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        msg = f'{file} is not the description of a data set; it needs fps, and features by name'
        raise DataError(msg)
    fps = info.get('fps')
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.0 < fps < math.inf:
        msg = f'{file}: fps is {fps!r}; it must be a number of frames per second above 0'
        raise DataError(msg)
    return DatasetInfo(path, float(fps), str(info.get('robot_type') or ''), features, info)


def _listed(names: Any, where: str) -> Iterator[str]:
    """Yield names of any nesting, in order."""
    if isinstance(names, dict) and (groups := [*_groups(names)]):
        yield from _placed(groups, where)
    elif isinstance(names, dict) and any(str(v).isdecimal() for v in names.values()):
        msg = f'{where}: places must be whole numbers, not in quotes, for all names or for none'
        raise DataError(msg)
    elif isinstance(names, dict) and {*names} == {str(place) for place in range(len(names))}:
        for place in range(len(names)):
            yield from _listed(names[str(place)], where)
    elif isinstance(names, dict | list):
        for entry in names.values() if isinstance(names, dict) else names:
            yield from _listed(entry, where)
    elif isinstance(names, str | int):
        yield str(names)
    elif names is not None:
        msg = f'{where}: {names!r} is no name'
        raise DataError(msg)


def _groups(names: Mapping[str, Any]) -> Iterator[Mapping[str, int]]:
    """Yield the groups that give a place to each name; none if not all do."""
    if names and all(type(place) is int for place in names.values()):
        yield names
    elif names and all(isinstance(group, dict) for group in names.values()):
        inner = [[*_groups(group)] for group in names.values()]
        yield from (group for groups in inner for group in groups if all(inner))


def _placed(groups: Sequence[Mapping[str, int]], where: str) -> Iterator[str]:
    """Yield names by their places: among all, or in each group."""
    everything = [(place, name) for group in groups for name, place in group.items()]
    if sorted(place for place, _ in everything) == [*range(len(everything))]:
        yield from (name for _, name in sorted(everything))
        return
    for group in groups:
        if sorted(group.values()) != [*range(len(group))]:
            count = len(everything)
            msg = f'{where}: places must be 0 to {count - 1} among all or in each group, each once'
            raise DataError(msg)
        yield from sorted(group, key=group.__getitem__)


def _episodes(path: Path) -> Iterator[tuple[Path, int, int]]:
    """Yield the file, number and length of each episode that a data set lists (v3 and v2.1)."""
    for file in sorted((path / 'meta/episodes').rglob('*.parquet')):
        try:
            columns = pq.read_table(file, columns=['episode_index', 'length'])
        except (pa.ArrowException, OSError, ValueError) as error:
            msg = f'{file}: no list of episodes ({error})'
            raise DataError(msg) from error
        for row in columns.to_pylist():
            yield file, row['episode_index'], row['length']
    file = path / 'meta/episodes.jsonl'
    text = file.read_text('utf-8-sig', 'replace') if file.exists() else ''
    for line in filter(str.strip, text.splitlines()):
        try:
            content = json.loads(line)
            yield file, int(content['episode_index']), int(content['length'])
        except (ValueError, KeyError, TypeError) as error:
            msg = f'{file}: no episode of a data set: {line[:80]!r} ({error!r})'
            raise DataError(msg) from error
