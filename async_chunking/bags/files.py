# SPDX-License-Identifier: Apache-2.0
"""The files of a recording, and the messages in them, in the order in which they were written."""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from async_chunking.bags import mcap, sqlite
from async_chunking.bags.compression import zstd
from async_chunking.bags.definitions import BagError
from async_chunking.bags.mcap import Message, Report, Scan, Topic
from async_chunking.bags.metadata import Metadata, read_metadata, twins

_STORAGES = ('.mcap', '.db3')
_ROS1 = '; .bag is of ROS 1: convert it with rosbags-convert'
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_PIECE = 1 << 20
_PAUSE = 1_000_000_000  # Between two files; more are two recordings [ns].


@dataclass
class Bag:
    """
    One recording: a folder as rosbag2 makes it, or a single file.

    Attributes:
        path: The folder or the file.
        files: Splits of the recording, in order.
        problems: What was found wrong so far, a sentence each, with the file's name.
        counts: Topic -> how many messages its recorder counted; empty where it did not.
    """

    path: Path
    files: Sequence[Path]
    problems: list[str] = field(default_factory=list)
    counts: Mapping[str, int] = field(default_factory=dict)

    def messages(self, wanted: Callable[[Topic], bool]) -> Iterator[Message]:
        """Yield the wanted messages; what cannot be read is added to `problems`."""
        seen, before = Counter[str](), len(self.problems)
        for path in self.files:
            try:
                report = self._reporter(path)
                for message in _unpacked(_SCANS[_storage(path)](path, wanted, report), report):
                    if self.counts:
                        seen[message.topic.name] += 1
                    yield message
            except (BagError, OSError, EOFError, sqlite3.Error, zstd.ZstdError) as error:
                self.problems.append(f'{path}: {error}')
        if len(self.problems) == before:  # Else it is known why some are missing.
            lost = {
                name: count for name, count in seen.items() if count < self.counts.get(name, 0)
            }
            said = [
                f'{self.path}: its recorder counted {self.counts[name]} messages of {name}, '
                f'{count} are there'
                for name, count in lost.items()
            ]
            self.problems += [sentence for sentence in said if sentence not in self.problems]

    def topics(self, wanted: Callable[[Topic], bool]) -> set[Topic]:
        """Return the wanted topics of which a message was recorded; reads the whole recording."""
        return {message.topic for message in Bag(self.path, self.files).messages(wanted)}

    def _reporter(self, path: Path) -> Report:
        return lambda sentence: self.problems.append(f'{path}: {sentence}')


def _unpacked(messages: Iterator[Message], report: Report) -> Iterator[Message]:
    """Yield messages as they are on the wire; one that cannot be unpacked costs itself."""
    torn: Counter[str] = Counter()
    for message in messages:
        if message.data[:4] != _ZSTD_MAGIC:
            yield message
            continue
        try:
            data = zstd.decompress(message.data)
        except (zstd.ZstdError, EOFError):
            torn[message.topic.name] += 1
            continue
        yield message._replace(data=data)
    for topic, count in torn.items():
        report(f'topic {topic}: {count} messages cannot be unpacked; left out')


def find(paths: Sequence[Path]) -> list[Bag]:
    """
    Return the recordings at these paths, each once; folders are searched.

    Files that are given one by one are one recording where one recorder split it.

    Raises:
        BagError: A path does not exist or holds no recording.
    """
    bags: list[Bag] = []
    for folder in [path for path in paths if not path.is_file()]:
        if not folder.exists():
            msg = f'{folder}: does not exist'
            raise BagError(msg)
        within = list(_inside(folder))
        if not within:
            msg = (
                f'{folder}: holds no recording (no {" or ".join(_STORAGES)} file, or .zstd of one)'
            )
            msg += _ROS1 if any(folder.rglob('*.bag')) else ''
            raise BagError(msg)
        bags += within
    bags += _given([path for path in paths if path.is_file()])
    return _each_once(bags)


def _each_once(bags: Sequence[Bag]) -> list[Bag]:
    """Leave out what is part of another, or came before."""
    files = [frozenset(file.resolve() for file in bag.files) for bag in bags]
    holders: dict[Path, list[int]] = {}
    for place, own in enumerate(files):
        for file in own:
            holders.setdefault(file, []).append(place)

    def again(place: int) -> bool:
        others = holders.get(next(iter(files[place]), Path()), [])
        return any(
            files[place] < files[at] or (files[place] == files[at] and at < place) for at in others
        )

    return [bag for place, bag in enumerate(bags) if not again(place)]


def _given(paths: Sequence[Path]) -> Iterator[Bag]:
    """Yield the recordings of some files, each with those of its splits that are among them."""
    left = dict.fromkeys(paths)
    for path in paths:
        if _storage(path) not in _STORAGES:
            msg = f'{path}: not a recording; expected a folder or a {" or ".join(_STORAGES)} file'
            msg += _ROS1 if path.suffix == '.bag' else ''
            raise BagError(msg)
    for folder in dict.fromkeys(path.parent for path in paths):
        for bag in _here(folder):
            given = [file for file in bag.files if file in left]
            others = [file.name for file in bag.files if file not in left]
            problem = f'{folder}: {", ".join(others)} belong to {given[0].name if given else ""}'
            if given:
                yield Bag(given[0], given, [f'{problem}; give all of them'] * bool(others))
            left = {path: None for path in left if path not in given}
    yield from (Bag(path, [path]) for path in left)


