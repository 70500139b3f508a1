# SPDX-License-Identifier: Apache-2.0
"""trajectory_msgs/JointTrajectory, as ros2_control's joint_trajectory_controller takes it."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from async_chunking.nodes.convert import set_time
from async_chunking.nodes.sinks.base import Sink, named
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import JointTrajectoryOptions


class JointTrajectorySink(Sink):
    """One point at a time: be there `lead_s` after the stamp.

    The stamp is the tick's time, so a controller that splices trajectories puts the point where it
    belongs even if the message was on its way for a while. Controllers that replace instead begin
    at their current set-point (`interpolate_from_desired_state`) and reach the point in time.
    """

    Options = JointTrajectoryOptions
    message_type = JointTrajectory

    def __init__(
        self, node: Node, command: Command, joint_names: tuple[str, ...], period_s: float
    ) -> None:
        super().__init__(node, command, joint_names, period_s)
        lead_s = self.options.lead_s or 2.0 * period_s
        self._point = JointTrajectoryPoint(positions=array('d', bytes(8 * len(self.index))))
        set_time(self._point.time_from_start, round(lead_s * 1e9))
        self._message = JointTrajectory(joint_names=command.driver_names, points=[self._point])
        self._data = np.frombuffer(self._point.positions)

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        set_time(self._message.header.stamp, stamp_ns)
        self._values(command, out=self._data)
        self.publisher.publish(self._message)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray | None:
        """See `Sink.positions`."""
        points = message.points[-1].positions if message.points else ()
        return named(message.joint_names, points, command)
