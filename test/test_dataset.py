# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Reading demonstrations: what is there comes back; what cannot be learned from is named."""

from __future__ import annotations

import json
from pathlib import Path

import demonstrations
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip('torch')

from async_chunking.dataset.info import DatasetInfo
from async_chunking.dataset.reading import DataError, check_robot, read_demonstrations
from async_chunking.training.flow_recipe import check_positions
from async_chunking.training.windows import Windows, split


def test_demonstrations_come_back(tmp_path: Path):
    data = read_demonstrations(demonstrations.write(tmp_path, episodes=3, frames=5))
    assert data.actions.shape == (15, 2)
    assert {k: v.shape for k, v in data.observations.items()} == {
        'observation.state': (15, 2),
        'observation.environment_state': (15, 3),
    }
    assert data.ends.tolist() == [5, 10, 15]
    assert data.starts.tolist() == [0, 5, 10]
    assert (data.fps, data.robot, data.joint_names) == (50.0, 'toy', ('left', 'right'))
    assert (data.facts.episodes, data.facts.frames) == (3, 15)


def _rename(path: Path, names) -> Path:
    file = path / 'meta/info.json'
    info = json.loads(file.read_text())
    info['features']['action']['names'] = names
    file.write_text(json.dumps(info))
    return path


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['left', 'right'], ('left', 'right')),
        ({'motors': ['left', 'right']}, ('left', 'right')),
        ({'left': ['waist'], 'right': ['wrist']}, ('waist', 'wrist')),
        (['actions'], ()),  # What the axis is, not what is on it.
        ({'left': ['waist'], 'right': {'arm': ['wrist']}}, ('waist', 'wrist')),
        ({'waist': 1, 'wrist': 0}, ('wrist', 'waist')),
        (None, ()),
    ],
)
def test_names_in_groups_come_one_after_the_other(tmp_path: Path, names, expected):
    path = _rename(demonstrations.write(tmp_path), names)
    assert read_demonstrations(path).joint_names == expected


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        ({'axes': ['x', 'y', 'z']}, '3 names for 2 numbers'),
        ({'left': ['x'], 'right': ['x']}, 'x is there twice'),
        ({'left': '0', 'right': '1'}, 'places must be whole numbers, not in quotes'),
        ({'waist': 1, 'wrist': 2}, 'places must be 0 to 1 among all or in each group, each once'),
        ([['waist'], [1.5]], '1.5 is no name'),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path: Path, names, message):
    path = _rename(demonstrations.write(tmp_path), names)
    with pytest.raises(DataError, match=f'info.json: features.action.names .*{message}'):
        read_demonstrations(path)


def _told(path: Path, **content) -> Path:
    file = path / 'meta/info.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))
    return path


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'total_episodes': 5}, 'info.json: total_episodes says 5 episodes, data/ has 4'),
        ({'fps': 0}, 'fps is 0; it must be a number of frames per second above 0'),
        ({'fps': '50'}, "fps is '50'; it must be"),
        ({'fps': 25}, 'episode 0: meta/info.json says 25 frames per second, the time stamps ha'),
        ({'features': [['action', {}]]}, 'it needs fps, and features by name'),
        (
            {'features': {'action': {'dtype': 'float32', 'shape': [7]}}},
            r'action has shape \[7\], data/ has rows of shape \[2\]',
        ),
        (
            {'features': {'observation.force': {'dtype': 'float32', 'shape': [3]}}},
            'observation.force has dtype float32, data/ has no such numbers',
        ),
    ],
)
def test_what_is_told_must_be_what_is_there(tmp_path: Path, content, message):
    with pytest.raises(DataError, match=message):
        read_demonstrations(_told(demonstrations.write(tmp_path), **content))


def test_lengths_that_are_told_must_be_those_that_are_there(tmp_path: Path):
    path = demonstrations.write(tmp_path)
    file = path / 'meta/episodes.jsonl'
    told = [{'episode_index': episode, 'length': 30} for episode in range(4)]
    file.write_text('\n'.join(map(json.dumps, told)))
    assert len(read_demonstrations(path).ends) == 4
    file.write_text('\n'.join(map(json.dumps, [*told[:3], {**told[3], 'length': 29}])))
    with pytest.raises(DataError, match='episode 3 has length 29, data/ has 30 frames of it'):
        read_demonstrations(path)
    file.write_text('{"episode_index": 0, "le')
    with pytest.raises(DataError, match=r'episodes.jsonl: no episode of a data set'):
        read_demonstrations(path)


