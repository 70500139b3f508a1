# SPDX-License-Identifier: Apache-2.0
"""Recordings of every distribution, storage and compression, and in every state of damage."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scripted import scripted_run

from async_chunking.bags.compression import zstd
from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all
from async_chunking.bags.summary import summarize_bag
from async_chunking.dataset.from_bags import convert
from async_chunking.dataset.reading import read_demonstrations
from odd_files import Case
from odd_files.asking import first_frame, robot, ticks
from odd_files.writing import (
    JOINTS,
    OWN,
    STEP,
    Line,
    joints,
    message,
    numbers,
    record,
    step,
    store_of,
    text,
)
from tools.recordings.export import TOPICS, serialize

ARM = robot(['j1', 'j2'])
EPISODE = '{"success": true, "duration_s": 0.3}'
SQLITE, MCAP = StoragePlugin.SQLITE3, StoragePlugin.MCAP
FRAMES = 30
RIGHT = 'state 0.5 -0.5, action 0.5 -0.5'


def lines(space: str = '', frames: int = FRAMES, begin: int = 0, own: bool = False) -> list[Line]:
    messages = []
    for k in range(begin, begin + frames):
        messages.append(joints(0.02 * k, f'{space}/joint_states', j1=0.5, j2=-0.5))
        messages.append(numbers(0.02 * k + 0.001, f'{space}/go', 0.5, -0.5))
        if own:
            messages.append(step(0.02 * k + 0.002, f'{space}/control_step', k, j1=0.5, j2=-0.5))
    return messages


def plain(space: str = '', own: bool = False, **how: Any) -> Callable[[Path], None]:
    return lambda folder: record(folder / 'bag', lines(space, own=own), **how) and None


def steps(**how: Any) -> Callable[[Path], None]:
    return plain(own=True, **how)


# --- storage ------------------------------------------------------------------------------------


def _splits(folder: Path) -> None:
    for number in range(3):
        made = record(folder / f'part{number}', lines(begin=10 * number, frames=10, own=True))
        (folder / 'bag').mkdir(exist_ok=True)
        shutil.move(made / f'part{number}.mcap', folder / 'bag' / f'bag_{number}.mcap')


def _listing(folder: Path, names: Sequence[str]) -> None:
    content = {'version': 9, 'relative_file_paths': [*names]}
    text_ = yaml.safe_dump({'rosbag2_bagfile_information': content})
    (folder / 'bag/metadata.yaml').write_text(text_)


def _split_missing(folder: Path) -> None:
    _splits(folder)
    _listing(folder, [f'bag_{number}.mcap' for number in range(3)])
    (folder / 'bag/bag_1.mcap').unlink()


def _twin(listed: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        steps()(folder)
        file = folder / 'bag/bag.mcap'
        (folder / 'bag/bag.mcap.zstd').write_bytes(zstd.compress(file.read_bytes()))
        if listed:
            _listing(folder, ['bag.mcap.zstd'])
        else:
            (folder / 'bag/metadata.yaml').unlink()

    return make


def _episodes(folder: Path) -> str:
    (bag,) = find([folder / 'bag'])
    return f'{sum(len(run.episodes) for run in summarize_bag(bag).runs)} episodes'


def _two_episodes(folder: Path) -> None:
    told = json.dumps({'success': True, 'duration_s': 0.25})
    more = [text(0.3, '/episode', told), text(0.59, '/episode', told)]
    record(folder / 'bag', lines(own=True) + more)
    file = folder / 'bag/bag.mcap'
    (folder / 'bag/bag.mcap.zstd').write_bytes(zstd.compress(file.read_bytes()))
    _listing(folder, ['bag.mcap.zstd'])


def _copied(folder: Path) -> None:
    steps()(folder)
    shutil.copytree(folder / 'bag', folder / 'copy of bag')


def _copy_in(how: str) -> Callable[[Path], None]:
    """Record an episode, and the same under another name, in other storage, or cut short."""

    def make(folder: Path) -> None:
        said = [*lines(own=True), text(0.599, '/episode', EPISODE)]
        record(folder / 'bag', said)
        file = folder / 'bag/bag.mcap'
        if how == 'storage':
            record(folder / 'other', said, storage=SQLITE)
            shutil.move(folder / 'other/other.db3', folder / 'bag/bag.db3')
        elif how == 'packed':
            record(folder / 'other', said, compression=CompressionMode.MESSAGE)
            shutil.move(folder / 'other/other.mcap', folder / 'bag/packed.mcap')
        elif how == 'splits':
            (folder / 'bag/metadata.yaml').unlink()
            shutil.copy(file, folder / 'bag/bag.mcap.bak.mcap')
        elif how == 'recorder':  # Beside the first, a little later, by a clock of its own.
            record(folder / 'other', said, clock=lambda t: t + 0.004)
        else:
            shutil.copytree(folder / 'bag', folder / 'other')

    return make


def _counted(folder: Path) -> str:
    """Return how many demonstrations are made, and how many runs and episodes are reported."""
    from async_chunking.bags.folder import without_copies

    count, _ = convert([folder], ARM, folder / 'data', '')
    reports = without_copies([report for _, report in read_all(find([folder]), workers=1)])
    runs = [run for report in reports for run in report.runs]
    return f'{count} demonstration, {len(runs)} run, {sum(len(r.episodes) for r in runs)} episode'


def _runs(folder: Path) -> str:
    from async_chunking.bags.folder import without_copies

    reports = [report for _, report in read_all(find([folder]), workers=1)]
    return f'{sum(len(report.runs) for report in without_copies(reports))} run'


def _another_beside(folder: Path) -> None:
    steps()(folder)
    record(folder / 'other', lines(own=True))
    shutil.move(folder / 'other/other.mcap', folder / 'bag/other.mcap')
    shutil.rmtree(folder / 'other')


def _recordings(folder: Path) -> str:
    return f'{len(find([folder]))} recordings'


def _renamed(folder: Path) -> None:
    steps()(folder)
    (folder / 'bag/bag.mcap').rename(folder / 'bag/renamed.mcap')


def _without_metadata(folder: Path) -> None:
    steps()(folder)
    (folder / 'bag/metadata.yaml').unlink()


def _listed_as(name: str | None) -> Callable[[Path], None]:
    """Return what lists a file by a name, or a name where a list is wanted."""

    def make(folder: Path) -> None:
        steps()(folder)
        content = {'version': 9, 'relative_file_paths': [name] if name else 'bag.mcap'}
        told = yaml.safe_dump({'rosbag2_bagfile_information': content})
        (folder / 'bag/metadata.yaml').write_text(told)

    return make


def _no_slash(folder: Path) -> None:
    said = [line._replace(topic=line.topic[1:]) for line in lines()]
    _write_chunks(folder / 'bag.mcap', [said], '')


def _one_tick_of_another(folder: Path) -> None:
    said = [step(0.02 * k, '/control_step', k, 9 if k == 10 else 7, j1=0.5) for k in range(30)]
    record(folder / 'bag', said)


def _old_sqlite(folder: Path) -> None:
    """Humble's recorder embeds no definitions."""
    plain(distribution=Stores.ROS2_HUMBLE, storage=SQLITE)(folder)
    with sqlite3.connect(folder / 'bag/bag.db3') as database:
        database.execute('DROP TABLE message_definitions')


