# SPDX-License-Identifier: Apache-2.0
"""The simulated drivers: units, bad commands, and a command only when all joints have one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import serialize_message
from std_msgs.msg import Float64MultiArray

from async_chunking.nodes.simulated_robot import SimulatedRobot, SimulatedScene
from async_chunking.robot.embodiment import load

ARM, GRIPPER = 'arm_controller/commands', 'gripper_controller/commands'


class Bus:
    """Keeps what is published, and lets a test send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []
        self.heard: dict[str, object] = {}
        self.clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=5_000_000_007))

    def create_publisher(self, kind, topic, qos):
        return SimpleNamespace(publish=lambda message: self.sent.append((topic, message)))

    def create_subscription(self, kind, topic, callback, qos, **options):
        self.heard[topic] = callback

    def get_clock(self):
        return self.clock

    def send(self, topic: str, values: list[float]) -> None:
        self.heard[topic](serialize_message(Float64MultiArray(data=values)))


@pytest.fixture
def made() -> tuple[Bus, SimulatedRobot, list[np.ndarray]]:
    bus, commands = Bus(), []
    plant = SimpleNamespace(positions=np.arange(14) / 10.0, velocities=np.full(14, 2.0))
    robot = SimulatedRobot(bus, load('viperx_bimanual', True), plant, commands.append)
    return bus, robot, commands


def test_all_joints_must_have_been_commanded(made) -> None:
    bus, _, commands = made
    bus.send(f'follower_left/{ARM}', [0.1] * 6)
    bus.send(f'follower_left/{GRIPPER}', [0.5])
    bus.send(f'follower_right/{GRIPPER}', [0.25])
    assert commands == []
    bus.send(f'follower_right/{ARM}', [0.2] * 6)
    np.testing.assert_allclose(commands, [[0.1] * 6 + [0.5] + [0.2] * 6 + [0.25]])


@pytest.mark.parametrize('bad', [[0.1] * 5, [0.1] * 7, [], [0.1] * 5 + [float('nan')]])
def test_a_bad_command_is_counted_and_moves_nothing(made, bad: list[float]) -> None:
    bus, robot, commands = made
    for side in ('left', 'right'):
        bus.send(f'follower_{side}/{ARM}', [0.1] * 6)
        bus.send(f'follower_{side}/{GRIPPER}', [0.5])
    before = len(commands)
    bus.send(f'follower_left/{ARM}', bad)
    assert (robot.bad_commands, len(commands)) == (1, before)


def test_joints_are_shown_in_the_words_and_units_of_the_driver(made) -> None:
    """The gripper is a share of the way for us, and 0.021 m to 0.057 m for its driver."""
    bus, robot, _ = made
    robot.show()
    (right, left) = bus.sent
    # The first source sets the pace of measurements: it comes last.
    assert (left[0], right[0]) == ('follower_left/joint_states', 'follower_right/joint_states')
    assert list(left[1].name)[-1] == 'left_finger'
    np.testing.assert_allclose(left[1].position[:6], np.arange(6) / 10.0)
    assert left[1].position[6] == pytest.approx(0.021 + 0.6 * 0.036)
    assert left[1].velocity[6] == pytest.approx(2.0 * 0.036)
    assert right[1].position[6] == pytest.approx(0.021 + 1.3 * 0.036)
    assert (left[1].header.stamp.sec, left[1].header.stamp.nanosec) == (5, 7)


def test_a_scene_is_shown_with_what_its_numbers_are() -> None:
    bus = Bus()
    SimulatedScene(bus, ('x', 'y'), False).show(np.array([7.0, 8.0]), 0)
    ((topic, message),) = bus.sent
    assert (topic, message.data.tolist()) == ('environment_state', [7.0, 8.0])
    assert message.layout.dim[0].label == 'x y'


def test_joints_that_were_never_commanded_may_count_as_commanded() -> None:
    bus, commands = Bus(), []
    SimulatedRobot(bus, load('viperx_bimanual', True), None, commands.append, np.arange(14.0))
    bus.send(f'follower_left/{ARM}', [0.1] * 6)
    np.testing.assert_allclose(commands, [[0.1] * 6 + list(range(6, 14))])


def test_a_command_comes_back_in_our_units() -> None:
    bus, commands = Bus(), []
    robot = load('viperx', True)
    scale = {'left_finger': {'joint': (0.01844, 0.058), 'driver': (-0.6213, 1.491)}}
    (command,) = robot.commands
    scaled = command.model_validate({**command.model_dump(), 'scales': scale})
    changed = robot.model_copy(update={'commands': (scaled,)})
    SimulatedRobot(bus, changed, None, commands.append)
    bus.send(scaled.topic, [0.0] * 6 + [0.43485])
    assert commands[0][6] == pytest.approx(0.03822)


def test_a_simulated_clock_stamps_what_is_shown() -> None:
    bus = Bus()
    plant = SimpleNamespace(positions=np.zeros(14), velocities=np.zeros(14))
    SimulatedRobot(bus, load('viperx_bimanual', True), plant, print).show(3_000_000_004)
    SimulatedScene(bus, ('x',), True).show(np.zeros(1), 3_000_000_004)
    topics = dict(bus.sent)
    assert (topics['/clock'].clock.sec, topics['/clock'].clock.nanosec) == (3, 4)
    assert topics['follower_left/joint_states'].header.stamp.nanosec == 4
