# SPDX-License-Identifier: Apache-2.0
"""What sinks publish, field by field, as it comes out of the bytes on the wire."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from driver_messages import CLASSES, STORE, packed, wire
from rclpy.task import Future

from async_chunking.bags.columns import decode
from async_chunking.bags.wire import joint_values, of_command
from async_chunking.bags.wire_messages import KINDS
from async_chunking.errors import AsyncChunkingError
from async_chunking.robot.embodiment import Command, load
from async_chunking.robot.options import OPTIONS
from async_chunking.robot.wiring import SINKS

JOINTS = ('a', 'b', 'c')


def modules():
    """Return module -> the look-alikes in it."""
    classes = {}
    for name, look in CLASSES.items():
        package, kind, stem = name.split('/')
        classes.setdefault(f'{package}.{kind}', {})[stem] = look
    actions = classes['control_msgs.action']
    actions['GripperCommand'] = SimpleNamespace(Goal=actions.pop('GripperCommand_Goal'))
    return classes


@pytest.fixture
def foreign(monkeypatch):
    """Install the look-alikes while a test runs."""
    own = 'async_chunking.nodes.sinks.'
    for name, content in modules().items():
        package = name.split('.')[0]
        for full in (package, name):
            monkeypatch.setitem(sys.modules, full, ModuleType(full))
        vars(sys.modules[name]).update(content)
    for kind in ('interbotix_group', 'interbotix_single', 'gripper_command', 'unitree_arm_sdk',
                 'unitree_hand', 'unitree_motor_cmds'):  # fmt: skip
        monkeypatch.delitem(sys.modules, own + kind, raising=False)
    yield
    for name in [name for name in sys.modules if name.startswith(own)]:
        if name.removeprefix(own) not in ('base',):
            sys.modules.pop(name)


class FakeNode:
    """Keeps what is published, as receivers get it."""

    def __init__(self):
        self.sent, self.raw, self.topics = [], {}, []
        self.warnings: list[str] = []

    def create_publisher(self, message_type, topic, qos):
        self.topics.append((topic, message_type.__name__))

        def publish(message):
            self.sent.append(wire(message))
            self.raw[topic] = packed(message)

        return SimpleNamespace(publish=publish)

    def get_logger(self):
        return SimpleNamespace(warning=self.warnings.append)


def make(kind, node, joints=JOINTS, **fields):
    from async_chunking.nodes.sinks import sink_class

    command = Command(topic='t', sink=kind, joints=joints, **fields)
    return sink_class(kind)(node, command, JOINTS, 0.02)


def test_joint_trajectory_is_stamped():
    node = FakeNode()
    sink = make('joint_trajectory', node, ('c', 'a'), names=('x', 'y'), options={'lead_s': 0.03})
    sink.send(np.array([1.0, 2.0, 3.0]), 5_000_000_007)
    (message,) = node.sent
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 7)
    assert list(message.joint_names) == ['x', 'y']
    (point,) = message.points
    assert list(point.positions) == [3.0, 1.0]
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 30_000_000)


def test_interbotix(foreign):
    node = FakeNode()
    arm = make('interbotix_group', node, ('a', 'b'))
    scale = {'c': {'joint': (0.0, 1.0), 'driver': (-0.6213, 1.4910)}}
    gripper = make('interbotix_single', node, ('c',), names=('gripper',), scales=scale)
    command = np.array([0.25, -0.5, 1.0])
    arm.send(command, 0)
    gripper.send(command, 0)
    group, single = node.sent
    assert (group.name, list(group.cmd)) == ('arm', [0.25, -0.5])
    assert single.name == 'gripper'
    assert single.cmd == pytest.approx(1.4910)
    np.testing.assert_array_equal(command, [0.25, -0.5, 1.0])


class Gripper:
    """A server that is ready when told so; its answers are in the test's hand."""

    def __init__(self) -> None:
        self.ready = True
        self.goals: list = []
        self.answers: list[Future] = []

    def server_is_ready(self) -> bool:
        return self.ready

    def accept(self) -> Future:
        """Accept the newest goal and return how it will end."""
        ended = Future()
        handle = SimpleNamespace(accepted=True, get_result_async=lambda: ended)
        self.answers[-1].set_result(handle)
        return ended

    def send_goal_async(self, goal) -> Future:
        self.goals.append(wire(goal))
        self.answers.append(Future())
        return self.answers[-1]