# --- damage -------------------------------------------------------------------------------------


def _torn_message(kind: str) -> Callable[[Path], None]:
    """Record 753 commands, one of them torn."""

    def make(folder: Path) -> None:
        said = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(753)]

        def change(number: int, data: bytes) -> bytes:
            if number != 300:
                return data
            return data[: len(data) // 2] if kind == 'cut' else data[:8] + b'\xff' * 40

        record(folder / 'bag', said, change=change)

    return make


def _torn_far_apart(folder: Path) -> None:
    said = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(9000)]
    record(folder / 'bag', said, change=lambda n, data: data[:40] if n in (9, 7999) else data)


def _episode_torn(*contents: str, torn: int = -1) -> Callable[[Path], None]:
    """Record episodes that end 0.3 s apart; number `torn` lacks its end."""

    def make(folder: Path) -> None:
        said = lines(own=True)
        ends = [text(0.2995 * (n + 1), '/episode', content) for n, content in enumerate(contents)]
        place = sorted(ends + said, key=lambda line: line.seconds).index(ends[torn])

        def change(number: int, data: bytes) -> bytes:
            return data[:20] if torn >= 0 and number == place else data

        record(folder / 'bag', said + ends, change=change)

    return make


def _told(
    *ends: tuple[float, str], space: str = '', other: str = '', told: Sequence[str] = ()
) -> Callable[[Path], None]:
    """Record a robot in a namespace, and when episodes ended, and what was told of each."""

    def make(folder: Path) -> None:
        said = [*lines(space, own=True), *(lines(other, own=True) if other else ())]
        contents = told or [EPISODE] * len(ends)
        said += [text(*end, content) for end, content in zip(ends, contents, strict=True)]
        record(folder / 'bag', said)

    return make


