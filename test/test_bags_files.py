# SPDX-License-Identifier: Apache-2.0
"""Recordings of every kind and in every state give their messages, or say what is wrong."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tracemalloc
from io import BytesIO
from pathlib import Path

import lz4.frame
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from async_chunking.bags.definitions import BagError, own_store
from async_chunking.bags.files import find
from async_chunking.bags.mcap import Scan

KIND = 'std_msgs/msg/String'
COUNT = 400


def message(number: int) -> bytes:
    store = own_store()
    return bytes(store.serialize_cdr(store.types[KIND](f'message {number} ' * 200), KIND))


def write(path: Path, numbers=range(COUNT), storage=StoragePlugin.MCAP, prepare=None) -> Path:
    """Write messages, every second one to a topic that nobody wants."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if prepare:
        prepare(writer)
    with writer:
        wanted = writer.add_connection('/wanted', KIND, typestore=own_store())
        other = writer.add_connection('/other', KIND, typestore=own_store())
        for number in numbers:
            writer.write(wanted, 1000 + number, message(number))
            writer.write(other, 1000 + number, message(-number))
    return path


def numbers(bag) -> list[int]:
    store = own_store()
    messages = bag.messages(lambda topic: topic.name == '/wanted')
    return [int(store.deserialize_cdr(m.data, KIND).data.split()[1]) for m in messages]


def read(path: Path) -> tuple[list[int], list[str]]:
    (bag,) = find([path])
    values = numbers(bag)
    return values, bag.problems


def compressed(mode: CompressionMode):
    return lambda writer: writer.set_compression(mode, CompressionFormat.ZSTD)


@pytest.mark.parametrize('storage', list(StoragePlugin))
@pytest.mark.parametrize(
    'mode', [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE]
)
def test_both_storages_in_every_compression(tmp_path, storage, mode):
    path = write(tmp_path / 'bag', storage=storage, prepare=compressed(mode))
    assert read(path) == (list(range(COUNT)), [])
    split = next(p for p in path.iterdir() if p.name != 'metadata.yaml')
    assert read(split) == (list(range(COUNT)), [])


def test_mcap_with_zstd_chunks(tmp_path):
    path = write(tmp_path / 'bag', prepare=compressed(CompressionMode.STORAGE))
    assert read(path) == (list(range(COUNT)), [])


def test_mcap_with_lz4_chunks(tmp_path, monkeypatch):
    from rosbags.rosbag2.storage_mcap import McapWriter

    make = McapWriter.__init__

    def with_lz4(self, *arguments) -> None:
        make(self, *arguments)
        self.compression, self.compressor = 'lz4', lz4.frame.compress

    monkeypatch.setattr(McapWriter, '__init__', with_lz4)
    assert read(write(tmp_path / 'bag')) == (list(range(COUNT)), [])


def records(data: bytes):
    """Yield kind and content of each record."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from('<BQ', data, at)
        yield kind, data[at + 9 : at + 9 + size]
        at += 9 + size


def test_mcap_without_chunks(tmp_path):
    """A bag as rosbag2's preset fastwrite leaves it."""
    path = write(tmp_path / 'bag') / 'bag.mcap'
    data = path.read_bytes()
    flat = data[:8]
    for kind, content in records(data[8:-8]):
        if kind == 6:
            (size,) = struct.unpack_from('<I', content, 28)
            flat += content[28 + 4 + size + 8 :]
        elif kind in (1, 15, 2):
            flat += struct.pack('<BQ', kind, len(content)) + content
    path.write_bytes(flat + data[:8])
    assert read(path) == (list(range(COUNT)), [])


def test_messages_come_in_the_order_in_which_they_were_written(tmp_path):
    """Not in that of their stamps: the clock may have been set back."""
    order = [*range(200, 400), *range(200)]
    for storage in StoragePlugin:
        path = write(tmp_path / storage.name, order, storage)
        assert read(path) == (order, [])


def test_splits_are_read_one_after_the_other(tmp_path):
    for number in (10, 9, 2):
        part = write(tmp_path / f'part{number}', range(number * 10, number * 10 + 10))
        target = tmp_path / 'bag' / f'bag_{number}.mcap'
        target.parent.mkdir(exist_ok=True)
        shutil.copy(part / f'part{number}.mcap', target)
    expected = [*range(20, 30), *range(90, 100), *range(100, 110)]
    assert read(tmp_path / 'bag') == (expected, [])


