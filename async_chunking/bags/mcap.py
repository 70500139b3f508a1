# SPDX-License-Identifier: Apache-2.0
"""
MCAP files, front to back: in the order in which they were written, with or without an end.

A library's reader looks at the index behind the data first, and returns messages by their time
stamps. A recorder that was killed left no index, and after a step of the clock the order of the
stamps is not that of the events. So files are scanned here record by record (mcap.dev/spec), and
what cannot be read is reported and skipped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import NamedTuple, Protocol

import lz4.frame

from async_chunking.bags.compression import zstd
from async_chunking.bags.definitions import BagError

_MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 2, 3, 4, 5, 6, 15
_LARGEST = 1 << 30  # Of a record [bytes].
_MOST = 1 << 28  # In a chunk; recorders write some million [bytes].
_RECORD = struct.Struct('<BQ')
_LENGTH = struct.Struct('<I')
_MESSAGE_HEAD = struct.Struct('<HIQQ')
_CHUNK_HEAD = struct.Struct('<QQQI')
_TIMES = {_CHUNK: struct.Struct('<QQ'), _MESSAGE: struct.Struct('<6xQ')}  # At their beginning.
# Those that give what they can of data that is cut off.
_COMPRESSION = {
    '': lambda data, most: data[:most],
    'lz4': lambda data, most: lz4.frame.LZ4FrameDecompressor().decompress(data, most),
    'zstd': lambda data, most: zstd.ZstdDecompressor().decompress(data, most),
}


class Topic(NamedTuple):
    """A topic of a file, and the definition of its messages as far as the file has one."""

    name: str
    type: str
    definition: str = ''
    form: str = 'ros2msg'


class Message(NamedTuple):
    """A serialized message and when it was received [ns]."""

    topic: Topic
    stamp: int
    data: bytes


Report = Callable[[str], None]


class ByteStream(Protocol):
    """A file, compressed or not."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes; fewer at the end."""