def _demonstrated(folder: Path) -> str:
    """Return how long each demonstration is, how many episodes are reported, and what is said."""
    convert([folder / 'bag'], ARM, folder / 'data', '', 'left')
    ends = read_demonstrations(folder / 'data').ends
    (bag,) = find([folder / 'bag'])
    report = summarize_bag(bag)
    count = sum(len(run.episodes) for run in report.runs)
    said = '; '.join(report.problems).replace(f'{folder}/', '')
    frames = ', '.join(map(str, np.diff(ends, prepend=0)))
    return f'{frames} frames, {count} episodes{f": {said}" * bool(said)}'


def _kept(folder: Path) -> str:
    """Return how many demonstrations are made, and how many episodes are reported."""
    count, problems = convert([folder / 'bag'], ARM, folder / 'data', '')
    told = _episodes(folder)
    named = any('topic /episode: 1 of ' in problem for problem in problems)
    return f'{count} of {told}{", named" * named}'


def _torn_packed(folder: Path) -> None:
    """Compress by message and tear one of them, as a disk does."""
    said = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(FRAMES)]
    record(folder / 'bag', said, compression=CompressionMode.MESSAGE, storage=SQLITE)
    with sqlite3.connect(folder / 'bag/bag.db3') as database:
        database.execute('UPDATE messages SET data = substr(data, 1, 30) WHERE id = 9')


def _empty_row(folder: Path) -> None:
    steps(storage=SQLITE)(folder)
    with sqlite3.connect(folder / 'bag/bag.db3') as database:
        topic = "SELECT id FROM topics WHERE name = '/control_step'"
        database.execute('DROP TABLE IF EXISTS copy')
        database.execute('CREATE TABLE copy (id INTEGER PRIMARY KEY, topic_id, timestamp, data)')
        database.execute('INSERT INTO copy SELECT id, topic_id, timestamp, data FROM messages')
        database.execute('DROP TABLE messages')
        database.execute('ALTER TABLE copy RENAME TO messages')
        database.execute(
            f'UPDATE messages SET data = NULL WHERE id = '
            f'(SELECT MIN(id) FROM messages WHERE topic_id = ({topic}))'
        )


def _cut_off(folder: Path) -> None:
    steps()(folder)
    file = folder / 'bag/bag.mcap'
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.7)])


def _most_ticks(folder: Path) -> str:
    (bag,) = find([folder / 'bag'])
    report = summarize_bag(bag)
    count = sum(run.figures['ticks'] for run in report.runs)
    told = 'not closed by its recorder' in ' '.join(report.problems)
    return f'{"more than half" if count > FRAMES / 2 else count}{", named" * told}'


