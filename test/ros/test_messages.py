# SPDX-License-Identifier: Apache-2.0
"""The messages between two real processes over DDS, and how their arrays are filled."""

from __future__ import annotations

import array
from functools import partial
from pathlib import Path

import numpy as np
import pytest

ECHO = Path(__file__).with_name('echo.py')
TYPES = ('ChunkRequest', 'ActionChunk', 'ControlStep', 'DelayEstimate')


def filled(name: str):
    """Return a message with a value of its own in every field."""
    msg = pytest.importorskip('async_chunking.msg')
    message = getattr(msg, name)()
    for index, (field, kind) in enumerate(message.get_fields_and_field_types().items()):
        if kind == 'sequence<float>':
            value = array.array('f', np.linspace(-1.5, index, 700, dtype=np.float32).tobytes())
        elif kind == 'sequence<double>':
            value = array.array('d', [0.1, float('inf'), index])
        elif kind == 'sequence<string>':
            value = ['waist', 'elbow', 'Größe']
        elif kind == 'string':
            value = 'paint+a2c2'
        elif kind == 'boolean':
            value = True
        elif kind in ('float', 'double'):
            value = index + 0.5
        elif 'int' in kind:
            bits = int(kind.removeprefix('u').removeprefix('int'))
            value = 2 ** (bits - (kind[0] != 'u')) - 1 - index
        else:
            message.header.stamp.sec, message.header.frame_id = 1_700_000_000, 'base'
            continue
        setattr(message, field, value)
    return message


def test_every_field_survives_a_round_trip_between_processes(node, spin_until, start) -> None:
    start(ECHO, *TYPES)
    sent, received = {name: filled(name) for name in TYPES}, {}
    for name, message in sent.items():
        publisher = node.create_publisher(type(message), f'there/{name}', 10)
        node.create_timer(0.5, partial(publisher.publish, message))
        keep = partial(received.setdefault, name)
        node.create_subscription(type(message), f'back/{name}', keep, 10)
    spin_until(lambda: len(received) == len(TYPES), 'an answer of every type')
    assert received == sent


def test_types_are_documented_where_ros2_interface_show_looks() -> None:
    packages = pytest.importorskip('ament_index_python.packages')
    share = Path(packages.get_package_share_directory('async_chunking'))
    assert {path.stem for path in (share / 'msg').glob('*.msg')} == set(TYPES)


def test_phases_are_those_of_the_executor() -> None:
    from async_chunking.executor import Phase

    msg = pytest.importorskip('async_chunking.msg')
    for phase in Phase:
        assert getattr(msg.ControlStep, f'PHASE_{phase.name}') == phase
