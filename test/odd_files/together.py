# SPDX-License-Identifier: Apache-2.0
"""What belongs together and what does not: splits, files behind each other, many recordings."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from rosbags.rosbag2 import StoragePlugin

from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all, without_copies
from async_chunking.dataset.from_bags import convert
from odd_files import Case
from odd_files.asking import demonstrated, robot, ticks
from odd_files.writing import Line, joints, numbers, record, step, text

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


def behind(suffix: str) -> Callable[[Path], None]:
    """Return what puts one file behind another, as `cat` does."""

    def make(folder: Path) -> None:
        storage = SQLITE if suffix == '.db3' else None
        names = [f'{name}{suffix}' for name in 'ab']
        files({names[0]: moves(), names[1]: moves(first=30)}, storage=storage)(folder)
        content = b''.join((folder / 'bag' / name).read_bytes() for name in names)
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


TWO = {'x_0.mcap': moves(), 'x_1.mcap': [*moves(first=30), text(1.199, '/episode', FAILED)]}
ORDER = ('one.mcap', 'two.mcap', 'three.mcap')
BY_NAME = {name: moves(10, 10 * place, own=False) for place, name in enumerate(ORDER)}

CASES = [
    Case('a file behind another, MCAP', behind('.mcap'), ticks('bag.mcap'), '60 ticks'),
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
]  # fmt: skip
