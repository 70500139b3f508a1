# SPDX-License-Identifier: Apache-2.0
"""Streams of an observation in a robot's YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from test_wiring import write

from async_chunking.robot.embodiment import load
from async_chunking.settings import SettingsError

PICTURE = {'kind': 'image', 'topic': 'front', 'height': 48, 'width': 64}


@pytest.mark.parametrize(
    ('stream', 'shape'),
    [
        ({'kind': 'measured', 'size': 2}, (2,)),
        ({'kind': 'measured', 'size': 1, 'joints': ['b']}, (1,)),
        ({'kind': 'joint_state', 'topic': 't', 'size': 1, 'joints': ['a']}, (1,)),
        ({'kind': 'float64_multi_array', 'topic': 't', 'size': 9}, (9,)),
        (PICTURE, (48, 64, 3)),
        ({**PICTURE, 'kind': 'compressed_image', 'resize': [24, 24]}, (24, 24, 3)),
        ({**PICTURE, 'channels_first': True}, (3, 48, 64)),
        ({'kind': 'text'}, ()),
        ({'kind': 'text', 'topic': 'said'}, ()),
    ],
)
def test_shape_that_the_policy_gets(stream, shape, tmp_path: Path):
    robot = load(write(tmp_path / 'toy.yaml', observations={'seen': stream}))
    assert robot.observations['seen'].shape == shape


@pytest.mark.parametrize(
    ('stream', 'sentence'),
    [
        ({'kind': 'image', 'topic': 'front', 'width': 64}, 'image needs height'),
        ({**PICTURE, 'size': 3}, 'image has no size'),
        ({**PICTURE, 'resize': [24]}, 'resize'),
        ({'kind': 'image', 'height': 2, 'width': 2}, 'image needs a topic'),
        ({'kind': 'measured', 'size': 2, 'topic': 't'}, 'measured has no topic'),
        ({'kind': 'measured', 'size': 2, 'resize': [1, 1]}, 'measured has no resize'),
        ({'kind': 'measured'}, 'measured needs size'),
        ({'kind': 'measured', 'size': 3}, 'size 3, but 2 joints'),
        ({'kind': 'measured', 'size': 2, 'joints': ['b']}, 'size is 2 but 1 joints are listed'),
        ({'kind': 'measured', 'size': 1, 'joints': ['c']}, 'names c. Joints: a, b'),
        ({'kind': 'text', 'size': 2}, 'text has no size'),
        ({**PICTURE, 'qos': 'best'}, "qos = 'best': Input should be 'sensor_data' or 'reliable'"),
        ({'kind': 'measured', 'size': 2, 'qos': 'reliable'}, 'measured has no qos'),
        ({'kind': 'text', 'topic': 'said', 'qos': 'reliable'}, 'text has no qos'),
        ({'kind': 'smell', 'topic': 't'}, "'image', 'compressed_image' or 'text'"),
    ],
)
def test_streams_that_cannot_work(stream, sentence, tmp_path: Path):
    with pytest.raises(SettingsError, match=sentence):
        load(write(tmp_path / 'toy.yaml', observations={'seen': stream}))


def test_null_removes_what_the_extended_robot_has(tmp_path: Path):
    content = {'extends': 'viperx', 'observations': {'observation.environment_state': None}}
    (tmp_path / 'toy.yaml').write_text(yaml.safe_dump({**content, 'name': 'toy'}))
    assert set(load(str(tmp_path / 'toy.yaml')).observations) == {'observation.state'}
