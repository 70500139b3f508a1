# SPDX-License-Identifier: Apache-2.0
"""A robot without driver and without physics: its joints go where they are told."""

from __future__ import annotations

import time

from rclpy.timer import Timer

from async_chunking.bringup.parameters import FollowParameters
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.process import run
from async_chunking.nodes.simulated_robot import SimulatedRobot
from async_chunking.nodes.stand_ins import StandIns
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.robot.follower import Follower

_LONGEST_STEP_S = 0.1  # A process that was held up does not catch up with more [s].


class FollowNode(RobotNode):
    """Follows commands within the limits on position and velocity, on the topics of the drivers.

    Numbers that the policy reads beside the joints are zeros, pictures of cameras are black with
    `camera_hz`, each until somebody else publishes them; the log names both.
    """

    Parameters = FollowParameters

    def __init__(self) -> None:
        super().__init__('follow')
        self._timers: list[Timer] = []

    def configure(self) -> None:
        """Create the robot's topics."""
        robot, parameters = self.embodiment, self.parameters
        self._follower = Follower(robot.limits, 1.0 / robot.control_rate_hz)
        self._robot = SimulatedRobot(
            self, robot, self._follower, self._follower.command, self._follower.positions
        )
        numbers, pictures = others(robot)
        self._numbers = StandIns(self, numbers, robot)
        self._pictures = StandIns(self, pictures if parameters.camera_hz else {}, robot)
        self._tell_what_is_made_up()
        self._tell_what_is_missing({} if parameters.camera_hz else pictures)
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self.create_timer(1.0, self._diagnose)

    def activate(self) -> None:
        """Begin to follow."""
        self._before = time.monotonic()
        self._timers = [self.create_timer(1.0 / self.parameters.rate_hz, self._step)]
        if self.parameters.camera_hz:
            period_s = 1.0 / self.parameters.camera_hz
            self._timers.append(self.create_timer(period_s, self._pictures.publish))

    def deactivate(self) -> None:
        """Stand still."""
        for timer in self._timers:
            self.destroy_timer(timer)

    def _step(self) -> None:
        now = time.monotonic()
        seconds = min(now - self._before, _LONGEST_STEP_S)
        self._before = now
        if seconds > 0.0:
            self._follower.step(seconds)
        self._numbers.publish()
        self._robot.show()

    def _tell_what_is_made_up(self) -> None:
        for topic, what in {**self._numbers.made_up, **self._pictures.made_up}.items():
            self.get_logger().warning(f'{topic}: {what}, until somebody else publishes it')

    def _tell_what_is_missing(self, streams: dict[str, Stream]) -> None:
        for name, stream in streams.items():
            self.get_logger().warning(
                f"{stream.topic}: no pictures for '{name}'; start the camera's driver, or "
                'camera_hz:=10 for black ones'
            )

    def _diagnose(self) -> None:
        values = {'bad_commands': self._robot.bad_commands}
        self._diagnostics.publish(diagnostics.OK, 'joints go where they are told', values)


def others(robot: Embodiment) -> tuple[dict[str, Stream], dict[str, Stream]]:
    """Return the streams of numbers, and those of pictures, that no driver of joints publishes."""
    driven = {source.topic for source in robot.sources}
    streams = {
        name: stream
        for name, stream in robot.observations.items()
        if stream.topic and stream.topic not in driven
    }
    numbers = {name: s for name, s in streams.items() if s.is_numeric}
    return numbers, {name: s for name, s in streams.items() if s.is_image}


def main() -> int:
    """Run the node."""
    return run(FollowNode)


if __name__ == '__main__':
    raise SystemExit(main())