def _inside(folder: Path) -> Iterator[Bag]:
    """Yield the recordings in a folder and below; each with all of its splits."""
    yield from _here(folder)
    for child in sorted(folder.iterdir(), key=_natural):
        if child.is_dir() and not child.name.startswith('.'):  # As .Trash-1000 does.
            yield from _inside(child)


def _here(folder: Path) -> Iterator[Bag]:
    """Yield the recordings of which the files are in a folder itself."""
    meant = folder / 'metadata.yaml'
    problems: list[str] = []
    listed, counts = read_metadata(meant, problems) if meant.exists() else Metadata([], {})
    splits = _once(folder, listed, problems)
    if meant.exists():
        order = {twin: place for place, name in enumerate(listed) for twin in twins(name)}
        own = sorted((p for p in splits if p.name in order), key=lambda p: order[p.name])
        complete = bool(own) and len(own) == len(listed)
        yield Bag(folder, own or splits, problems, counts if complete else {})
        splits = [path for path in splits if own and path not in own]  # Of others, then.
    # A recorder writes metadata.yaml when it ends; files that differ in a number are splits.
    names: dict[str, list[Path]] = {}
    for path in splits:
        names.setdefault(re.sub(r'(_\d+)?\.(mcap|db3).*', '', path.name), []).append(path)
    groups = [group for files in names.values() for group in _contiguous(files)]
    for group in groups:
        whole = not meant.exists() and len(groups) == 1 and group[0].name.startswith(folder.name)
        yield Bag(folder if whole else group[0], group, [] if meant.exists() else problems)


def _contiguous(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield files in groups of one recording: a recorder begins one where the last one ends."""
    group, end = [*paths[:1]], None
    spans = [_span(path) for path in paths] if len(paths) > 1 else [None]
    for path, before, span in zip(paths[1:], spans, spans[1:], strict=False):
        end = before[1] if before else end
        if span and end is not None and span[0] - end > _PAUSE:
            yield group
            group = []
        group.append(path)
    if group:
        yield group


def _once(folder: Path, listed: Collection[str], problems: list[str]) -> list[Path]:
    """Return the storage files of a folder, those that are there twice as one of the two."""
    paths = {path.name: path for path in folder.iterdir() if _storage(path) in _STORAGES}
    for plain, packed in [twins(name) for name in paths]:
        if plain in paths and packed in paths:
            kept, left = (packed, plain) if packed in listed else (plain, packed)
            problems.append(f'{folder}: {left} is {kept} once more, and is left out')
            del paths[left]
    return sorted(paths.values(), key=_natural)


def _storage(path: Path) -> str:
    """Return '.mcap' or '.db3', also of a compressed file; anything else of other files."""
    return path.with_suffix('').suffix if path.suffix == '.zstd' else path.suffix


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort bag_2 before bag_10."""
    return [(int(part or -1), '') if part.isdigit() else (-1, part)
            for part in re.split(r'(\d+)', path.name)]  # fmt: skip


def _scan_mcap(path: Path, wanted: Callable[[Topic], bool], report: Report) -> Iterator[Message]:
    compressed = path.suffix == '.zstd'
    with zstd.open(path) if compressed else path.open('rb') as stream:
        size = math.inf if compressed else path.stat().st_size
        scan = Scan(stream, size, wanted, report)
        count = 0
        for message in scan.messages():
            count += 1
            yield message
        if not scan.closed:
            report(f'not closed by its recorder; {count} messages recovered')


def _scan_sqlite(path: Path, wanted: Callable[[Topic], bool], report: Report) -> Iterator[Message]:
    with _plain(path) as file:
        yield from sqlite.query(file, wanted, report)


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """Yield a file that is not compressed, of the same content."""
    if path.suffix != '.zstd':
        yield path
        return
    with NamedTemporaryFile(suffix='.db3') as plain:
        with zstd.open(path) as stream:
            while piece := stream.read(_PIECE):
                plain.write(piece)
        plain.flush()
        yield Path(plain.name)


_SCANS = {'.mcap': _scan_mcap, '.db3': _scan_sqlite}


def _span(path: Path) -> tuple[int, int] | None:
    """Return when the first and the last message of a file came [ns]; None if nobody knows."""
    try:
        if _storage(path) == '.mcap':
            with zstd.open(path) if path.suffix == '.zstd' else path.open('rb') as stream:
                return mcap.span(stream)
        with _plain(path) as file:
            return sqlite.span(file)
    except (BagError, OSError, EOFError, sqlite3.Error, zstd.ZstdError):
        return None
