# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Data sets that LeRobot wrote are read, and ours are read by LeRobot: `make test-lerobot`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

lerobot = pytest.importorskip(
    'lerobot.datasets.lerobot_dataset', reason='lerobot is not installed here: make test-lerobot'
)

from async_chunking.dataset.reading import read_demonstrations
from async_chunking.dataset.writing import Demonstration, Description, write


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)


def test_what_lerobot_wrote_is_read(tmp_path: Path) -> None:
    joints = ['left', 'right']
    vector = {'dtype': 'float32', 'shape': (2,), 'names': joints}
    picture = {'dtype': 'image', 'shape': (8, 8, 3), 'names': ['height', 'width', 'channels']}
    features = {
        'action': vector,
        'observation.state': vector,
        'observation.images.top': picture,
    }
    written = lerobot.LeRobotDataset.create(
        'some/name', 30, features, root=tmp_path / 'data', robot_type='toy', use_videos=False
    )
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(9, 2)).astype(np.float32)
    for index, action in enumerate(actions):
        written.add_frame(
            {
                'action': action,
                'observation.state': action + 1.0,
                'observation.images.top': np.zeros((8, 8, 3), np.uint8),
                'task': 'wave',
            }
        )
        if index in (3, 8):
            written.save_episode()
    written.finalize()
    data = read_demonstrations(tmp_path / 'data')
    np.testing.assert_array_equal(data.actions, actions)
    assert data.ends.tolist() == [4, 9]
    assert (data.fps, data.robot, data.joint_names) == (30.0, 'toy', tuple(joints))
    assert list(data.observations) == ['observation.state']  # Images are left alone.


def test_lerobot_reads_what_we_write(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    joints = ('left', 'right')
    features = {'action': joints, 'observation.state': joints}
    episodes = [
        Demonstration({name: rng.normal(size=(length, 2)) for name in features})
        for length in (6, 4)
    ]
    place = tmp_path / 'data'
    write(place, Description('toy', 50.0, 'wave', features), episodes)
    ours = read_demonstrations(place)
    theirs = lerobot.LeRobotDataset('some/name', root=place, revision='v3.0')
    assert (len(theirs), theirs.meta.total_episodes) == (10, 2)
    np.testing.assert_array_equal(theirs[7]['action'].numpy(), ours.actions[7])
    assert theirs[7]['task'] == 'wave'


def test_lerobot_sees_the_pictures_of_a_recording(tmp_path: Path) -> None:
    footage = pytest.importorskip('test_dataset_footage', reason='videos need av')
    bag = footage.record(tmp_path / 'bag')
    place = tmp_path / 'data'
    footage.convert([bag], footage.Embodiment.model_validate(footage.ROBOT), place, 'pick it up')
    read = lerobot.LeRobotDataset('some/name', root=place, revision='v3.0', video_backend='pyav')
    for number in (0, 7, 12, 19):
        frame = read[number]
        top, wrist = (frame[f'observation.images.{name}'] for name in ('top', 'wrist'))
        assert top.shape == (3, 48, 64)
        red, green, blue = (float(channel.mean()) for channel in top)
        assert [red, green, blue] == pytest.approx(
            [8 * number / 255, 120 / 255, 30 / 255], abs=0.015
        )
        assert float(wrist[0].mean()) * 255 == pytest.approx(8 * (number - number % 2), abs=4)
        assert frame['task'] == ('pick it up' if number < 12 else 'put it down')
    assert set(read.meta.stats['observation.images.top']) >= {'mean', 'std', 'q01', 'q99'}
