# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Cameras and words of a recording in a data set: the right picture at the right frame."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rosbags')
pytest.importorskip('pyarrow')
av = pytest.importorskip('av', reason='videos need av: make setup')

import pyarrow.parquet as pq
from PIL import Image as Pillow

from async_chunking.bags.definitions import own_store
from async_chunking.bags.writer import BagWriter
from async_chunking.dataset.from_bags import convert
from async_chunking.dataset.reading import read_demonstrations
from async_chunking.dataset.writing import DatasetError
from async_chunking.robot.embodiment import Embodiment

PERIOD = 40_000_000
CAMERA = {'kind': 'image', 'height': 48, 'width': 64}
ROBOT = {
    'name': 'toy',
    'control_rate_hz': 25.0,
    'joints': [{'name': 'one', 'lower': -9.0, 'upper': 99.0, 'velocity': 99, 'acceleration': 1}],
    'observations': {
        'observation.state': {'topic': 'joint_states', 'kind': 'joint_state', 'size': 1},
        'observation.images.top': {'topic': 'top/image_raw', **CAMERA},
        'observation.images.wrist': {
            **CAMERA, 'topic': '/wrist/compressed', 'kind': 'compressed_image', 'resize': [24, 24],
        },
        'task': {'topic': 'task', 'kind': 'text'},
    },
    'commands': [{'topic': 'go', 'sink': 'float64_multi_array', 'joints': ['one']}],
    'policy': {'path': 'toy', 'policy_rate_hz': 25.0, 'execution_horizon': 4},
}  # fmt: skip
STORE = own_store()
TYPES = STORE.types
HEADER = TYPES['std_msgs/msg/Header'](TYPES['builtin_interfaces/msg/Time'](0, 0), '')


def pixels(number: int, blue: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a picture whose red tells its number."""
    colour = np.array([8 * number, 120, blue], dtype=np.uint8)
    return np.broadcast_to(colour, (height, width, 3))


def raw(number: int, height: int = 48, width: int = 64):
    kind, bgr = TYPES['sensor_msgs/msg/Image'], pixels(number, 30, height, width)[..., ::-1]
    data = np.ascontiguousarray(bgr).ravel()
    return kind(HEADER, height, width, 'bgr8', 0, 3 * width, data)


def compressed(number: int, torn: bool = False):
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels(number, 200))).save(file, 'PNG')
    content = file.getvalue()[: 60 if torn else None]
    kind = TYPES['sensor_msgs/msg/CompressedImage']
    return kind(HEADER, 'png', np.frombuffer(content, dtype=np.uint8))


def record(
    path: Path,
    ticks: int = 20,
    torn: int = -1,
    silent: range = range(0),
    begin: int = 10**9,
    height: int = 48,
    width: int = 64,
    task: str = 'put it down',
) -> Path:
    """
    Write a recording: at tick k the top camera shows k, the wrist's, half as fast, k or k - 1.

    Pictures come 5 ms before their tick's command. From tick 12 on another task is told.
    """
    layout = TYPES['std_msgs/msg/MultiArrayLayout']([], 0)
    array, empty = TYPES['std_msgs/msg/Float64MultiArray'], np.array([])
    text, messages = TYPES['std_msgs/msg/String'], []
    for k in range(ticks):
        stamp = begin + k * PERIOD
        seen = stamp - 5_000_000
        state = TYPES['sensor_msgs/msg/JointState'](
            HEADER, ['one'], np.array([float(k)]), empty, empty
        )
        messages.append((seen, '/joint_states', state))
        if k not in silent:
            messages.append((seen, '/top/image_raw', raw(k, height, width)))
        if k % 2 == 0:
            messages.append((seen, '/wrist/compressed', compressed(k, k == torn)))
        if k == 12:
            messages.append((seen, '/task', text(task)))
        messages.append((stamp, '/go', array(layout, np.array([k + 1.0]))))
    with BagWriter(path) as writer:
        for topic, message in {topic: m for _, topic, m in messages}.items():
            writer.add(topic, message.__msgtype__)
        for stamp, topic, message in messages:
            writer.write(topic, stamp, bytes(STORE.serialize_cdr(message, message.__msgtype__)))
    return path


def reds(data: Path, name: str) -> list[float]:
    """Return the numbers that a camera's pictures tell, as a video library reads them."""
    with av.open(str(data / f'videos/{name}/chunk-000/file-000.mp4')) as file:
        shown = [frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)]
        assert [frame.shape for frame in shown] == [(48, 64, 3)] * len(shown)
    return [float(frame[..., 0].mean()) / 8 for frame in shown]


def test_each_frame_has_the_picture_that_was_there(tmp_path: Path):
    bags = [record(tmp_path / 'one'), record(tmp_path / 'two', ticks=14, begin=10**12)]
    robot, data = Embodiment.model_validate(ROBOT), tmp_path / 'data'
    count, problems = convert(bags, robot, data, 'pick it up')
    assert (count, problems) == (2, [])
    ticks = np.array([*range(20), *range(14)])
    np.testing.assert_allclose(reds(data, 'observation.images.top'), ticks, atol=0.4)
    np.testing.assert_allclose(reds(data, 'observation.images.wrist'), ticks - ticks % 2, atol=0.4)
    read = read_demonstrations(data)
    np.testing.assert_array_equal(read.observations['observation.state'][:, 0], ticks)
    assert read.left_alone == ('observation.images.top', 'observation.images.wrist')


