# SPDX-License-Identifier: Apache-2.0
"""The files of a recording, and the messages in them, in the order in which they were written."""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from async_chunking.bags.compression import zstd
from async_chunking.bags.definitions import BagError
from async_chunking.bags.mcap import Message, Report, Scan, Topic
from async_chunking.settings import parse_yaml
from async_chunking.storage import read_file

_STORAGES = ('.mcap', '.db3')
_ROS1 = '; .bag is of ROS 1: convert it with rosbags-convert'
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_NEWEST = 9  # Version of metadata.yaml.
_PIECE = 1 << 20


@dataclass
class Bag:
    """
    One recording: a folder as rosbag2 makes it, or a single file.

    Attributes:
        path: The folder or the file.
        files: Splits of the recording, in order.
        problems: What was found wrong so far, a sentence each, with the file's name.
    """

    path: Path
    files: Sequence[Path]
    problems: list[str] = field(default_factory=list)

    def messages(self, wanted: Callable[[Topic], bool]) -> Iterator[Message]:
        """Yield the wanted messages; what cannot be read is added to `problems`."""
        for path in self.files:
            try:
                report = self._reporter(path)
                yield from _unpacked(_SCANS[_storage(path)](path, wanted, report), report)
            except (BagError, OSError, EOFError, sqlite3.Error, zstd.ZstdError) as error:
                self.problems.append(f'{path}: {error}')

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

    Raises:
        BagError: A path does not exist or holds no recording.
    """
    bags: list[Bag] = []
    for path in paths:
        if not path.exists():
            msg = f'{path}: does not exist'
            raise BagError(msg)
        within = [_single(path)] if path.is_file() else list(_inside(path))
        if not within:
            msg = f'{path}: holds no recording (no {" or ".join(_STORAGES)} file, or .zstd of one)'
            msg += _ROS1 if any(path.rglob('*.bag')) else ''
            raise BagError(msg)
        bags += within
    return list(
        {tuple(file.resolve() for file in bag.files) or bag.path: bag for bag in bags}.values()
    )


def _single(path: Path) -> Bag:
    if _storage(path) not in _STORAGES:
        msg = f'{path}: not a recording; expected a folder or a {" or ".join(_STORAGES)} file'
        msg += _ROS1 if path.suffix == '.bag' else ''
        raise BagError(msg)
    return Bag(path, [path])


def _inside(folder: Path) -> Iterator[Bag]:
    """Yield the recordings in a folder and below; each with all of its splits."""
    meant = folder / 'metadata.yaml'
    problems: list[str] = []
    listed = _listed(meant, problems) if meant.exists() else set()
    splits = _once(folder, listed, problems)
    if meant.exists():
        own = [path for path in splits if listed & {*_twins(path.name)}] or splits
        yield Bag(folder, own, problems)
        splits = [path for path in splits if path not in own]  # Of other recordings, then.
    # A recorder writes metadata.yaml when it ends; files that differ in a number are splits.
    groups: dict[str, list[Path]] = {}
    for path in splits:
        groups.setdefault(re.sub(r'(_\d+)?\.(mcap|db3).*', '', path.name), []).append(path)
    for group in groups.values():
        whole = not meant.exists() and len(groups) == 1 and group[0].name.startswith(folder.name)
        yield Bag(folder if whole else group[0], group, [] if meant.exists() else problems)
    for child in sorted(folder.iterdir(), key=_natural):
        if child.is_dir():
            yield from _inside(child)


def _listed(path: Path, problems: list[str]) -> set[str]:
    """Return the names of the files of a recording; what is wrong with them is added."""
    try:
        content: Any = parse_yaml(read_file(path).decode())
        information = content['rosbag2_bagfile_information']
        version = int(information['version'])
        listed = {Path(name).name for name in information['relative_file_paths']}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problems.append(f'{path}: not metadata of a recording, files read without it ({error!r})')
        return set()
    if version > _NEWEST:
        problems.append(
            f'{path}: version {version} is newer than the newest known, {_NEWEST}; read as that'
        )
    problems += [
        f'{path}: the file {name} is missing'
        for name in sorted(listed)
        if not any((path.parent / twin).exists() for twin in _twins(name))
    ]
    return listed


def _twins(name: str) -> tuple[str, str]:
    """Return the names of a file as it is and compressed."""
    plain = name.removesuffix('.zstd')
    return plain, f'{plain}.zstd'


def _once(folder: Path, listed: Collection[str], problems: list[str]) -> list[Path]:
    """Return the storage files of a folder, those that are there twice as one of the two."""
    paths = {path.name: path for path in folder.iterdir() if _storage(path) in _STORAGES}
    for plain, packed in [_twins(name) for name in paths]:
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
    if path.suffix != '.zstd':
        yield from _query(path, wanted, report)
        return
    with NamedTemporaryFile(suffix='.db3') as plain:
        with zstd.open(path) as stream:
            while piece := stream.read(_PIECE):
                plain.write(piece)
        plain.flush()
        yield from _query(Path(plain.name), wanted, report)


_SCANS = {'.mcap': _scan_mcap, '.db3': _scan_sqlite}


def _query(path: Path, wanted: Callable[[Topic], bool], report: Report) -> Iterator[Message]:
    database = _open(path)
    try:
        tables = {row[0] for row in database.execute('SELECT name FROM sqlite_master')}
        if not {'topics', 'messages'} <= tables:
            msg = 'not a recording: it has no tables topics and messages'
            raise BagError(msg)
        definitions: dict[str, tuple[str, str]] = {}
        if 'message_definitions' in tables:
            definitions = {row[0]: row[1:] for row in database.execute(
                'SELECT topic_type, encoded_message_definition, encoding FROM message_definitions'
            )}  # fmt: skip
        topics = {
            number: Topic(name, kind, *definitions.get(kind, ('', 'ros2msg')))
            for number, name, kind in database.execute('SELECT id, name, type FROM topics')
        }
        topics = {number: topic for number, topic in topics.items() if wanted(topic)}
        marks = ','.join('?' * len(topics))
        # By row, not by time stamp: the order in which they were written.
        rows = database.execute(
            f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) '
            'ORDER BY id',
            list(topics),
        )
        empty = 0
        for number, stamp, data in rows:
            if isinstance(stamp, int) and isinstance(data, bytes):
                yield Message(topics[number], stamp, data)
            else:
                empty += 1
        if empty:
            report(f'{empty} rows hold no message and no time; left out')
    except sqlite3.DatabaseError as error:
        report(f'damaged: {error}; what precedes was read')
    finally:
        database.close()


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only, without the journal of a killed recorder if that cannot be used."""
    address = path.resolve().as_uri()
    for mode in ('mode=ro', 'mode=ro&immutable=1'):
        database = sqlite3.connect(f'{address}?{mode}', uri=True)
        try:
            database.execute('SELECT 1 FROM sqlite_master').fetchone()
        except sqlite3.OperationalError:
            database.close()
            continue
        return database
    msg = 'SQLite cannot open it'
    raise BagError(msg)