def test_a_split_that_is_missing_is_named(tmp_path):
    path = write(tmp_path / 'bag')
    text = (path / 'metadata.yaml').read_text()
    text = text.replace('  - bag.mcap\n', '  - bag.mcap\n  - bag_1.mcap\n')
    (path / 'metadata.yaml').write_text(text)
    values, problems = read(path)
    assert values == list(range(COUNT))
    assert problems == [f'{path / "metadata.yaml"}: the file bag_1.mcap is missing']


@pytest.mark.parametrize('mode', [CompressionMode.NONE, CompressionMode.STORAGE])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.8])
def test_a_file_that_is_cut_off_gives_what_precedes(tmp_path, share, mode):
    path = write(tmp_path / 'bag', prepare=compressed(mode)) / 'bag.mcap'
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    values, problems = read(path)
    assert values == list(range(len(values)))
    assert 0 < len(values) < COUNT
    if mode == CompressionMode.NONE:
        assert len(values) == pytest.approx(COUNT * share, abs=0.03 * COUNT)
    assert f'not closed by its recorder; {len(values)} messages recovered' in problems[-1]


def test_a_file_that_grows_while_it_is_read_gives_what_precedes(tmp_path):
    compress = compressed(CompressionMode.STORAGE)
    big = write(tmp_path / 'big', range(4 * COUNT), prepare=compress)
    data = (big / 'big.mcap').read_bytes()
    at, chunks = 8, []
    for kind, content in records(data[8:-8]):
        chunks += [at] if kind == 6 else []
        at += 9 + len(content)

    def count(size: int) -> int:
        scan = Scan(BytesIO(data), size, lambda topic: True, lambda problem: None)
        return len(list(scan.messages()))

    # Its size was taken while the head, or the body, of the last chunk was written.
    assert 0 < count(chunks[-1] + 4) <= count(chunks[-1] + 14) < count(len(data))


def test_a_damaged_chunk_costs_only_itself(tmp_path):
    big = write(tmp_path / 'big', range(4 * COUNT), prepare=compressed(CompressionMode.STORAGE))
    path = big / 'big.mcap'
    data = bytearray(path.read_bytes())
    at, chunks = 8, []
    for kind, content in records(bytes(data[8:-8])):
        chunks += [at] if kind == 6 else []
        at += 9 + len(content)
    assert len(chunks) >= 3
    middle = chunks[1] + 9 + 100
    data[middle : middle + 20] = bytes(20)
    path.write_bytes(data)
    values, problems = read(path)
    assert 0 < len(values) < 4 * COUNT
    assert values[-1] == 4 * COUNT - 1
    assert len(problems) == 1
    assert 'damaged and left out' in problems[0]


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        (b'', 'not an MCAP file: it begins with nothing'),
        (b'#ROSBAG V2.0\n', 'not an MCAP file: it begins with 23524f53'),
        (b'\x89MCAP0\r\n', 'not closed by its recorder; 0 messages recovered'),
    ],
)
def test_files_that_are_no_recording(tmp_path, content, complaint):
    path = tmp_path / 'bag.mcap'
    path.write_bytes(content)
    values, problems = read(path)
    assert values == []
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert complaint in problems[0]


def test_a_database_that_is_no_recording(tmp_path):
    path = tmp_path / 'bag.db3'
    sqlite3.connect(path).execute('CREATE TABLE cats(name TEXT)').connection.close()
    assert read(path)[1] == [f'{path}: not a recording: it has no tables topics and messages']
    path.write_bytes(b'no database at all, but long enough to be looked at' * 50)
    assert len(read(path)[1]) == 1


def test_a_database_without_definitions_as_old_recorders_left_it(tmp_path):
    path = write(tmp_path / 'bag', storage=StoragePlugin.SQLITE3) / 'bag.db3'
    with sqlite3.connect(path) as database:
        database.execute('DROP TABLE message_definitions')
    (bag,) = find([path])
    first = next(bag.messages(lambda topic: topic.name == '/wanted'))
    assert (first.topic.type, first.topic.definition) == (KIND, '')
    assert read(path) == (list(range(COUNT)), [])


def test_a_database_that_was_cut_off_gives_what_precedes(tmp_path):
    path = write(tmp_path / 'bag', storage=StoragePlugin.SQLITE3) / 'bag.db3'
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    values, problems = read(path)
    assert values == list(range(len(values)))
    assert len(problems) == 1


