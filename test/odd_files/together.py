# SPDX-License-Identifier: Apache-2.0
"""What belongs together and what does not: splits, files behind each other, many recordings."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import StoragePlugin

from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all, without_copies
from async_chunking.dataset.from_bags import convert
from odd_files import Case
from odd_files.asking import demonstrated, robot, ticks
from odd_files.writing import STEP, Line, joints, numbers, record, step, text

ARM = robot(['j1', 'j2'])
SQLITE = StoragePlugin.SQLITE3
FAILED = json.dumps({'success': False, 'duration_s': 0.5})


def moves(
    frames: int = 30, first: int = 0, space: str = '', own: bool = True, begin: float = 0.0
) -> list[Line]:
    """Return joints that move by 0.01 a tick from tick `first` on, and their commands."""
    said = []
    for k in range(first, first + frames):
        t, at = begin + 0.02 * k, 0.01 * k
        said.append(joints(t, f'{space}/joint_states', j1=at, j2=-at))
        said.append(
            step(t + 0.001, f'{space}/control_step', k, j1=at, j2=-at)
            if own
            else numbers(t + 0.001, f'{space}/go', at, -at)
        )
    return said


def files(
    parts: dict[str, Sequence[Line]],
    listed: Sequence[str] = (),
    storage: StoragePlugin | None = None,
) -> Callable[[Path], None]:
    """Return what writes files of these names into one folder, listed in its metadata or not."""

    def make(folder: Path) -> None:
        bag = folder / 'bag'
        bag.mkdir()
        (folder / 'parts').mkdir()
        for name, said in parts.items():
            how = {'storage': storage} if storage else {}
            (file,) = record(folder / 'parts' / Path(name).stem, said, **how).glob(
                f'*{Path(name).suffix}'
            )
            shutil.move(file, bag / name)
        if listed:
            content = {'version': 9, 'relative_file_paths': [*listed]}
            told = yaml.safe_dump({'rosbag2_bagfile_information': content})
            (bag / 'metadata.yaml').write_text(told)

    return make


def behind(suffix: str, closed: bool = True) -> Callable[[Path], None]:
    """Return what puts one file behind another, as `cat` does."""

    def make(folder: Path) -> None:
        storage = SQLITE if suffix == '.db3' else None
        names = [f'{name}{suffix}' for name in 'ab']
        files({names[0]: moves(), names[1]: moves(first=30)}, storage=storage)(folder)
        first, second = ((folder / 'bag' / name).read_bytes() for name in names)
        if not closed:  # As a recorder leaves it that was killed: without what follows the data.
            first = first[: first.rindex(struct.pack('<BQ', 15, 4))]
        content = first + second
        shutil.rmtree(folder / 'bag')
        (folder / f'bag{suffix}').write_bytes(content)

    return make


def _rubbish_behind(folder: Path) -> None:
    files({'bag.mcap': moves()})(folder)
    with (folder / 'bag/bag.mcap').open('ab') as file:
        file.write(b'something')


def _numbered_anew(folder: Path) -> None:
    record(folder / 'bag', moves(own=False), storage=SQLITE)
    with sqlite3.connect(folder / 'bag/bag.db3') as database:
        database.execute('UPDATE messages SET id = -id')


def path_of(folder: Path) -> str:
    """Return how far the first joint of a recording's demonstrations goes, frame by frame."""
    data = demonstrated(folder, ARM)
    state = data.observations['observation.state'][:, 0]
    return f'{len(state)} frames from {state[0]:.2g} to {state[-1]:.2g}'


def made(*paths: str) -> Callable[[Path], str]:
    """Return what asks for demonstrations and the problems with them."""

    def ask(folder: Path) -> str:
        given = [folder / path for path in paths or ['bag']]
        count, problems = convert(given, ARM, folder / 'data', '')
        said = '; '.join(problems).replace(f'{folder}/', '')
        return f'{count} demonstrations{f": {said}" * bool(said)}'

    return ask


def runs(*paths: str) -> Callable[[Path], str]:
    """Return what asks for the runs of a report, each with its ticks, and the problems with it."""

    def ask(folder: Path) -> str:
        found = find([folder / path for path in paths or ['bag']])
        reports = without_copies([report for _, report in read_all(found, workers=1)])
        ticks = [str(run.figures['ticks']) for report in reports for run in report.runs]
        problems = '; '.join(problem for report in reports for problem in report.problems)
        said = problems.replace(f'{folder}/', '')
        return f'runs of {", ".join(ticks)}{f": {said}" * bool(said)}'

    return ask