def _wrong_checksum(folder: Path) -> None:
    """Flip a bit in an uncompressed chunk of its second half, which a checksum is for."""
    first = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(30)]
    _write_chunks(folder / 'bag.mcap', [first[:15], first[15:]], '', damaged=1)


def _lz4(folder: Path) -> None:
    said = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(30)]
    _write_chunks(folder / 'bag.mcap', [said[:15], said[15:]], 'lz4')


def _zstd_chunks(folder: Path) -> None:
    said = [step(0.02 * k, '/control_step', k, j1=0.5) for k in range(30)]
    _write_chunks(folder / 'bag.mcap', [said[:15], said[15:]], 'zstd')


def _record_of(kind: int, data: bytes) -> bytes:
    return struct.pack('<BQ', kind, len(data)) + data


def _string(value: str) -> bytes:
    return struct.pack('<I', len(value.encode())) + value.encode()


def _write_chunks(
    path: Path, chunks: Sequence[Sequence[Line]], compression: str, damaged: int = -1,
    encoding: str = 'cdr', name: Callable[[str], str] = lambda kind: kind,
) -> None:  # fmt: skip
    """Write an MCAP file record by record, after its specification."""
    import zlib

    store = store_of(Stores.ROS2_KILTED)
    out = BytesIO()
    out.write(b'\x89MCAP0\r\n' + _record_of(1, _string('ros2') + _string('')))
    kinds = list(dict.fromkeys((line.kind, line.topic) for chunk in chunks for line in chunk))
    for number, (kind, topic) in enumerate(kinds, start=1):
        definition, _ = store.generate_msgdef(kind, ros_version=2)
        schema = struct.pack('<H', number) + _string(name(kind)) + _string('ros2msg')
        out.write(_record_of(3, schema + _string(definition)))
        channel = struct.pack('<HH', number, number) + _string(topic) + _string(encoding)
        out.write(_record_of(4, channel + struct.pack('<I', 0)))
    for index, chunk in enumerate(chunks):
        inside = b''
        for line in chunk:
            stamp = 10**18 + round(line.seconds * 1e9)
            data = bytes(store.serialize_cdr(message(store, line.kind, line.values), line.kind))
            head = struct.pack('<HIQQ', kinds.index((line.kind, line.topic)) + 1, 0, stamp, stamp)
            inside += _record_of(5, head + data)
        packed = {'': bytes, 'lz4': lz4.frame.compress, 'zstd': zstd.compress}[compression](inside)
        if index == damaged:
            packed = packed[:-20] + bytes([packed[-20] ^ 1]) + packed[-19:]
        head = struct.pack('<QQQI', 0, 0, len(inside), zlib.crc32(inside))
        body = head + _string(compression) + struct.pack('<Q', len(packed)) + packed
        out.write(_record_of(6, body))
    out.write(_record_of(15, struct.pack('<I', 0)) + b'\x89MCAP0\r\n')
    path.write_bytes(out.getvalue())


def _ros1_names(folder: Path) -> None:
    said = [line for line in lines() if line.kind != STEP]
    _write_chunks(folder / 'bag.mcap', [said], '', name=lambda kind: kind.replace('/msg/', '/'))


def _ros1_encoding(folder: Path) -> None:
    _write_chunks(folder / 'bag.mcap', [lines()], '', encoding='ros1')


def _ros1_bag(folder: Path) -> None:
    (folder / 'bag.bag').write_bytes(b'#ROSBAG V2.0\n' + bytes(100))


def _content(content: bytes, name: str = 'bag.mcap') -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def _one_file(folder: Path) -> str:
    (bag,) = find([folder])
    report = summarize_bag(bag)
    count = sum(run.figures['ticks'] for run in report.runs)
    return f'{count} ticks; {" ".join(report.problems[:1])}'.replace(f'{folder}/', '')


# --- versions of this package -------------------------------------------------------------------


