# SPDX-License-Identifier: Apache-2.0
"""SQLite files of rosbag2: rows in the order in which they were written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from async_chunking.bags.definitions import BagError
from async_chunking.bags.mcap import Message, Report, Topic, full_name

_MAGIC = b'SQLite format 3\0'
_SHARE = 0.1  # Of rows that are older than the one before; more are of rows that were shuffled.


def query(path: Path, wanted: Callable[[Topic], bool], report: Report) -> Iterator[Message]:
    """
    Yield the wanted messages of a file.

    Args:
        path: The file, not compressed.
        wanted: Decides by a topic whether its messages are yielded.
        report: Is told in a sentence what could not be read.

    Raises:
        BagError: It is no recording.
    """
    database = _open(path)
    try:
        tables = {row[0] for row in database.execute('SELECT name FROM sqlite_master')}
        if not {'topics', 'messages'} <= tables:
            msg = 'not a recording: it has no tables topics and messages'
            raise BagError(msg)
        if _followed(path, database):
            report('another file follows its end; not read')
        topics = {n: t for n, t in _topics(database, tables).items() if wanted(t)}
        marks = ','.join('?' * len(topics))
        rows = database.execute(
            f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) '
            f'ORDER BY {_order(database, report)}',
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


def span(path: Path) -> tuple[int, int] | None:
    """Return when the first and the last message were received [ns]; None without any."""
    database = _open(path)
    try:
        first, last = database.execute(
            'SELECT MIN(timestamp), MAX(timestamp) FROM messages'
        ).fetchone()
        return None if first is None else (int(first), int(last))
    finally:
        database.close()


def _topics(database: sqlite3.Connection, tables: set[str]) -> dict[int, Topic]:
    definitions: dict[str, tuple[str, str]] = {}
    if 'message_definitions' in tables:
        definitions = {row[0]: row[1:] for row in database.execute(
            'SELECT topic_type, encoded_message_definition, encoding FROM message_definitions'
        )}  # fmt: skip
    return {
        number: Topic(full_name(name), kind, *definitions.get(kind, ('', 'ros2msg')))
        for number, name, kind in database.execute('SELECT id, name, type FROM topics')
    }


def _order(database: sqlite3.Connection, report: Report) -> str:
    """
    Return by what the rows are in the order in which they were written.

    That is their number and not the time, as a clock may be set while it is recorded; unless who
    worked on the file numbered them anew.
    """
    ends = [
        database.execute(f'SELECT timestamp FROM messages ORDER BY id {way} LIMIT 1').fetchone()
        for way in ('ASC', 'DESC')
    ]
    if None in ends or None in (ends[0][0], ends[1][0]) or ends[0][0] <= ends[1][0]:
        return 'id'
    count, back = database.execute(
        'SELECT COUNT(*), SUM(step < 0) FROM (SELECT timestamp - LAG(timestamp) '
        'OVER (ORDER BY id) AS step FROM messages)'
    ).fetchone()
    if back <= _SHARE * count:
        return 'id'
    report('its rows were numbered anew; read in the order of their times')
    return 'timestamp, id'


def _followed(path: Path, database: sqlite3.Connection) -> bool:
    """Return whether another database was put behind this one."""
    pages, size = (
        database.execute(f'PRAGMA {name}').fetchone()[0] for name in ('page_count', 'page_size')
    )
    with path.open('rb') as file:
        file.seek(pages * size)
        return file.read(len(_MAGIC)) == _MAGIC


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
