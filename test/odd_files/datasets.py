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

from async_chunking.dataset.reading import check_robot, read_demonstrations
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


def _fits(folder: Path) -> str:
    check_robot(read_demonstrations(folder), 'toy', JOINTS)
    return 'accepted'


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


def _one_pace(columns: Columns) -> None:
    if columns['episode_index'][0] == 1:
        _scale_time(columns)


def _later(seconds: float) -> Callable[[Columns], None]:
    """Return what moves the second half of every episode."""

    def change(columns: Columns) -> None:
        columns['timestamp'] = [t + seconds * (i >= 5) for i, t in enumerate(columns['timestamp'])]

    return change


def _says(**content: Any) -> Callable[[Path], None]:
    """Return what changes what is told of the features."""

    def change(folder: Path) -> None:
        file = folder / 'meta/info.json'
        told = json.loads(file.read_text())
        for name, feature in content.items():
            told['features'].setdefault(name.replace('__', '.'), {}).update(feature)
        file.write_text(json.dumps(told))

    return change


def _list_episodes(length: int) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        file = folder / 'meta/episodes/chunk-000/file-000.parquet'
        file.parent.mkdir(parents=True)
        pq.write_table(
            pa.table({'episode_index': [0, 1, 2], 'length': [FRAMES, length, 10]}), file
        )

    return write


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