def _at(name: str, frame: int, value):
    """Return what changes one row."""

    def change(table: dict) -> None:
        table[name][frame] = value

    return change


def _shift(first: int, last: int, seconds: float):
    def change(table: dict) -> None:
        for frame in range(first, last):
            table['timestamp'][frame] += seconds

    return change


def _pace(table: dict) -> None:
    """Let the third of four episodes have another rate, which no median of all tells."""
    table['timestamp'][60:90] = [frame / 15.0 for frame in range(30)]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_pace, r'episode 2: meta/info.json says 50 frames per second, the time stamps have 15'),
        (_shift(40, 60, 3.0), 'episode 1: 3.02 s pass between frames 9 and 10, 0.02 s by its'),
        (_shift(40, 60, -2.0), r'episode 1, frame 10: the time stamp goes from 0.18 s to -1.8 s'),
        (_shift(40, 41, -0.02), r'frame 10: the time stamp goes from 0.18 s to 0.18 s'),
        (_at('timestamp', 33, float('nan')), 'episode 1, frame 3: the time stamp is no number'),
        (_at('timestamp', 33, None), 'timestamp is of type double with 1 empty rows'),
        (_at('episode_index', 33, None), 'episode_index is of type int64 with 1 empty rows'),
    ],
)
def test_times_that_contradict_the_rate_are_refused(tmp_path: Path, change, message):
    with pytest.raises(DataError, match=message):
        read_demonstrations(demonstrations.write(tmp_path, change))


def test_times_read_from_a_busy_clock_are_not_refused(tmp_path: Path):
    def jitter(table: dict) -> None:
        rng = np.random.default_rng(0)
        noise = rng.uniform(0.0, 0.015, len(table['timestamp']))
        table['timestamp'] = (np.array(table['timestamp']) + noise).tolist()

    assert len(read_demonstrations(demonstrations.write(tmp_path, jitter)).ends) == 4


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ([[[1.0, 2.0], [3.0, 4.0]], [[1.0], [2.0, 3.0, 4.0]]], 'pose has no numbers, or rows of'),
        (
            [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0, 3.0, 4.0]]],
            'pose has 1x4 numbers .*, 2x2 b',
        ),
        ([[[1.0, None], [3.0, 4.0]]] * 2, 'pose is .*nan.*are not finite'),
        ([[[1.0, 2.0], [3.0, 4.0]], None], 'pose has no numbers'),
    ],
)
def test_matrices_of_unequal_shape_are_refused(tmp_path: Path, rows, message):
    def extend(table: dict) -> None:
        table['observation.pose'] = [rows[i % 2] for i in range(len(table['action']))]

    with pytest.raises(DataError, match=message):
        read_demonstrations(demonstrations.write(tmp_path, extend))


def test_an_action_that_is_no_number_is_refused(tmp_path: Path):
    path = demonstrations.write(tmp_path)
    file = path / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(file)
    words = pa.array(['up'] * len(table))
    pq.write_table(table.set_column(2, 'action', words), file)
    with pytest.raises(DataError, match=r'info.json: action has dtype float32, data/ has no such'):
        read_demonstrations(path)


def test_numbers_of_any_shape_are_read_and_the_rest_is_named(tmp_path: Path):
    def extend(table: dict) -> None:
        frames = len(table['action'])
        table['observation.distance'] = [float(i) for i in range(frames)]
        table['observation.closed'] = [i % 2 == 0 for i in range(frames)]
        table['observation.pose'] = [[[1.0, 2.0], [3.0, float(i)]] for i in range(frames)]
        table['observation.word'] = ['lift'] * frames

    data = read_demonstrations(demonstrations.write(tmp_path, extend))
    assert data.observations['observation.distance'][:3].tolist() == [[0.0], [1.0], [2.0]]
    assert data.observations['observation.closed'][:2].tolist() == [[1.0], [0.0]]
    assert data.observations['observation.pose'][7].tolist() == [1.0, 2.0, 3.0, 7.0]
    assert data.left_alone == ('observation.word',)


