# SPDX-License-Identifier: Apache-2.0
"""Two robots on one graph do not hear each other."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes

POSES = {'left_cell': 0.3, 'right_cell': -0.3}


def test_two_robots_do_not_hear_each_other(node, spin_until):
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    from async_chunking.msg import ChunkRequest

    described = describe('viperx', {'log_level': 'warn'})
    names = described.robot.joint_names
    executor = tuple(n for n in described.nodes if n.executable == 'executor_node')
    commands, requests = {}, {}
    for cell in POSES:
        for kind, topic, found in (
            (Float64MultiArray, described.robot.commands[0].topic, commands),
            (ChunkRequest, 'chunk_request', requests),
        ):
            found[cell] = []
            node.create_subscription(kind, f'/{cell}/{topic}', found[cell].append, 10)
    drivers = {
        cell: node.create_publisher(JointState, f'/{cell}/joint_states', 10) for cell in POSES
    }

    def measured(cell: str) -> None:
        position = [POSES[cell], *[0.0] * (len(names) - 2), 0.03]
        drivers[cell].publish(JointState(name=list(names), position=position))

    with (
        Processes(executor, 'left_cell', 'warn'),
        Processes(executor, 'right_cell', 'warn'),
    ):
        left = node.create_timer(0.02, lambda: measured('left_cell'))
        spin_until(lambda: len(commands['left_cell']) > 20, 'the left robot is commanded')
        spin_until(lambda: requests['left_cell'], 'the left robot asks')
        assert not commands['right_cell']
        assert not requests['right_cell']
        right = node.create_timer(0.02, lambda: measured('right_cell'))
        spin_until(lambda: len(commands['right_cell']) > 20, 'the right robot is commanded')
        for timer in (left, right):
            node.destroy_timer(timer)
    for cell, pose in POSES.items():
        # Without a policy each holds the pose that its own driver measured.
        assert commands[cell][-1].data[0] == pytest.approx(pose, abs=1e-6)
