# SPDX-License-Identifier: Apache-2.0
"""Data sets of LeRobot's versions, and what is wrong with some of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from async_chunking.dataset.reading import read_demonstrations
from odd_files import Case

JOINTS = ['left', 'right']
EPISODES, FRAMES, FPS = 3, 10, 50
LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n'

Columns = dict[str, Any]


def _columns(episode: int) -> Columns:
    phase = 0.1 * np.arange(FRAMES)
    return {
        'observation.state': np.stack([phase, -phase], 1).tolist(),
        'action': np.stack([phase + 0.1, -phase - 0.1], 1).tolist(),
        'timestamp': (np.arange(FRAMES) / FPS).tolist(),
        'frame_index': [*range(FRAMES)],
        'episode_index': [episode] * FRAMES,
    }


def _keep(columns: Columns) -> None:
    del columns


def data(
    names: Any = JOINTS, version: str = 'v3.0', change: Callable[[Columns], None] = _keep,
    after: Callable[[Path], None] | None = None, **info: Any,
) -> Callable[[Path], None]:  # fmt: skip
    """Return what writes a data set: v3 has one file for all episodes, v2.1 one for each."""

    def make(folder: Path) -> None:
        tables = [_columns(episode) for episode in range(EPISODES)]
        for columns in tables:
            change(columns)
        chunk = folder / 'data/chunk-000'
        chunk.mkdir(parents=True)
        if version == 'v2.1':
            for number, columns in enumerate(tables):
                pq.write_table(pa.table(columns), chunk / f'episode_{number:06d}.parquet')
        else:
            whole = {name: [v for t in tables for v in t[name]] for name in tables[0]}
            pq.write_table(pa.table(whole), chunk / 'file-000.parquet')
        action = {'dtype': 'float32', 'shape': [2], 'names': names}
        features = {'action': action, 'observation.state': action}
        told = {'codebase_version': version, 'fps': FPS, 'robot_type': 'toy', 'features': features}
        told |= {'total_frames': EPISODES * FRAMES, **info}
        (folder / 'meta').mkdir()
        (folder / 'meta/info.json').write_text(json.dumps(told))
        if after:
            after(folder)

    return make


def _read(folder: Path) -> str:
    demonstrations = read_demonstrations(folder)
    names = ' '.join(demonstrations.joint_names) or 'no names'
    return f'{len(demonstrations.ends)} episodes, {len(demonstrations.actions)} frames, {names}'


def _observed(name: str, frame: int = 3) -> Callable[[Path], str]:
    def ask(folder: Path) -> str:
        values = read_demonstrations(folder).observations[name][frame]
        return ' '.join(f'{value:.4g}' for value in values)

    return ask


def _left_alone(folder: Path) -> str:
    return 'not read: ' + ', '.join(read_demonstrations(folder).left_alone)


def _put(name: str, value: Callable[[int], Any]) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name] = [value(frame) for frame in range(FRAMES)]

    return change


def _scale_time(columns: Columns) -> None:
    columns['timestamp'] = [time * FPS / 15.0 for time in columns['timestamp']]


def _drop_file(folder: Path) -> None:
    (folder / 'data/chunk-000/episode_000001.parquet').unlink()


def _both_versions(folder: Path) -> None:
    file = folder / 'data/chunk-000/file-000.parquet'
    shutil.copy(file, folder / 'data/chunk-000/episode_000000.parquet')


def _pointer(folder: Path) -> None:
    (folder / 'data/chunk-000/file-000.parquet').write_bytes(LFS)


def _torn(folder: Path) -> None:
    file = folder / 'data/chunk-000/file-000.parquet'
    file.write_bytes(file.read_bytes()[:-30])


def _no_state(columns: Columns) -> None:
    del columns['observation.state']


ALL = '3 episodes, 30 frames, left right'

CASES = [
    Case('data v3', data(), _read, ALL),
    Case('data v2.1', data(version='v2.1'), _read, ALL),
    Case('data, names under one key', data({'motors': JOINTS}), _read, ALL),
    Case('data, names in groups', data({'left': ['left'], 'right': ['right']}), _read, ALL),
    Case('data, a name for the axis', data(['actions']), _read, '3 episodes, 30 frames, no names'),
    Case('data, no names', data(None), _read, '3 episodes, 30 frames, no names'),
    Case('data, a single number', data(change=_put('observation.height', lambda k: 0.5 * k)),
         _observed('observation.height'), '1.5'),
    Case('data, yes or no', data(change=_put('observation.closed', lambda k: k == 3)),
         _observed('observation.closed'), '1'),
    Case('data, a matrix', data(change=_put('observation.pose', lambda k: [[1, 2], [3, k]])),
         _observed('observation.pose'), '1 2 3 3'),
    Case('data, a picture', data(change=_put('observation.image', lambda _: {'bytes': b'x'})),
         _left_alone, 'not read: observation.image'),
    Case('data, words', data(change=_put('observation.task', lambda _: 'lift')), _left_alone,
         'not read: observation.task'),
    Case('data, a file is missing', data(version='v2.1', after=_drop_file), _read,
         ('30 frames', '20', 'missing')),
    Case('data of two versions in one folder', data(after=_both_versions), _read,
         ('30 frames', '60')),
    Case('data, another rate than told', data(change=_scale_time), _read,
         ('50 frames per second', 'have 15')),
    Case('data, a pointer of Git LFS', data(after=_pointer), _read, ('parquet file is torn',)),
    Case('data, a torn file', data(after=_torn), _read, ('parquet file is torn',)),
    Case('data, NaN', data(change=_put('action', lambda k: [k, float('nan')])), _read,
         ('action', 'episode 0, frame 0', 'not finite')),
    Case('data, ragged', data(change=_put('action', lambda k: [0.0] * (1 + (k < 5)))), _read,
         ('action has 1 numbers in episode 0, frame 5',)),
    Case('data without state', data(change=_no_state), _read, ("no column 'observation.state'",)),
]  # fmt: skip