def _other(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Return what writes a data set of v2.1, one file of which another tool wrote."""

    def make(folder: Path) -> None:
        data(version='v2.1')(folder)
        file = folder / 'data/chunk-000/episode_000001.parquet'
        pq.write_table(change(pq.read_table(file)), file)

    return make


def _action(kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index('action')
        actions = pa.array(table['action'].to_pylist(), kind)
        return table.set_column(place, 'action', actions)

    return change


def _goes_on(folder: Path) -> None:
    """Put two data sets together; one counts its frames from where the other ends."""
    data(version='v2.1', total_frames=40)(folder)
    file = folder / 'data/chunk-000/episode_000000.parquet'
    columns = pq.read_table(file).to_pydict()
    columns['frame_index'] = [frame + FRAMES for frame in columns['frame_index']]
    columns['timestamp'] = [time + FRAMES / FPS for time in columns['timestamp']]
    pq.write_table(pa.table(columns), file.with_name('episode_000009.parquet'))


def _rest(columns: Columns) -> None:
    for name in ('action', 'observation.state'):
        columns[name] = [[0.5, -0.5]] * FRAMES


def _copied(folder: Path) -> str:
    return read_demonstrations(folder).copied.partition(': ')[2] or 'no copies'


def _in_two_files(folder: Path) -> None:
    """Begin a file in the middle of an episode, as some converters of v3 do."""
    data()(folder)
    file = folder / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(file)
    pq.write_table(table.slice(0, 13), file)
    pq.write_table(table.slice(13), file.with_name('file-001.parquet'))


def _lists_of_one(columns: Columns) -> None:
    for name in ('timestamp', 'frame_index', 'episode_index'):
        columns[name] = [[value] for value in columns[name]]


ALL = '3 episodes, 30 frames, left right'

CASES = [
    Case('data v3', data(), _read, ALL),
    Case('data v2.1', data(version='v2.1'), _read, ALL),
    Case('data, names under one key', data({'motors': JOINTS}), _read, ALL),
    Case('data, names in groups', data({'left': ['left'], 'right': ['right']}), _read, ALL),
    Case('data, places in groups', data({'b': {'right': 1}, 'a': {'left': 0}}), _read, ALL),
    Case('data, places in each group', data({'a': {'left': 0}, 'b': {'right': 0}}), _read, ALL),
    Case('data, names by their number', data({'1': 'right', '0': 'left'}), _read, ALL),
    Case('data, places that are counts', data({'left': 1, 'right': 1}), _read,
         ('places must be 0 to 1 among all or in each group',)),
    Case('data, columns in another order', _other(lambda t: t.select(t.column_names[::-1])),
         _read, ALL),
    Case('data, numbers of another precision', _other(_action(pa.list_(pa.float32()))), _read,
         ALL),
    Case('data, lists of another kind', _other(_action(pa.list_(pa.float64(), 2))), _read, ALL),
    Case('data, large lists', _other(_action(pa.large_list(pa.float16()))), _read, ALL),
    Case('data, lists of one', data(change=_lists_of_one), _read, ALL),
    Case('data, an episode in two files', _in_two_files, _read, ALL),
    Case('data, two sets put together', _goes_on, _read,
         ('episode_000009.parquet: episode 0 is in', 'episode_000000.parquet too')),
    Case('data, the same episode three times', data(), _copied,
         'episode 1 is episode 0 once more, to the last bit; 2 of 3 episodes are copies. Remove '
         'them: what is held out is learned from else'),
    Case('data, episodes at rest', data(change=_rest), _copied, 'no copies'),
    Case('data, an action of 1e30', data(change=_put('action', lambda k: [0.0, 1e30 * (k == 3)])),
         _read, ('number 1 of action is 1e+30 in episode 0, frame 3',)),
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
         ('file-000.parquet: episode 0 is in', 'episode_000000.parquet too')),
    Case('data, another rate than told', data(change=_scale_time), _read,
         ('50 frames per second', 'have 15')),
    Case('data, a pointer of Git LFS', data(after=_pointer), _read, ('parquet file is torn',)),
    Case('data, a torn file', data(after=_torn), _read, ('parquet file is torn',)),
    Case('data, NaN', data(change=_put('action', lambda k: [k, float('nan')])), _read,
         ('action', 'episode 0, frame 0', 'not finite')),
    Case('data, ragged', data(change=_put('action', lambda k: [0.0] * (1 + (k < 5)))), _read,
         ('action has 1 numbers in episode 0, frame 5',)),
    Case('data without state', data(change=_no_state), _read, ("no column 'observation.state'",)),
    Case('data, names in groups of unequal depth',
         data({'left': ['left'], 'right': {'arm': ['right']}}), _read, ALL),
    Case('data, a place for each name', data({'right': 1, 'left': 0}), _read, ALL),
    Case('data, one name in two groups', data({'left': ['x'], 'right': ['x']}), _read,
         ('info.json', 'features.', 'names', 'x is there twice')),
    Case('data, more names than numbers', data(['left', 'right', 'grip']), _read,
         ('features.', '3 names for 2 numbers')),
    Case('data, a state in another order',
         data(after=_says(observation__state={'names': ['right', 'left']})), _fits,
         ('observation.state has right, left', 'toy has left, right')),
    Case('data, one episode at another rate', data(change=_one_pace), _read,
         ('episode 1', '50 frames per second', 'have 15')),
    Case('data, a gap of three seconds', data(change=_later(3.0)), _read,
         ('episode 0', '3.02 s pass between frames 4 and 5', 'frames are missing')),
    Case('data, time that goes back', data(change=_later(-2.0)), _read,
         ('episode 0, frame 5', 'from 0.08 s to -1.9 s', 'must increase')),
    Case('data, another shape than told', data(after=_says(action={'shape': [7]})), _read,
         ('info.json: action has shape [7]', 'rows of shape [2]')),
    Case('data, another number of episodes than told', data(total_episodes=4), _read,
         ('info.json: total_episodes says 4 episodes', 'data/ has 3')),
    Case('data, a rate of zero', data(fps=0), _read, ('info.json: fps is 0', 'above 0')),
    Case('data, episodes of another length than listed', data(after=_list_episodes(9)), _read,
         ('file-000.parquet: episode 1 has length 9', 'data/ has 10 frames')),
    Case('data, episodes as listed', data(after=_list_episodes(FRAMES)), _read, ALL),
    Case('data, numbers that are told and not there',
         data(after=_says(observation__force={'dtype': 'float32', 'shape': [3]})), _read,
         ('info.json: observation.force has dtype float32', 'no such numbers')),
    Case('data, ragged matrices of one size', data(change=_put(
         'observation.pose', lambda k: [[1.0, 2.0], [3.0]] if k else [[1.0], [2.0, 3.0]])), _read,
         ('observation.pose has no numbers, or rows of unequal length',)),
    Case('data, a matrix with an empty place',
         data(change=_put('observation.pose', lambda _: [[1.0, None], [3.0, 4.0]])), _read,
         ('observation.pose', 'episode 0, frame 0', 'not finite')),
]  # fmt: skip