@pytest.fixture
def gripper(foreign, monkeypatch) -> tuple[Gripper, object]:
    client = Gripper()
    monkeypatch.setattr('rclpy.action.ActionClient', lambda *_: client)
    return client, make('gripper_command', FakeNode(), ('c',))


def test_gripper_command_is_sent_on_change_only(gripper):
    client, sink = gripper
    for value in (0.04, 0.03, 0.02, 0.016, 0.014, 0.02, 0.024, 0.026, 0.03):
        sink.send(np.array([0.0, 0.0, value]), 0)
    assert [goal.command.position for goal in client.goals] == [0.04, 0.0, 0.04]
    assert client.goals[0].command.max_effort == 20.0


def test_gripper_command_waits_for_the_server(gripper):
    client, sink = gripper
    client.ready = False
    sink.send(np.array([0.0, 0.0, 0.04]), 0)
    assert not client.goals
    client.ready = True
    sink.send(np.array([0.0, 0.0, 0.04]), 0)
    assert len(client.goals) == 1


def test_gripper_command_is_sent_again_when_it_was_refused_or_let_go(gripper):
    client, sink = gripper
    wide = np.array([0.0, 0.0, 0.04])
    sink.send(wide, 0)
    client.accept()
    sink.send(wide, 0)
    assert len(client.goals) == 1
    sink.release()
    sink.send(wide, 0)
    assert len(client.goals) == 2
    client.answers[-1].set_result(SimpleNamespace(accepted=False))
    sink.send(wide, 499_999_999)
    assert len(client.goals) == 2
    sink.send(wide, 500_000_000)
    assert len(client.goals) == 3
    assert sink.trouble == 't: the goal 0.04 was refused; it is sent again'


def test_a_goal_that_was_accepted_and_then_aborted_is_told_and_sent_again(gripper):
    client, sink = gripper
    wide, shut = np.array([0.0, 0.0, 0.04]), np.array([0.0, 0.0, 0.0])
    sink.send(wide, 0)
    client.accept().set_result(SimpleNamespace(status=6))
    assert sink.trouble == 't: the goal 0.04 ended with status 6 (aborted); it is sent again'
    sink.send(wide, 400_000_000)
    assert len(client.goals) == 1  # Not at once.
    sink.send(wide, 600_000_000)
    assert [goal.command.position for goal in client.goals] == [0.04, 0.04]
    client.accept().set_result(SimpleNamespace(status=4))
    assert sink.trouble == ''
    sink.send(wide, 700_000_000)
    assert len(client.goals) == 2
    sink.send(shut, 800_000_000)
    late = client.accept()
    sink.send(wide, 900_000_000)
    client.accept()
    late.set_result(SimpleNamespace(status=6))  # Of a goal that nobody wants any more.
    sink.send(wide, 5_000_000_000)
    assert [goal.command.position for goal in client.goals] == [0.04, 0.04, 0.0, 0.04]


SECOND = 1_000_000_000


def test_a_goal_of_which_nothing_comes_is_told_and_sent_again(gripper):
    client, sink = gripper
    wide, between = np.array([0.0, 0.0, 0.04]), np.array([0.0, 0.0, 0.02])
    client.ready = False
    sink.send(wide, 0)
    assert sink.trouble == 't: nobody serves it; the goal 0.04 waits for that'
    client.ready = True
    sink.send(wide, SECOND)
    sink.send(wide, 2 * SECOND)
    assert len(client.goals) == 1
    sink.send(wide, 3 * SECOND)  # Nobody answered.
    assert sink.trouble == 't: the goal 0.04 had no end within 2 s; it is sent again'
    sink.send(wide, 4 * SECOND)
    client.accept()
    sink.send(wide, 18 * SECOND)
    assert len(client.goals) == 2
    sink.send(between, 19 * SECOND)
    sink.send(wide, 19 * SECOND)  # It was accepted, and how it ended was lost.
    sink.send(wide, 20 * SECOND)
    assert len(client.goals) == 3
    client.accept()
    client.ready = False
    sink.send(wide, 21 * SECOND)
    assert sink.trouble == (
        't: the goal 0.04 was sent, and then its server was gone; it is sent again'
    )
    client.ready = True
    sink.send(wide, 22 * SECOND)
    client.accept().set_result(SimpleNamespace(status=4))
    assert sink.trouble == ''
    client.ready = False
    sink.send(wide, 90 * SECOND)  # It was done: nobody needs a server.
    assert (sink.trouble, len(client.goals)) == ('', 4)


