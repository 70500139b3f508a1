# SPDX-License-Identifier: Apache-2.0
"""What a robot's driver may do wrong while it runs: named in diagnostics, harmless otherwise."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy')

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes

POSE = {
    'waist': 0.3, 'shoulder': -0.5, 'elbow': 0.6, 'forearm_roll': 0.1, 'wrist_angle': -0.2,
    'wrist_rotate': 0.4, 'left_finger': 0.03,
}  # fmt: skip


def test_a_driver_that_lacks_a_joint_speaks_in_another_order_and_goes_silent(node, spin_until):
    from diagnostic_msgs.msg import DiagnosticArray
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    described = describe('viperx', {'log_level': 'fatal'})
    names = described.robot.joint_names
    assert set(names) == set(POSE)
    executor = tuple(n for n in described.nodes if n.executable == 'executor_node')
    driver = node.create_publisher(JointState, described.robot.sources[0].topic, 10)
    said, commands = [], []

    def heard(message: DiagnosticArray) -> None:
        said.extend(status.message for status in message.status if 'executor' in status.name)

    node.create_subscription(DiagnosticArray, '/diagnostics', heard, 10)
    node.create_subscription(
        Float64MultiArray, described.robot.commands[0].topic, commands.append, 10
    )
    spoken = [name for name in reversed(names) if name != 'elbow']

    def speak() -> None:
        if spoken:
            pose = [POSE.get(name, 9.0) for name in spoken]
            driver.publish(JointState(name=list(spoken), position=pose))

    node.create_timer(0.02, speak)
    with Processes(executor, '', 'fatal'):
        spin_until(lambda: any('joint_states lacks elbow' in s for s in said), 'it is named')
        assert not commands
        spoken[2:2] = ['right_finger', 'elbow', 'a_table']
        spin_until(lambda: len(commands) > 20, 'the robot is commanded')
        # Without a policy it holds the pose that was measured.
        assert list(commands[-1].data) == pytest.approx([POSE[n] for n in names], abs=1e-6)
        said.clear()
        spoken.remove('elbow')
        spin_until(lambda: any('joint_states lacks elbow' in s for s in said), 'it is named again')
        spoken.append('elbow')
        spin_until(lambda: 'silent' not in said[-1] and 'lacks' not in said[-1], 'all is well')
        said.clear()
        spoken.clear()
        spin_until(lambda: any('joint_states has gone silent' in s for s in said), 'it is named')
        assert list(commands[-1].data) == pytest.approx([POSE[n] for n in names], abs=1e-6)