def _recordings(*paths: str) -> Callable[[Path], str]:
    return lambda folder: f'{len(find([folder / path for path in paths]))} recordings'


def two(first: Sequence[Line], second: Sequence[Line]) -> Callable[[Path], None]:
    """Return what records twice, in folders `one` and `two`."""

    def make(folder: Path) -> None:
        record(folder / 'one', first)
        record(folder / 'two', second)

    return make


def later(said: Sequence[Line], seconds: float, rate: float = 1.0) -> list[Line]:
    """Return the same messages as they come when a recording is played."""
    return [line._replace(seconds=line.seconds / rate + seconds) for line in said]


def another_run(said: Sequence[Line], run_id: int) -> list[Line]:
    """Return the same messages as the executor of another robot tells them."""
    return [
        line._replace(values={**line.values, 'run_id': run_id}) if line.kind == STEP else line
        for line in said
    ]


def in_space(said: Sequence[Line], space: str) -> list[Line]:
    return [line._replace(topic=f'/{space}/{line.topic.rpartition("/")[2]}') for line in said]


def bag(said: Sequence[Line], **how: Any) -> Callable[[Path], None]:
    return lambda folder: record(folder / 'bag', said, **how) and None


def drives(said: Sequence[Line]) -> list[Line]:
    """Return what was measured, and the commands as the driver had them, a little later."""
    return [
        numbers(line.seconds + 0.002, '/go', *line.values['command'])
        if line.kind == STEP
        else line
        for line in said
    ]


def _simulated(said: Sequence[Line], rate: float) -> list[Line]:
    """Return messages whose stamps are simulated time, which passes at another rate."""
    return [
        line._replace(values={
            **line.values, 'emitted_ns': 10**12 + round(line.seconds / rate * 1e9)
        }) if line.kind == STEP else line
        for line in said
    ]  # fmt: skip


def _in_batches(folder: Path) -> None:
    """Write as a recorder does that gathers 0.2 s of each topic."""
    said = sorted(moves(own=False), key=lambda m: (int(m.seconds / 0.2), m.topic, m.seconds))
    times = [line.seconds for line in said]
    placed = [line._replace(seconds=float(place)) for place, line in enumerate(said)]
    record(folder / 'bag', placed, clock=lambda place: times[int(place)])


FIRST, LAST = (
    [line for line in moves(100) if low <= line.seconds < high]
    for low, high in ((0.0, 1.2), (0.8, 2.0))
)
RESTS = [line for k in range(30) for line in (
    joints(0.02 * k, '/joint_states', j1=0.5, j2=-0.5), numbers(0.02 * k + 0.001, '/go', 0.5, -0.5)
)]  # fmt: skip
TWO = {'x_0.mcap': moves(), 'x_1.mcap': [*moves(first=30), text(1.199, '/episode', FAILED)]}
ORDER = ('one.mcap', 'two.mcap', 'three.mcap')
BY_NAME = {name: moves(10, 10 * place, own=False) for place, name in enumerate(ORDER)}