@dataclass(frozen=True)
class Old:
    """A recording by a version whose messages had not all fields of today's."""

    kind: str
    lacks: Sequence[str]

    def make(self, folder: Path) -> None:
        """Write a run of today with the messages of then."""
        today = store_of(Stores.ROS2_KILTED)
        then = get_typestore(Stores.ROS2_KILTED)
        types: dict = {}
        for path in sorted(OWN.glob('*.msg')):
            content = path.read_text()
            if path.stem == self.kind:
                kept = [
                    line for line in content.splitlines()
                    if not (line.split() and line.split()[-1] in self.lacks)
                ]  # fmt: skip
                content = '\n'.join(kept) + '\n'
            types |= get_types_from_msg(content, f'async_chunking/msg/{path.stem}')
        then.register(types)
        said = []
        for kind, stamp, data in serialize(scripted_run(ticks=120)):
            fields = _plain(today.deserialize_cdr(data, kind))
            if kind.endswith(f'/{self.kind}'):
                fields = {name: v for name, v in fields.items() if name not in self.lacks}
            said.append(Line(stamp * 1e-9, f'/{TOPICS[kind]}', kind, fields))
        record(folder / 'bag', said, store=then)


def _plain(value: Any) -> Any:
    if hasattr(value, '__dataclass_fields__'):
        return {
            name: _plain(getattr(value, name))
            for name in value.__dataclass_fields__
            if name != '__msgtype__'
        }
    return value


def _consistency(folder: Path) -> str:
    (bag,) = find([folder / 'bag'])
    (run,) = summarize_bag(bag).runs
    told = 'known' if np.isfinite(run.figures['consistency_rad']) else 'unknown'
    return f'{run.figures["ticks"]} ticks, CON {told}'


def _remapped(folder: Path) -> None:
    said = [replace_topic(line, '/control_step', '/log/steps') for line in lines(own=True)]
    record(folder / 'bag', said)


def replace_topic(line: Line, topic: str, other: str) -> Line:
    return line._replace(topic=other) if line.topic == topic else line


def _no_fields(folder: Path) -> None:
    """Names alone on every second message, as some publishers send them."""
    said = lines()
    for number, line in enumerate(said):
        if line.kind == JOINTS and number % 4 == 0:
            said[number] = replace_values(line, name=['j1', 'j2'], position=[])
    record(folder / 'bag', said)


def replace_values(line: Line, **values: Any) -> Line:
    return line._replace(values={**line.values, **values})


AGES = {
    'Foxy': Stores.ROS2_FOXY, 'Galactic': Stores.ROS2_GALACTIC, 'Humble': Stores.ROS2_HUMBLE,
    'Iron': Stores.ROS2_IRON, 'Jazzy': Stores.ROS2_JAZZY, 'Kilted': Stores.ROS2_KILTED,
    'Lyrical': Stores.ROS2_LYRICAL,
}  # fmt: skip
NEWER = ('Iron', 'Jazzy', 'Kilted')  # MCAP is their default.
LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n'

