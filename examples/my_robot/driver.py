#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stand in for a robot's driver: go where the trajectory says, and tell where the joints are.

In the namespace `gen3`, 100 times a second, until it is stopped; another robot's driver takes its
place.
"""

from __future__ import annotations

from contextlib import suppress

from async_chunking import ros_environment

ros_environment.activate()

import rclpy  # noqa: E402
from rclpy.executors import ExternalShutdownException  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

JOINTS = [f'joint_{number}' for number in range(1, 8)]

rclpy.init()
node = rclpy.create_node('driver', namespace='gen3')
publisher = node.create_publisher(JointState, 'joint_states', 10)
position = dict.fromkeys(JOINTS, 0.0)


def follow(trajectory: JointTrajectory) -> None:
    """Go to the last point at once."""
    position.update(zip(trajectory.joint_names, trajectory.points[-1].positions, strict=True))


def tell() -> None:
    """Say where the joints are."""
    message = JointState(name=[*position], position=[*position.values()])
    message.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(message)


node.create_subscription(
    JointTrajectory, 'joint_trajectory_controller/joint_trajectory', follow, 10
)
node.create_timer(0.01, tell)
with suppress(KeyboardInterrupt, ExternalShutdownException):
    rclpy.spin(node)