class SeekableStream(ByteStream, Protocol):
    """A file in which one can go forward."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""


class Scan:
    """
    One file, read front to back.

    Args:
        stream: Positioned at the beginning.
        size: Bytes in it.
        wanted: Decides by a topic whether its messages are yielded.
        report: Is told in a sentence what could not be read.

    Attributes:
        closed: The recorder finished the file; false until that is known.
    """

    def __init__(
        self, stream: ByteStream, size: float, wanted: Callable[[Topic], bool], report: Report
    ) -> None:
        self._stream = stream
        self._size = size
        self._wanted = wanted
        self._report = report
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._topics: dict[int, Topic | None] = {}
        self._at = 0
        self._held = b''  # Of the next file.
        self.closed = False

    def messages(self) -> Iterator[Message]:
        """
        Yield the wanted messages, also those of files that were put behind it.

        Raises:
            BagError: This is not an MCAP file.
        """
        magic = self._read(len(_MAGIC))
        if magic != _MAGIC:
            what = ' (a pointer of Git LFS: fetch the file itself)' if magic == b'version ' else ''
            msg = f'not an MCAP file: it begins with {magic.hex() or "nothing"}{what}'
            raise BagError(msg)
        yield from self._file()
        while self._another():
            yield from self._file()

    def _read(self, size: int) -> bytes:
        held, self._held = self._held[:size], self._held[size:]
        data = held + self._stream.read(size - len(held))
        self._at += len(data)
        return data

    def _file(self) -> Iterator[Message]:
        """Yield the messages up to the footer, or as far as the file goes."""
        while len(head := self._read(_RECORD.size)) == _RECORD.size:
            if head.startswith(_MAGIC):
                self._report(f'not closed by its recorder before byte {self._at - len(head)}')
                self._held, self._at = head, self._at - len(head)
                return
            kind, size = _RECORD.unpack(head)
            at = self._at
            if kind == 0 and not self.closed:
                self._report(f'damaged at byte {at - _RECORD.size}; nothing is read from there on')
            # Never ask for more than there is: a damaged size may be anything.
            # A file that is still written to may have grown since its size was taken.
            data = self._read(int(max(0, min(size, self._size - at, _LARGEST)))) if kind else b''
            if not self.closed:  # What comes then says the same once more.
                yield from self._record(kind, data, at, len(data) == size)
            if kind in (0, _FOOTER) or len(data) < size:
                return

    def _another(self) -> bool:
        """Return whether another file begins where this one ends, as `cat` leaves them."""
        if self.closed and self._read(len(_MAGIC)) != _MAGIC:
            return False
        if not self.closed and not self._held:
            return False
        if not (begin := self._read(len(_MAGIC))):
            return False
        if begin != _MAGIC:
            self._report(f'something follows its end, from byte {self._at - len(begin)}; not read')
            return False
        self.closed = False
        self._schemas.clear()
        self._topics.clear()
        return True

    def _record(self, kind: int, data: bytes, at: int, whole: bool) -> Iterator[Message]:
        if kind == _CHUNK:
            try:
                yield from self._inside(_chunk(data, whole))
            except Exception as error:  # Whatever a decompressor or a damaged record raises.
                self._report(f'the chunk at byte {at} is damaged and left out: {error}')
        elif not whole or not kind:
            return
        elif kind == _MESSAGE:
            yield from self._message(data, 0, len(data))
        elif kind == _DATA_END:
            self.closed = True
        else:
            self._describe(kind, data)

    def _inside(self, data: bytes) -> Iterator[Message]:
        at, end = 0, len(data)
        while at + _RECORD.size <= end:
            kind, size = _RECORD.unpack_from(data, at)
            at += _RECORD.size
            if at + size > end:  # Of a chunk that is cut off.
                return
            if kind == _MESSAGE:
                yield from self._message(data, at, size)
            else:
                self._describe(kind, data[at : at + size])
            at += size

    def _message(self, data: bytes, at: int, size: int) -> Iterator[Message]:
        channel, _, stamp, _ = _MESSAGE_HEAD.unpack_from(data, at)
        topic = self._topics.get(channel)
        if topic is not None:
            yield Message(topic, stamp, data[at + _MESSAGE_HEAD.size : at + size])

    def _describe(self, kind: int, data: bytes) -> None:
        read = BytesIO(data)
        if kind == _SCHEMA:
            number = int.from_bytes(read.read(2), 'little')
            self._schemas[number] = (_text(read), _text(read), _text(read))
        elif kind == _CHANNEL:
            number, schema = struct.unpack('<HH', read.read(4))
            name, form, definition = self._schemas.get(schema, ('', '', ''))
            topic = Topic(full_name(_text(read)), _ros2_name(name), definition, form)
            wanted = self._wanted(topic)
            if wanted and (encoding := _text(read)) != 'cdr':
                remedy = '; convert it with rosbags-convert' if encoding == 'ros1' else ''
                self._report(f'topic {topic.name} is left out: it is {encoding}, not cdr{remedy}')
                wanted = False
            self._topics[number] = topic if wanted else None


def span(stream: SeekableStream) -> tuple[int, int] | None:
    """
    Return when the first and the last message of a file were received [ns]; None without any.

    What cannot be read is passed over.
    """
    times: list[int] = []
    stream.seek(len(_MAGIC))
    while len(head := stream.read(_RECORD.size)) == _RECORD.size:
        kind, size = _RECORD.unpack(head)
        if kind in (0, _DATA_END):
            break
        told = _TIMES.get(kind)
        data = stream.read(min(size, told.size)) if told else b''
        if told and len(data) == told.size:
            times += [time for time in told.unpack(data) if time]  # 0 in a chunk of none.
        stream.seek(size - len(data), 1)
    return (min(times), max(times)) if times else None


def _chunk(data: bytes, whole: bool) -> bytes:
    """Return the records in a chunk, the first ones if it is cut off."""
    _, _, size, checksum = _CHUNK_HEAD.unpack_from(data)
    read = BytesIO(data)
    read.seek(_CHUNK_HEAD.size)
    compression = _text(read)
    if compression not in _COMPRESSION:
        msg = f'unknown compression {compression!r}; known: {", ".join(_COMPRESSION)}'
        raise BagError(msg)
    read.seek(8, 1)
    if size > _MOST:
        msg = f'{size} bytes are in it, at most {_MOST} are read'
        raise BagError(msg)
    inside = _COMPRESSION[compression](read.read(), size + 1)
    if whole and (len(inside) != size or (checksum and zlib.crc32(inside) != checksum)):
        msg = 'its checksum does not fit'
        raise BagError(msg)
    return inside


def full_name(topic: str) -> str:
    """Return a topic's name with the slash in front that some converters leave out."""
    return topic if topic.startswith('/') else f'/{topic}'


def _ros2_name(kind: str) -> str:
    """Return 'package/msg/Name' for a type that is named as ROS 1 names it, 'package/Name'."""
    package, _, name = kind.partition('/')
    return f'{package}/msg/{name}' if name and '/' not in name else kind


def _text(read: BytesIO) -> str:
    (size,) = _LENGTH.unpack(read.read(_LENGTH.size))
    return read.read(size).decode(errors='replace')