def test_rows_count_by_their_index_in_whatever_order_they_were_written(tmp_path: Path):
    def shuffle(table: dict) -> None:
        order = np.random.default_rng(0).permutation(len(table['action']))
        for name, rows in table.items():
            table[name] = [rows[i] for i in order]

    written, shuffled = (
        read_demonstrations(demonstrations.write(tmp_path / name, change))
        for name, change in (('a', None), ('b', shuffle))
    )
    np.testing.assert_array_equal(shuffled.actions, written.actions)
    assert shuffled.facts == written.facts


def test_the_fingerprint_follows_where_episodes_end(tmp_path: Path):
    def join(table: dict) -> None:
        """Make one episode of the first two."""
        for row, episode in enumerate(table['episode_index']):
            if episode == 1:
                table['episode_index'][row] = 0
                table['frame_index'][row] += 30
                table['timestamp'][row] += 30 / 50.0

    one = read_demonstrations(demonstrations.write(tmp_path / 'a')).facts
    two = read_demonstrations(demonstrations.write(tmp_path / 'b', join)).facts
    assert (one.episodes, two.episodes, one.frames) == (4, 3, two.frames)
    assert one.fingerprint != two.fingerprint


def test_the_fingerprint_follows_the_numbers_not_the_place(tmp_path: Path):
    def nudge(table: dict) -> None:
        table['action'][3][0] += 1e-3

    same = [read_demonstrations(demonstrations.write(tmp_path / n)).facts for n in 'ab']
    other = read_demonstrations(demonstrations.write(tmp_path / 'c', nudge)).facts
    assert same[0] == same[1]
    assert same[0].fingerprint != other.fingerprint


def _drop(table: dict) -> None:
    for values in table.values():
        values.clear()


def _ragged(table: dict) -> None:
    table['action'][40] = [1.0]


def _nan(table: dict) -> None:
    table['observation.environment_state'][33][1] = float('nan')


def _gap(table: dict) -> None:
    for values in table.values():
        del values[10]


def _slow(table: dict) -> None:
    table['timestamp'] = [value * 50.0 / 15.0 for value in table['timestamp']]


def _no_state(table: dict) -> None:
    del table['observation.state']


def _negative(table: dict) -> None:
    table['frame_index'][0] = -1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (_negative, r'frame_index is -1 in row 0; it must count from 0'),
        (_drop, r'has no frames: 1 parquet files'),
        (_ragged, r'action has 1 numbers in episode 1, frame 10, 2 before'),
        (_nan, r'environment_state is .*nan.* in episode 1, frame 3; 1 frames are not finite'),
        (_gap, r'frame_index of episode 0 does not count from 0 to 28'),
        (_slow, r'says 50 frames per second, the time stamps have 15'),
        (_no_state, r"no column 'observation.state'. Columns: observation.environment_state"),
    ],
)
def test_data_that_nothing_can_be_learned_from_is_refused(tmp_path: Path, change, message: str):
    with pytest.raises(DataError, match=message):
        read_demonstrations(demonstrations.write(tmp_path, change))


def test_a_folder_without_data_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r'no demonstrations at .*info.json No such file'):
        read_demonstrations(tmp_path)
    path = demonstrations.write(tmp_path)
    parquet = path / 'data/chunk-000/file-000.parquet'
    parquet.write_bytes(parquet.read_bytes()[:-100])
    with pytest.raises(DataError, match='parquet file is torn'):
        read_demonstrations(path)


def test_a_state_in_another_order_is_refused_where_it_is_compared(tmp_path: Path):
    features = {
        'action': {'names': ['left', 'right']},
        'observation.state': {'names': ['right', 'left']},
    }
    data = read_demonstrations(_told(demonstrations.write(tmp_path), features=features))
    assert (data.joint_names, data.state_names) == (('left', 'right'), ('right', 'left'))
    with pytest.raises(DataError, match='state has right, left; toy has left, right, in this'):
        check_robot(data, 'toy', ('left', 'right'))
    with pytest.raises(DataError, match='state has right, left; action has left, right, in this'):
        check_positions(data, '')