def test_what_a_policy_is_told_is_the_task_of_each_frame(tmp_path: Path):
    bag = record(tmp_path / 'bag')
    convert([bag], Embodiment.model_validate(ROBOT), tmp_path / 'data', 'pick it up')
    frames = pq.read_table(tmp_path / 'data/data/chunk-000/file-000.parquet')
    tasks = pq.read_table(tmp_path / 'data/meta/tasks.parquet').to_pydict()
    assert tasks['task'] == ['pick it up', 'put it down']
    assert frames['task_index'].to_pylist() == [0] * 12 + [1] * 8
    assert str(frames.schema.field('observation.state').type) == 'float'  # One number, no list.


def test_statistics_of_pictures_are_shares_of_white(tmp_path: Path):
    bag = record(tmp_path / 'bag')
    convert([bag], Embodiment.model_validate(ROBOT), tmp_path / 'data', '')
    stats = json.loads((tmp_path / 'data/meta/stats.json').read_text())
    top = {key: np.array(value) for key, value in stats['observation.images.top'].items()}
    assert top['mean'].shape == (3, 1, 1)
    np.testing.assert_allclose(top['mean'].ravel(), [8 * 9.5 / 255, 120 / 255, 30 / 255])
    red = 8 * np.arange(20) / 255
    np.testing.assert_allclose(top['std'].ravel(), [red.std(), 0, 0], atol=1e-12)
    np.testing.assert_allclose([top['min'][0, 0, 0], top['max'][0, 0, 0]], [0, 152 / 255])
    np.testing.assert_allclose(top['q50'][0, 0, 0], 8 * 9 / 255)
    assert top['count'].tolist() == [20]
    state = stats['observation.state']
    assert state['q01'] == pytest.approx([0.19])
    assert state['q99'] == pytest.approx([18.81])


def test_a_torn_picture_costs_itself_and_is_named(tmp_path: Path):
    bag = record(tmp_path / 'bag', torn=6)
    robot = Embodiment.model_validate(ROBOT)
    count, problems = convert([bag], robot, tmp_path / 'data', '')
    assert count == 1
    (problem,) = problems
    assert f'{bag}: topic /wrist/compressed: 1 of 10 messages: ' in problem
    expected = np.arange(20) - np.arange(20) % 2
    expected[6:8] = 4
    shown = reds(tmp_path / 'data', 'observation.images.wrist')
    np.testing.assert_allclose(shown, expected, atol=0.4)


def robot_with(**top) -> Embodiment:
    """Return the robot with another description of the camera at the top."""
    observations = json.loads(json.dumps(ROBOT['observations']))
    observations['observation.images.top'] |= top
    return Embodiment.model_validate(ROBOT | {'observations': observations})


@pytest.mark.parametrize('silent', [range(6, 11), range(4)], ids=['in between', 'at the start'])
def test_a_camera_that_is_silent_for_a_moment_is_named(tmp_path: Path, silent: range):
    bag = record(tmp_path / 'bag', silent=silent)
    _, problems = convert([bag], Embodiment.model_validate(ROBOT), tmp_path / 'data', '')
    (problem,) = problems
    assert '/top/image_raw' in problem
    later = 'begins 0.15 s after the first command'
    assert ('said nothing for 0.24 s after 0.2 s' if silent.start else later) in problem


@pytest.mark.parametrize(('height', 'width'), [(47, 64), (48, 63), (47, 63)])
def test_pictures_of_odd_sizes_are_kept_as_they_are(tmp_path: Path, height: int, width: int):
    bag = record(tmp_path / 'bag', height=height, width=width)
    convert([bag], robot_with(height=height, width=width), tmp_path / 'data', '')
    name = 'observation.images.top'
    with av.open(str(tmp_path / f'data/videos/{name}/chunk-000/file-000.mp4')) as file:
        shown = [frame.to_ndarray(format='rgb24') for frame in file.decode(video=0)]
    assert [frame.shape for frame in shown] == [(height, width, 3)] * 20
    np.testing.assert_allclose([f[..., 0].mean() / 8 for f in shown], range(20), atol=0.4)


def test_a_blank_text_tells_nothing(tmp_path: Path):
    bag = record(tmp_path / 'bag', task='  ')
    robot = Embodiment.model_validate(ROBOT)
    _, problems = convert([bag], robot, tmp_path / 'data', 'pick it up')
    assert 'topic /task: 1 of 1 messages: an empty text' in problems[0]
    tasks = pq.read_table(tmp_path / 'data/meta/tasks.parquet').to_pydict()
    assert tasks['task'] == ['pick it up']


def test_a_robot_without_a_state_is_refused_before_anything_is_read(tmp_path: Path):
    observations = dict(ROBOT['observations'])
    observations['observation.joints'] = observations.pop('observation.state')
    robot = Embodiment.model_validate(ROBOT | {'observations': observations})
    with pytest.raises(DatasetError, match=r'observation\.joints.*needs observation\.state'):
        convert([record(tmp_path / 'bag')], robot, tmp_path / 'data', '')
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize(
    ('robot', 'recording', 'message'),
    [
        ({}, {'silent': range(3, 18)}, '/top/image_raw showed nothing for 0.5 s until 0.6 s'),
        ({}, {'silent': range(20)}, 'nothing was recorded of /top/image_raw'),
        ({'height': 40}, {}, 'expected 64 x 40 pixels, got 64 x 48'),
        ({'kind': 'compressed_image'}, {}, 'it holds sensor_msgs/msg/Image, not sensor_msgs'),
    ],
)
def test_a_camera_that_shows_nothing_of_use_is_named(tmp_path: Path, robot, recording, message):
    bag = record(tmp_path / 'bag', **recording)
    with pytest.raises(DatasetError, match='no demonstration') as refused:
        convert([bag], robot_with(**robot), tmp_path / 'data', '')
    assert message in str(refused.value)
    assert not (tmp_path / 'data').exists()