@pytest.mark.parametrize(
    ('text', 'complaint'),
    [
        ('rosbag2_bagfile_information:\n  version: 99\n  relative_file_paths: [bag.mcap]\n',
         'version 99 is newer than the newest known, 9'),
        ('rosbag2_bagfile_information:\n  version: 9\n', 'files read without it'),
        (': not\n yaml :[', 'files read without it'),
        ('', 'files read without it'),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_used_costs_nothing_but_a_word(tmp_path, text, complaint):
    path = write(tmp_path / 'bag')
    (path / 'metadata.yaml').write_text(text)
    values, problems = read(path)
    assert values == list(range(COUNT))
    assert len(problems) == 1
    assert complaint in problems[0]


def test_folders_are_searched(tmp_path):
    write(tmp_path / 'a' / 'run_2')
    write(tmp_path / 'a' / 'run_10')
    write(tmp_path / 'b')
    shutil.copy(tmp_path / 'b' / 'b.mcap', tmp_path / 'single.mcap')
    shutil.copy(tmp_path / 'b' / 'b.mcap', tmp_path / 'another.mcap')
    names = [str(bag.path.relative_to(tmp_path)) for bag in find([tmp_path])]
    assert names == ['another.mcap', 'single.mcap', 'a/run_2', 'a/run_10', 'b']


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(BagError, match='nowhere: does not exist'):
        find([tmp_path / 'nowhere'])
    with pytest.raises(BagError, match='holds no recording'):
        find([tmp_path])
    (tmp_path / 'notes.txt').write_text('')
    with pytest.raises(BagError, match=r'not a recording; expected a folder or a \.mcap or \.db3'):
        find([tmp_path / 'notes.txt'])


def test_the_library_agrees_with_what_is_read(tmp_path):
    path = write(tmp_path / 'bag')
    with AnyReader([path]) as reader:
        raw = [m for c, _, m in reader.messages() if c.topic == '/wanted']
    (bag,) = find([path])
    assert [m.data for m in bag.messages(lambda topic: topic.name == '/wanted')] == raw


def test_a_database_whose_recorder_was_killed_keeps_its_journal(tmp_path):
    """SQLite in write-ahead mode: the newest messages are in a second file."""
    live = write(tmp_path / 'live', range(10), StoragePlugin.SQLITE3) / 'live.db3'
    database = sqlite3.connect(live)
    database.execute('PRAGMA journal_mode = WAL')
    database.execute('PRAGMA wal_autocheckpoint = 0')
    for number in range(10, 20):
        row = (1, 2000 + number, message(number))
        database.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)', row)
    database.commit()
    killed = tmp_path / 'killed'
    shutil.copytree(live.parent, killed)
    database.close()
    (killed / 'metadata.yaml').unlink()
    assert read(killed)[0] == list(range(20))


@pytest.mark.parametrize('name', ['lz4', 'zstd', ''])
@pytest.mark.parametrize('told', [1 << 40, 1000])
def test_a_chunk_that_unpacks_to_more_than_it_may_is_left_out(name: str, told: int) -> None:
    """Some kilobytes may hold gigabytes, whatever they say that they hold."""
    from async_chunking.bags.compression import zstd

    inside = bytes(1 << 24)
    pack = {'lz4': lz4.frame.compress, 'zstd': zstd.compress, '': lambda data: data}
    data = pack[name](inside)
    kind = name.encode()
    chunk = struct.pack('<QQQI', 0, 0, told, 0) + struct.pack('<I', len(kind)) + kind
    chunk += struct.pack('<Q', len(data)) + data
    content = b'\x89MCAP0\r\n' + struct.pack('<BQ', 6, len(chunk)) + chunk
    problems: list[str] = []
    tracemalloc.start()
    messages = list(
        Scan(BytesIO(content), len(content), lambda _: True, problems.append).messages()
    )
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert messages == []
    reason = 'at most 268435456 are read' if told > 1000 else 'its checksum does not fit'
    assert reason in problems[0]
    assert most < 4 * len(data) + (1 << 20)


def test_fewer_messages_than_the_recorder_counted_are_told(tmp_path: Path):
    whole, less = write(tmp_path / 'whole'), write(tmp_path / 'less', range(10))
    (bag,) = find([whole])
    assert (len(numbers(bag)), bag.problems) == (COUNT, [])
    shutil.copy(whole / 'metadata.yaml', less)  # As of a file that was cut, or lost its journal.
    shutil.move(less / 'less.mcap', less / 'whole.mcap')
    (bag,) = find([less])
    for _ in range(2):  # Told once.
        assert len(numbers(bag)) == 10
        (problem,) = bag.problems
        assert 'counted 400 messages of /wanted, 10 are there' in problem