def test_a_broken_answer_is_told_and_ends_nothing(gripper):
    client, sink = gripper
    wide = np.array([0.0, 0.0, 0.04])
    sink.send(wide, 0)
    client.answers[-1].set_exception(RuntimeError('the middleware is gone'))
    assert sink.trouble == 't: the goal 0.04 was not answered; it is sent again'
    sink.send(wide, SECOND)
    client.accept().set_exception(RuntimeError('the middleware is gone'))
    assert 'how it ended was lost' in sink.trouble


def test_what_comes_of_an_older_goal_is_of_no_account(gripper):
    client, sink = gripper
    wide, shut = np.array([0.0, 0.0, 0.04]), np.array([0.0, 0.0, 0.0])
    sink.send(wide, 0)
    sink.send(shut, SECOND // 10)
    sink.send(wide, SECOND // 5)
    client.answers[0].set_result(SimpleNamespace(accepted=False))
    client.answers[1].set_result(SimpleNamespace(accepted=False))
    sink.send(wide, SECOND)
    assert (sink.trouble, len(client.goals)) == ('', 3)


def test_the_end_of_an_older_goal_is_not_that_of_the_newest(gripper):
    client, sink = gripper
    sink.send(np.array([0.0, 0.0, 0.04]), 0)
    ended, shut = client.accept(), np.array([0.0, 0.0, 0.0])
    sink.send(shut, SECOND)
    ended.set_result(SimpleNamespace(status=4))
    sink.send(shut, 3 * SECOND)
    assert sink.trouble == 't: the goal 0 had no end within 2 s; it is sent again'


def test_a_point_of_a_trajectory_is_two_periods_ahead():
    """At 15 Hz 40 ms would mean to stop 27 ms at each."""
    from async_chunking.nodes.sinks import sink_class

    node = FakeNode()
    command = Command(topic='t', sink='joint_trajectory', joints=JOINTS)
    sink_class('joint_trajectory')(node, command, JOINTS, 1 / 15).send(np.zeros(3), 0)
    (point,) = node.sent[0].points
    assert point.time_from_start.nanosec == 133_333_333


def slow_crc(words):
    """Return CRC-32/MPEG-2 bit by bit."""
    crc = 0xFFFFFFFF
    for word in words:
        for bit in range(31, -1, -1):
            top = (crc >> 31) ^ (word >> bit & 1)
            crc = (crc << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if top else 0)
    return crc


def test_mpeg2_known_answer():
    from async_chunking.nodes.sinks.unitree_crc import mpeg2

    assert mpeg2(b'123456789') == 0x0376E6E7
    assert slow_crc([0x31323334]) == mpeg2(b'1234')


def test_unitree_arm_ramps_in_and_out(foreign, monkeypatch):
    from async_chunking.nodes.sinks.unitree_crc import _LAYOUT, checksum

    node = FakeNode()
    options = {'ramp_s': 0.1, 'rate_hz': 50.0, 'kp': (60.0, 40.0), 'kd': 1.5}
    sink = make('unitree_arm_sdk', node, ('a', 'b'), motors=(22, 28), options=options)

    def weights():
        return [round(float(message.motor_cmd[29].q), 6) for message in node.sent]

    command = np.array([0.5, -0.5, 0.0])
    sink.send(command, 0)
    assert not node.sent  # It is not known yet which machine it is.
    topic = sink.listens(Command(topic='t', sink='unitree_arm_sdk', joints=JOINTS[:2],
                                 motors=(22, 28), options=options))  # fmt: skip
    assert topic.name == 'lowstate'
    sink.hear(topic.read(topic.kind(mode_machine=5)))
    for _ in range(7):
        sink.send(command, 0)
    assert weights() == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0]
    message = node.sent[-1]
    assert message.mode_machine == 5
    assert [message.motor_cmd[i].q for i in (22, 28, 15)] == [0.5, -0.5, 0.0]
    assert [message.motor_cmd[i].kp for i in (22, 28, 15)] == [60.0, 40.0, 0.0]
    assert [message.motor_cmd[i].mode for i in (22, 28, 15)] == [1, 1, 0]
    fields = [message.mode_pr, message.mode_machine]
    for m in message.motor_cmd:
        fields += [m.mode, m.q, m.dq, m.tau, m.kp, m.kd, m.reserve]
    words = np.frombuffer(_LAYOUT.pack(*fields, *message.reserve), dtype='<u4').tolist()
    assert len(words) == 250
    assert message.crc == checksum(message) == slow_crc(words)
    node.sent.clear()
    monkeypatch.setattr('time.sleep', lambda _: None)
    sink.release()
    assert weights() == [0.8, 0.6, 0.4, 0.2, 0.0]


def test_unitree_hand(foreign):
    node = FakeNode()
    sink = make('unitree_hand', node, ('a', 'b', 'c'), motors=(2, 0, 1))
    sink.send(np.array([0.1, 0.2, 0.3]), 0)
    (message,) = node.sent
    assert [motor.q for motor in message.motor_cmd] == pytest.approx([0.2, 0.3, 0.1])
    assert [motor.mode for motor in message.motor_cmd] == [0x10, 0x11, 0x12]
    assert (message.motor_cmd[0].kp, message.motor_cmd[0].kd) == pytest.approx((1.5, 0.2))


def test_inspire_hands_share_a_topic(foreign):
    node = FakeNode()
    sink = make('unitree_motor_cmds', node, ('a', 'b', 'c'), motors=(0, 6, 11))
    sink.send(np.array([0.1, 0.2, 0.3]), 0)
    (message,) = node.sent
    expected = [0.1, *[1.0] * 5, 0.2, *[1.0] * 4, 0.3]
    assert [cmd.q for cmd in message.cmds] == pytest.approx(expected)


ROBOTS = ('viperx', 'viperx_bimanual', 'viperx_bimanual_puppet', 'franka', 'panda', 'humanoid')


@pytest.mark.parametrize('sim', [False, True], ids=['driver', 'simulated'])
@pytest.mark.parametrize('name', [*ROBOTS, 'g1', 'g1_inspire'])
def test_drivers_of_packaged_robots_are_told_the_command(foreign, monkeypatch, name, sim):
    """The bytes of every topic are read as those of a recording are."""
    from async_chunking.nodes.sinks import sink_class

    client = Gripper()
    monkeypatch.setattr('rclpy.action.ActionClient', lambda *_: client)
    robot, node = load(name, sim), FakeNode()
    shares = np.linspace(0.2, 0.9, len(robot.joints))
    sent = robot.limits.lower + shares * (robot.limits.upper - robot.limits.lower)
    for command in robot.commands:
        sink = sink_class(command.sink)(
            node, command, robot.joint_names, 1.0 / robot.control_rate_hz
        )
        if command.sink == 'unitree_arm_sdk':
            sink.hear(5.0)
        sink.send(sent, 1)
        if command.sink == 'gripper_command':
            assert [goal.command.position for goal in client.goals] == [0.04]
            continue
        kind, data = node.raw[command.topic]
        expected, numbers = KINDS[command.sink]
        assert kind == expected
        (group,) = decode([data], STORE.fielddefs, kind)
        columns = [robot.joint_names.index(joint) for joint in command.joints]
        values = joint_values(numbers(group, of_command(command)), command)
        np.testing.assert_allclose(values, [sent[columns]], atol=1e-6)
        heard = joint_values(sink.positions(node.sent[-1], command), command)
        np.testing.assert_allclose(heard, sent[columns], atol=1e-6)


def test_a_simulated_driver_leaves_what_is_for_others(foreign):
    """A topic may hold commands of several parts of a robot, by name."""
    node = FakeNode()
    arm = make('interbotix_group', node, ('a', 'b'), options={'group': 'left'})
    grip = make('interbotix_single', node, ('c',), names=('gripper',))
    target = make('joint_state', node, ('a', 'b'))
    for sink in (arm, grip, target):
        sink.send(np.array([1.0, 2.0, 3.0]), 0)
    group, single, states = node.sent

    def read(sink, message, joints, **fields):
        command = Command(topic='t', sink=sink, joints=joints, **fields)
        return make(sink, node, joints, **fields).positions(message, command)

    left, right = {'options': {'group': 'left'}}, {'options': {'group': 'right'}}
    np.testing.assert_array_equal(read('interbotix_group', group, ('a', 'b'), **left), [1, 2])
    assert read('interbotix_group', group, ('a', 'b'), **right) is None
    assert read('interbotix_single', single, ('c',), names=('left_gripper',)) is None
    np.testing.assert_array_equal(read('joint_state', states, ('b', 'c')), [2.0, np.nan])
    assert read('joint_state', states, ('c',)) is None


def test_a_simulated_gripper_reaches_every_goal(foreign, monkeypatch):
    from async_chunking.nodes.sinks import sink_class

    served, taken = {}, []

    def serve(node, kind, topic, execute):
        served[topic] = execute

    sink = sink_class('gripper_command')
    monkeypatch.setattr(sys.modules[sink.__module__], 'ActionServer', serve)
    monkeypatch.setattr(sink.message_type, 'Result', SimpleNamespace, raising=False)
    command = Command(topic='t', sink='gripper_command', joints=('c',))
    sink.simulate(FakeNode(), command, taken.append)
    goal = sink.message_type.Goal()
    goal.command.position = 0.03
    ends = []
    result = served['t'](SimpleNamespace(request=goal, succeed=lambda: ends.append('done')))
    assert (result.position, result.reached_goal, ends) == (0.03, True, ['done'])
    np.testing.assert_array_equal(taken, [[0.03]])


@pytest.mark.parametrize('name', ['g1', 'g1_inspire', 'viperx_bimanual_puppet', 'franka'])
@pytest.mark.usefixtures('foreign')
def test_measured_joints_are_told_as_drivers_tell_them(name):
    """What the simulated drivers publish is read as the real ones are."""
    from async_chunking.nodes.driver_joints import DriverJoints
    from async_chunking.nodes.observations.measured import Measured

    robot, node = load(name), FakeNode()
    positions = np.linspace(0.1, 0.9, len(robot.joints))
    DriverJoints(node, robot).publish(positions, np.zeros(len(positions)), 7)
    measured = Measured(robot.sources, robot.joint_names)
    topics = [topic for topic, _ in node.topics]
    assert topics[-1] == robot.sources[0].topic  # That which sets the pace is the last.
    told = dict(zip(topics, node.sent, strict=True))
    read = [measured.read(n, told[s.topic], 0) for n, s in reversed([*enumerate(robot.sources)])]
    np.testing.assert_allclose(read[-1], positions, atol=1e-6)


def test_parts_of_a_robot_on_one_topic_are_told_together():
    from async_chunking.nodes.driver_joints import DriverJoints

    robot, node = load('franka', True), FakeNode()
    arm, hand = robot.sources
    shared = hand.model_copy(update={'topic': arm.topic})
    robot = robot.model_copy(update={'joint_states': (arm, shared)})
    DriverJoints(node, robot).publish(np.arange(8.0), np.zeros(8), 7)
    (message,) = node.sent
    assert list(message.name) == list(robot.joint_names)
    assert list(message.position) == list(range(8))


@pytest.mark.parametrize(
    ('package', 'remedy'),
    [
        ('control_msgs', 'sudo apt install ros-jazzy-control-msgs'),
        ('interbotix_xs_msgs', 'build interbotix_ros_core'),  # In apt for no distribution.
        ('unitree_hg', 'build unitree_ros2'),
    ],
)
def test_missing_messages_say_where_they_are_from(monkeypatch, package, remedy):
    from async_chunking.nodes.messages import message_class

    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setitem(sys.modules, f'{package}.msg', None)
    with pytest.raises(AsyncChunkingError, match=f'{package}/msg/Any is not installed: {remedy}'):
        message_class(f'{package}/msg/Any')


def test_unknown_option_is_refused():
    with pytest.raises(ValueError, match=r"joint_trajectory has no option 'led_s'\. Choices"):
        make('joint_trajectory', FakeNode(), options={'led_s': 1.0})


@pytest.mark.parametrize('kind', SINKS)
@pytest.mark.usefixtures('foreign')
def test_the_options_that_are_known_without_ros_are_those_of_the_sink(kind: str) -> None:
    from async_chunking.nodes.sinks import sink_class

    known = OPTIONS[kind].model_fields if kind in OPTIONS else ()
    assert set(known) == set(sink_class(kind).Options.model_fields)
