# SPDX-License-Identifier: Apache-2.0
"""The view node: the robot and the seam where the commands and chunks put them."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')
pytest.importorskip('mujoco')
pytest.importorskip('visualization_msgs')

from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep  # noqa: E402
from async_chunking.nodes.camera import HEIGHT, WIDTH, camera_info  # noqa: E402
from async_chunking.nodes.view_node import ViewNode  # noqa: E402

HOME = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.03]
TIP = [0.536494, 0.0, 0.42705]  # At home, as the robot's description says [m].


@pytest.fixture
def view(ros_domain_id, monkeypatch):
    rclpy.init(args=['--ros-args', '-r', '__ns:=/left'])
    node = ViewNode()
    node.trigger_configure()
    shown = []
    monkeypatch.setattr(node._markers, 'publish', shown.append)
    yield node, shown
    node.end()
    rclpy.shutdown()


def test_lines_are_where_the_hand_would_be(view) -> None:
    node, shown = view
    node._show()
    assert not shown[-1].markers
    for tick in range(3):
        node._on_step(ControlStep(tick=tick, command=HOME, measured=HOME, took_over=tick == 1))
    turned = [np.pi / 2, *HOME[1:]]
    node._on_request(ChunkRequest(run_id=3, request_id=5, columns=7, previous=HOME))
    node._on_chunk(ActionChunk(run_id=3, request_id=4, columns=7, actions=HOME))  # Of another.
    node._show()
    assert {marker.ns for marker in shown[-1].markers} == {'executed tip', 'takeover tip'}
    node._on_chunk(ActionChunk(run_id=3, request_id=5, columns=7, actions=[*HOME, *turned]))
    node._show()
    lines = {marker.ns: marker for marker in shown[-1].markers}
    assert lines.keys() == {'executed tip', 'old plan tip', 'new chunk tip', 'takeover tip'}
    points = {name: [[p.x, p.y, p.z] for p in marker.points] for name, marker in lines.items()}
    np.testing.assert_allclose(points['executed tip'], [TIP] * 3, atol=1e-6)
    np.testing.assert_allclose(points['takeover tip'], [TIP], atol=1e-6)
    np.testing.assert_allclose(points['new chunk tip'], [TIP, [0.0, TIP[0], TIP[2]]], atol=1e-6)
    assert all(marker.header.frame_id == 'left/world' for marker in lines.values())
    node._on_step(ControlStep(tick=0, command=HOME))  # A new run.
    node._show()
    assert {marker.ns for marker in shown[-1].markers} == {'executed tip'}


def test_what_a_peer_cannot_mean_draws_nothing(view) -> None:
    node, shown = view
    node._on_step(ControlStep(tick=0, command=[np.nan] * 7))
    node._on_step(ControlStep(tick=1, command=[1.0]))
    node._on_chunk(ActionChunk(columns=2, actions=[1.0, 2.0]))
    node._show()
    assert all(not marker.points for marker in shown[-1].markers)


def test_a_camera_says_what_it_sees() -> None:
    info = camera_info(300.0)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    matrix = np.reshape(info.k, (3, 3))
    # A point in the middle of the view, one metre ahead, is the middle pixel.
    np.testing.assert_allclose(matrix @ [0.0, 0.0, 1.0], [WIDTH / 2, HEIGHT / 2, 1.0])
    np.testing.assert_allclose(np.reshape(info.p, (3, 4))[:, :3], matrix)