CASES = [
    Case('a file behind another, MCAP', behind('.mcap'), ticks('bag.mcap'), '60 ticks'),
    Case('a file behind one that was not closed', behind('.mcap', closed=False),
         ticks('bag.mcap', named=['not closed by its recorder before byte']), '60 ticks, named'),
    Case('a file behind another, SQLite', behind('.db3'),
         ticks('bag.db3', named=['another file follows its end']), '30 ticks, named'),
    Case('rubbish behind a file', _rubbish_behind,
         ticks('bag/bag.mcap', named=['something follows its end']), '30 ticks, named'),
    Case('rows numbered anew', _numbered_anew, path_of, '30 frames from 0 to 0.29'),
    Case('splits given one by one', files(TWO), made('bag/x_0.mcap', 'bag/x_1.mcap'),
         ('1 episodes failed',)),
    Case('splits given one by one, as runs', files(TWO), runs('bag/x_1.mcap', 'bag/x_0.mcap'),
         'runs of 60'),
    Case('one split of two', files(TWO), made('bag/x_0.mcap'),
         '1 demonstrations: bag: x_1.mcap belong to x_0.mcap; give all of them'),
    Case('splits in the order of their metadata', files(BY_NAME, ORDER), path_of,
         '30 frames from 0 to 0.29'),
    Case('splits of any name given one by one', files(BY_NAME, ORDER),
         _recordings(*(f'bag/{name}' for name in ORDER)), '1 recordings'),
    Case('recordings with numbers in one folder',
         files({'x_0.mcap': moves(), 'x_1.mcap': moves(begin=60.0, own=False)}),
         _recordings('bag'), '2 recordings'),
    Case('files of one run under other names',
         files({'a.mcap': moves(), 'b.mcap': [*moves(first=30), text(1.199, '/episode', FAILED)]}),
         made('bag'), ('its run goes on in bag/b.mcap', '1 episodes failed')),
    Case('files of one run under other names, as runs',
         files({'a.mcap': moves(), 'b.mcap': moves(first=30)}), runs('bag'),
         'runs of 30, 30: bag/a.mcap: run 7 goes on in bag/b.mcap, and counts as two; give them '
         'as one recording, in a folder with its metadata.yaml'),
    Case('two robots, a recording each', two(
         moves(space='/left', own=False), moves(first=50, begin=60.0, space='/right', own=False)),
         made('one', 'two'), ('/left in one and /right in two', '--namespace')),
    Case('two robots with an executor, a recording each', two(
         moves(space='/left'), another_run(moves(first=50, begin=60.0, space='/right'), 8)),
         made('one', 'two'), ('/left in one and /right in two', '--namespace')),
    Case('two robots that do the same', bag(
         [*moves(space='/left'), *another_run(moves(space='/right'), 8)]), runs(),
         'runs of 30, 30'),
    Case('two robots that do the same, a recording each', two(
         moves(space='/left'), another_run(moves(space='/right'), 8)), runs('one', 'two'),
         'runs of 30, 30'),
    Case('one robot, relayed to another namespace', bag(
         [*moves(space='/left'), *in_space(moves(), 'mirror')]), runs(),
         'runs of 30: bag: run 7 of /mirror has 100% of its commands in common with bag of /left, '
         'and is left out'),
    Case('two recordings that overlap', two(FIRST, LAST), made('one', 'two'),
         '1 demonstrations: two: a demonstration has 33% of its commands in common with one of '
         'one, and is left out'),
    Case('two recordings that overlap, as runs', two(FIRST, LAST), runs('one', 'two'),
         'runs of 60: two: run 7 has 33% of its commands in common with one, and is left out'),
    Case('two recordings at rest, no executor', two(RESTS, later(RESTS, 60.0)),
         made('one', 'two'), '2 demonstrations'),
    Case('played at half the rate and recorded again', bag(moves(100), clock=lambda t: 2 * t),
         made(), ('0.5 times the rate that it says', 'give the first one')),
    Case('a simulation at half its rate, recorded by its clock', bag(
         _simulated(moves(100), 0.5)), path_of, '100 frames from 0 to 0.99'),
    Case('played at twice the rate and recorded again', bag(moves(100), clock=lambda t: t / 2),
         made(), ('2 times the rate that it says', 'give the first one')),
    Case('played and recorded again', two(moves(100), later(moves(100), 60.0)),
         made('one', 'two'),
         '1 demonstrations: two: a demonstration has 100% of its commands in common with one of '
         'one, and is left out'),
    Case('played and recorded again, no executor',
         two(moves(100, own=False), later(moves(100, own=False), 60.0, rate=0.8)),
         made('one', 'two'),
         '1 demonstrations: two: a demonstration has 100% of what it saw in common with one of '
         'one, and is left out'),
    Case('one run, recorded with the executor and without', two(
         [*moves(100), *drives(moves(100))], [*drives(moves(100))]), made('one', 'two'),
         '1 demonstrations: two: a demonstration has 100% of what it saw in common with one of '
         'one, and is left out'),
    Case('played in a loop', bag([*moves(100), *later(moves(100), 2.0)]), path_of,
         '100 frames from 0 to 0.99'),
    Case('played in a loop, no executor',
         bag([*moves(100, own=False), *later(moves(100, own=False), 2.0)]), made(),
         ('93 of its 200 commands was seen before, to the last bit', 'give the first one')),
    Case('played to the middle, then from the beginning',
         bag([*moves(50), *later(moves(100), 1.0)]), made(),
         ('50 of 150 messages of control_step are there twice', 'control_step said nothing')),
    Case('written in batches of each topic', _in_batches, path_of, '30 frames from 0 to 0.29'),
]  # fmt: skip