CASES = [
    *(
        Case(f'{age}, {storage.name}', plain(distribution=distribution, storage=storage),
             first_frame(ARM), RIGHT)
        for age, distribution in AGES.items()
        for storage in (SQLITE, MCAP)
        if age in ('Humble', 'Lyrical') or (storage is MCAP) == (age in NEWER)
    ),
    Case('SQLite without definitions', _old_sqlite, first_frame(ARM), RIGHT),
    Case('compressed by file, MCAP', steps(compression=CompressionMode.FILE), ticks(), '30 ticks'),
    Case('compressed by file, SQLite', steps(compression=CompressionMode.FILE, storage=SQLITE),
         ticks(), '30 ticks'),
    Case('compressed by message', steps(compression=CompressionMode.MESSAGE), ticks(), '30 ticks'),
    Case('compressed by chunk, LZ4', _lz4, ticks('bag.mcap'), '30 ticks'),
    Case('compressed by chunk, Zstandard', _zstd_chunks, ticks('bag.mcap'), '30 ticks'),
    Case('three splits', _splits, ticks(), '30 ticks'),
    Case('a split is missing', _split_missing, ticks(named=['bag_1.mcap is missing']),
         '20 ticks, named'),
    Case('decompressed twin beside it', _twin(listed=True), ticks(named=['once more']),
         '30 ticks, named'),
    Case('twin, no metadata', _twin(listed=False), ticks(named=['once more']), '30 ticks, named'),
    Case('episodes with a twin', _two_episodes, _episodes, '2 episodes'),
    Case('given twice', steps(), ticks('bag', 'bag/bag.mcap', 'bag'), '30 ticks'),
    Case('copied to another folder', _copied, _runs, '1 run'),
    *(
        Case(f'copied {name}', _copy_in(how), _counted, '1 demonstration, 1 run, 1 episode')
        for how, name in (
            ('folder', 'to another folder, as data'), ('storage', 'to other storage'),
            ('packed', 'under another name and compressed'), ('splits', 'as if it were a split'),
            ('recorder', 'by a second recorder'),
        )
    ),
    Case('another recording in its folder', _another_beside, _recordings, '2 recordings'),
    Case('file renamed after recording', _renamed, ticks(named=['bag.mcap is missing']),
         '30 ticks, named'),
    Case('metadata with the slashes of Windows', _listed_as('parts\\bag.mcap'), ticks(),
         '30 ticks'),
    Case('metadata with a name for a list', _listed_as(None),
         ticks(named=['relative_file_paths', 'not a list']), '30 ticks, named'),
    Case('topics without a slash', _no_slash, first_frame(ARM, paths=['bag.mcap']), RIGHT),
    Case('messages in another encoding', plain(change=lambda _, data: b'\0\7' + data[2:]),
         first_frame(ARM), ('30 of 30 messages left out: in an unknown encoding', '0007')),
    Case('a tick of a run within another', _one_tick_of_another,
         ticks(named=['run 9 was told while run 7 ran']), '30 ticks, named'),
    Case('no metadata', _without_metadata, ticks(), '30 ticks'),
    Case('one torn message of 753', _torn_message('cut'), ticks(named=['1 of 753 messages']),
         '752 ticks, named'),
    Case('two torn messages in a long recording', _torn_far_apart,
         ticks(named=['2 of 9000 messages']), '8998 ticks, named'),
    Case('one message of noise among 753', _torn_message('noise'),
         ticks(named=['1 of 753 messages']), '752 ticks, named'),
    Case('one torn message, packed', _torn_packed, ticks(named=['1 messages cannot be unpacked']),
         '29 ticks, named'),
    Case('one row without a message', _empty_row, ticks(named=['1 rows hold no message']),
         '29 ticks, named'),
    Case('one torn end of an episode', _episode_torn(EPISODE, EPISODE, torn=0), _kept,
         '1 of 1 episodes, named'),
    Case('the only end of an episode is torn', _episode_torn(EPISODE, torn=0), _kept,
         ('topic /episode: 1 of 1 messages', 'not known how any of its episodes ended')),
    Case('an episode that ended with a word', _episode_torn('{"success": "no"}'), _kept,
         ("success is 'no'", 'true or false')),
    Case('a duration that is no number',
         _episode_torn(EPISODE, '{"success": true, "duration_s": NaN}'), _kept,
         '1 of 1 episodes, named'),
    Case('numbers on the topic of episodes', _episode_torn('3'), _kept,
         '1 of 0 episodes, named'),
    *(
        Case(f'an end of an episode {name}', _episode_torn(content), _kept, right)
        for name, content, right in (
            ('behind a mark of its byte order', '\ufeff{"success": false, "duration_s": 0.2}',
             ('1 episodes failed',)),
            ('with a zero behind it', '{"success": false, "duration_s": 0.2}\0',
             ('1 episodes failed',)),
            ('in quotes', json.dumps('{"success": false}'),
             ('is no JSON object', 'not known how any of its episodes ended')),
            ('in other letters', '{"Success": false, "duration_s": 0.2}',
             ('no success in it, only Success', 'not known how any of its episodes ended')),
        )
    ),
    Case('words on the topic of episodes', _episode_torn('not json', EPISODE), _kept,
         '1 of 1 episodes, named'),
    Case('an end of an episode that comes again',
         _told((0.3, '/left/episode'), (0.5, '/left/episode'), space='/left'), _demonstrated,
         '16 frames, 1 episodes: bag: topic /left/episode: 1 messages come again; their episodes '
         'count once'),
    Case('two episodes one after the other',
         _told((0.2995, '/left/episode'), (0.5995, '/left/episode'), space='/left'),
         _demonstrated, '16, 16 frames, 2 episodes'),
    Case('an end of an episode of a run before',
         _told((0.05, '/left/episode'), (0.5995, '/left/episode'), space='/left'),
         _demonstrated, '16 frames, 1 episodes: bag: topic /left/episode: 1 episodes began '
         'before their run did; left out'),
    Case('episodes that overlap', _told(
         (0.2995, '/left/episode'), (0.4995, '/left/episode'), space='/left',
         told=[EPISODE, EPISODE.replace('}', ', "seed": 1}')]), _demonstrated,
         '16, 11 frames, 2 episodes'),
    Case('an end of an episode in no namespace', _told((0.3, '/episode'), space='/left'),
         _demonstrated, ('topic /episode tells how 1 episodes ended', 'the robot is in /left',
                         'not known how any of its episodes ended')),
    Case('an end of an episode of another robot',
         _told((0.3, '/right/episode'), space='/left', other='/right'),
         _demonstrated, '30 frames, 1 episodes'),
    Case('cut off at 70 %', _cut_off, _most_ticks, 'more than half, named'),
    Case('checksum does not fit', _wrong_checksum,
         ticks('bag.mcap', named=['its checksum does not fit']), '15 ticks, named'),
    Case('positions missing in some messages', _no_fields, first_frame(ARM), RIGHT),
    Case('type names of ROS 1', _ros1_names, first_frame(ARM, paths=['bag.mcap']), RIGHT),
    Case('messages encoded as ROS 1 does', _ros1_encoding, first_frame(ARM, paths=['bag.mcap']),
         ('it is ros1, not cdr', 'rosbags-convert')),
    Case('a bag of ROS 1', _ros1_bag, ticks('bag.bag'), ('.bag is of ROS 1', 'rosbags-convert')),
    Case('a folder with a bag of ROS 1', _ros1_bag, ticks('.'),
         ('holds no recording', '.bag is of ROS 1')),
    Case('a pointer of Git LFS', _content(LFS), _one_file,
         '0 ticks; bag.mcap: not an MCAP file: it begins with 76657273696f6e20 '
         '(a pointer of Git LFS: fetch the file itself)'),
    Case('a file of no bytes', _content(b''), _one_file,
         '0 ticks; bag.mcap: not an MCAP file: it begins with nothing'),
    Case('topics remapped', _remapped, ticks(), '30 ticks'),
    Case('older chunks without ages', Old('ActionChunk', (
        'observation_age', 'observation_names', 'observation_ages', 'waiting_duration',
        'policy_calls', 'refusal')).make, _consistency, '120 ticks, CON known'),
    Case('older chunks without durations', Old('ActionChunk', (
        'inference_duration', 'conditioned_delay', 'checkpoint')).make, _consistency,
         '120 ticks, CON known'),
    Case('older requests without rates', Old('ChunkRequest', (
        'control_rate_hz', 'policy_rate_hz')).make, _consistency, '120 ticks, CON known'),
    Case('older ticks without counters', Old('ControlStep', (
        'late_chunks', 'limited_ticks', 'missed', 'measured', 'row')).make, _consistency,
         '120 ticks, CON known'),
    Case('older ticks without delays', Old('ControlStep', ('delay',)).make, _consistency,
         '120 ticks, CON unknown'),
    Case('ticks without their number', Old('ControlStep', ('tick',)).make,
         ticks(named=['no field tick', 'left out']), '0 ticks, named'),
]  # fmt: skip
