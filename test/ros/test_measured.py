# SPDX-License-Identifier: Apache-2.0
"""Joint measurements from one or several drivers: reordered, incomplete, silent."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from async_chunking.robot.embodiment import Source

SECOND = 1_000_000_000


def message(**joints):
    from sensor_msgs.msg import JointState

    return JointState(name=list(joints), position=[float(v) for v in joints.values()])


def reader(*sources, joints=('a', 'b', 'g')):
    from async_chunking.nodes.observations.measured import Measured

    return Measured(tuple(sources), joints)


def both():
    scale = {'g': {'joint': (0.0, 1.0), 'driver': (0.02, 0.06)}}
    return reader(
        Source(topic='arm', joints=('a', 'b'), names=('x', 'y')),
        Source(topic='grip', joints=('g',), names=('finger',), scales=scale, max_age_s=0.2),
    )


def test_order_and_extras_do_not_matter():
    one = reader(Source(topic='s', joints=('a', 'b', 'g')))
    np.testing.assert_array_equal(one.read(0, message(b=2, a=1, g=3), 0), [1, 2, 3])
    np.testing.assert_array_equal(one.read(0, message(z=9, g=3, a=1, b=2), 1), [1, 2, 3])


def test_first_source_sets_the_pace_and_units_are_ours():
    measured = both()
    assert measured.read(1, message(finger=0.04), 0) is None
    np.testing.assert_allclose(measured.read(0, message(y=2, x=1), 1), [1, 2, 0.5])


@pytest.mark.parametrize(
    ('bad', 'words'),
    [
        ({'x': 1}, 'arm lacks y; it has x'),
        ({'x': 1, 'y': float('nan')}, 'arm holds NaN or infinity'),
    ],
)
def test_bad_messages_are_named(bad, words):
    from async_chunking.errors import StreamError

    with pytest.raises(StreamError, match=words):
        both().read(0, message(**bad), 0)


def test_a_silent_driver_ends_the_measurements():
    from async_chunking.errors import StreamError

    measured = both()
    with pytest.raises(StreamError, match='grip was not received yet'):
        measured.read(0, message(x=1, y=2), 0)
    measured.read(1, message(finger=0.06), 0)
    assert measured.read(0, message(x=1, y=2), SECOND // 10) is not None
    with pytest.raises(StreamError, match=r'grip has been silent for 1\.00 s'):
        measured.read(0, message(x=1, y=2), SECOND)


def test_motors_are_picked_by_number():
    measured = reader(
        Source(topic='low', kind='unitree_low_state', joints=('a', 'b', 'g'), motors=(2, 0, 4))
    )
    state = SimpleNamespace(motor_state=[SimpleNamespace(q=float(i)) for i in range(6)])
    np.testing.assert_array_equal(measured.read(0, state, 0), [2.0, 0.0, 4.0])
    from async_chunking.errors import StreamError

    state.motor_state = state.motor_state[:3]
    with pytest.raises(StreamError, match='low has 3 motors, motor 4 is needed'):
        measured.read(0, state, 1)