def test_data_of_another_robot_is_refused(tmp_path: Path):
    data = read_demonstrations(demonstrations.write(tmp_path))
    check_robot(data, 'toy', ('left', 'right'))
    with pytest.raises(DataError, match=r'has 2 joints, arm has 3: a, b, c'):
        check_robot(data, 'arm', ('a', 'b', 'c'))
    with pytest.raises(DataError, match=r'has the joints left, right; arm has right, left, in'):
        check_robot(data, 'arm', ('right', 'left'))


def test_a_chunk_begins_at_its_frame_and_stays_at_the_last_action(tmp_path: Path):
    data = read_demonstrations(demonstrations.write(tmp_path, episodes=2, frames=6))
    windows = Windows(data, np.array([0, 1]))
    chunk = windows.chunk(torch.tensor([1, 4]), 3).numpy()
    np.testing.assert_array_equal(chunk[0], data.actions[1:4])
    np.testing.assert_array_equal(chunk[1], data.actions[[4, 5, 5]])
    assert windows.later(torch.tensor([2, 8]), torch.tensor([2, 9])).tolist() == [4, 11]


def test_held_out_episodes_are_not_learned_from(tmp_path: Path):
    data = read_demonstrations(demonstrations.write(tmp_path, episodes=10, frames=4))
    train, validation = split(data, 0.2, seed=0)
    assert (len(train), len(validation)) == (32, 8)
    assert not set(train.frames.tolist()) & set(validation.frames.tolist())
    only_one = read_demonstrations(demonstrations.write(tmp_path / 'one', episodes=1, frames=4))
    assert [len(w) for w in split(only_one, 0.2, seed=0)] == [4, 0]


def test_a_data_set_of_which_a_file_is_missing_is_refused(tmp_path: Path):
    path = demonstrations.write(tmp_path, episodes=3, frames=5)
    file = path / 'meta/info.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | {'total_frames': 25}))
    with pytest.raises(DataError, match=r'says 25 frames, data/ has 15: parquet'):
        read_demonstrations(path)


def test_an_episode_that_is_not_listed_is_refused(tmp_path: Path):
    path = demonstrations.write(tmp_path)
    read = read_demonstrations(path)
    lengths = np.diff(read.ends, prepend=0).tolist()
    lines = [json.dumps({'episode_index': n, 'length': x}) for n, x in enumerate(lengths)]
    for file in (path / 'meta/episodes').rglob('*.parquet'):
        file.unlink()
    file = path / 'meta/episodes.jsonl'
    file.write_text('\ufeff' + '\n'.join(lines) + '\n\n')
    assert read_demonstrations(path).facts == read.facts
    file.write_text('\n'.join(lines[:-1]))
    with pytest.raises(DataError, match='is not listed, data/ has it'):
        read_demonstrations(path)


def test_jitter_about_the_rate_is_not_another_rate():
    told = DatasetInfo(Path(), 50.0, '', {}, {})
    frames = np.arange(10)
    told.check_times(0.02 * frames + 0.003 * (frames % 2), np.array([10]))


def test_an_observation_without_a_name_is_named_as_not_read(tmp_path: Path):
    path = _told(demonstrations.write(tmp_path))
    (file,) = (path / 'data').rglob('*.parquet')
    table = pq.read_table(file)
    pq.write_table(table.append_column('observation', pa.array([1.0] * len(table))), file)
    assert read_demonstrations(path).left_alone == ('observation',)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path):
    path = demonstrations.write(tmp_path)
    file = path / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(file)
    pq.write_table(table.append_column('action', table.column('action')), file)
    with pytest.raises(DataError, match=r'file-000.parquet: the column action is there twice'):
        read_demonstrations(path)


@pytest.mark.parametrize('begin', [0, 1_700_000_000, 1_700_000_000_000_000_000])
def test_times_that_would_all_be_the_same_are_refused(tmp_path: Path, begin: int):
    path = demonstrations.write(tmp_path)
    file = path / 'data/chunk-000/file-000.parquet'
    table = pq.read_table(file)
    times = pa.array(begin + np.arange(table.num_rows))
    pq.write_table(table.append_column('observation.time', times), file)
    if begin:
        with pytest.raises(DataError, match=r'observation\.time goes from 1.*7.*32 bits do not'):
            read_demonstrations(path)
    else:
        seen = read_demonstrations(path).observations['observation.time']
        assert sorted(set(np.diff(np.sort(seen[:, 0])))) == [1.0]
