# SPDX-License-Identifier: Apache-2.0
"""The process that sends commands: what it has on the graph, and what cannot hold it up."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402

from async_chunking.msg import ActionChunk, ControlStep  # noqa: E402
from async_chunking.nodes import bounded, convert, diagnostics  # noqa: E402
from async_chunking.nodes.bounded import Bounded  # noqa: E402
from async_chunking.nodes.executor_node import ExecutorNode  # noqa: E402
from async_chunking.nodes.sender.mailbox import Mailbox  # noqa: E402

HOME = np.full(7, 0.03)


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def node(ros_domain_id) -> Iterator[ExecutorNode]:
    """Return a node whose sender sends."""
    rclpy.init(args=[])
    node = ExecutorNode()
    node.trigger_configure()
    node.trigger_activate()
    now = node._now_ns() * 1e-9
    for k in range(50):  # Long enough to be believed.
        node._watch.poses.add(HOME, now + 0.01 * (k - 50))
    node._poll()
    until(lambda: node._sender.status.run_id and node._sender.status.tick > 3)
    yield node
    node.end()
    rclpy.shutdown()


def test_the_sender_has_publishers_alone(node: ExecutorNode) -> None:
    name, space = '_executor_sender', '/'
    until(lambda: (name, space) in node.get_node_names_and_namespaces())
    until(lambda: node.get_publisher_names_and_types_by_node(name, space))
    assert node.get_subscriber_names_and_types_by_node(name, space) == []
    assert node.get_service_names_and_types_by_node(name, space) == []
    assert node.get_client_names_and_types_by_node(name, space) == []


def test_the_sender_shares_no_memory_with_subscribers(node: ExecutorNode) -> None:
    maps = Path(f'/proc/{node._sender.pid}/maps').read_text()
    ours = Path('/proc/self/maps').read_text()
    shared = re.compile('/fast(dds|rtps)_')  # Fast DDS 3, and 2 as in Jazzy.
    assert not shared.search(maps)
    assert shared.search(ours)  # Those who may share memory are known by it.


def test_a_node_that_is_busy_holds_no_command_up(node: ExecutorNode) -> None:
    tick, begin = node._sender.status.tick, time.monotonic()
    pow(3, 8_000_000)  # Nobody else has this interpreter meanwhile.
    passed = time.monotonic() - begin
    status = node._sender.status
    assert passed > 0.2
    assert status.tick - tick > 0.8 * passed * 50.0
    assert status.counters.get('missed_ticks', 0) < 0.2 * passed * 50.0


def test_a_sender_that_was_stopped_goes_on_from_rest(node: ExecutorNode) -> None:
    os.kill(node._sender.pid, signal.SIGSTOP)
    time.sleep(2.5)
    node._diagnose()  # It judges by what changed since the last time.
    node._state._moved -= 2.0
    told: list[tuple[bytes, str]] = []
    node._diagnostics.publish = lambda *what: told.append(what[:2])
    node._diagnose()
    os.kill(node._sender.pid, signal.SIGCONT)
    tick = node._sender.status.tick
    until(lambda: node._sender.status.tick > tick + 5)
    assert node._sender.status.counters.get('missed_ticks', 0) < 60  # Not all that passed.
    level, message = told[0]
    assert level == diagnostics.ERROR
    assert 'joint_states' in message or 'the sender stands still' in message


@pytest.fixture
def heard(node: ExecutorNode, monkeypatch) -> list[type]:
    """Return the types that were deserialised from now on."""
    kinds: list[type] = []
    plain = bounded.deserialize_message
    monkeypatch.setattr(
        bounded, 'deserialize_message', lambda data, kind: kinds.append(kind) or plain(data, kind)
    )
    return kinds


@pytest.mark.parametrize(
    'message',
    [
        ActionChunk(joint_names=[''] * 200_000),
        ActionChunk(actions=convert.to_array(np.zeros(1_000_000))),
        ActionChunk(refusal='x' * 1_000_000),
    ],
    ids=['names', 'floats', 'text'],
)
def test_a_huge_chunk_is_refused_before_it_is_deserialised(
    node: ExecutorNode, heard: list[type], message: ActionChunk
) -> None:
    peer = node.create_publisher(ActionChunk, 'action_chunk', QoSProfile(depth=2))
    until(peer.get_subscription_count)
    peer.publish(message)

    def refused() -> bool:
        rclpy.spin_once(node, timeout_sec=0.05)
        return node._intake.counters['unreadable'] > 0

    until(refused)
    assert ActionChunk not in heard
    assert 'at most' in node._intake.reasons['unreadable']


def test_only_the_newest_joint_state_is_read(node: ExecutorNode, heard: list[type]) -> None:
    robot = node.embodiment
    peer = node.create_publisher(JointState, robot.sources[0].topic, QoSProfile(depth=1))
    until(peer.get_subscription_count)
    node._intake.poll()
    heard.clear()
    for place in range(50):
        position = [0.03 + 1e-4 * place] * 7
        peer.publish(JointState(name=list(robot.joint_names), position=position))
    newest = 0.03 + 1e-4 * 49

    def read() -> bool:
        node._intake.poll()
        sample = node._intake.observations.latest('measured')
        return sample is not None and sample.values[0] == pytest.approx(newest)

    until(read)
    assert len(heard) < 25


def test_an_error_of_publishing_is_counted_and_the_stream_goes_on(node: ExecutorNode) -> None:
    from async_chunking.executor import Phase, Step
    from async_chunking.nodes.sender.output import SenderOutput

    class BrokenPublisher:
        hold = staticmethod(nullcontext)

        def let_go(self) -> None:
            raise OSError('no such bus' + 'x' * 100_000)

    class BrokenSink:
        publisher = BrokenPublisher()

        def __init__(self, place: int) -> None:
            self.index = np.array([place])

        def send(self, command: np.ndarray, stamp_ns: int) -> None:
            if self.index == 2:
                raise ValueError('no such joint')

    output = SenderOutput.__new__(SenderOutput)
    output.errors, output.reason, output._stamp_ns = 0, '', lambda: 1 << 62
    output._unmade = np.zeros(len(HOME), dtype=bool)
    output._sinks = [BrokenSink(0), BrokenSink(2)]
    step = Step(0, Phase.EXECUTING, HOME, HOME, 0, 0.0, False, -1, False)
    output.prepare(step)
    lost = output.command(step)
    assert lost.nonzero()[0].tolist() == [0, 2]  # The driver of the others got theirs.
    assert output.counters() == {'publish_errors': 3}
    assert 'no such bus' in output.reason
    assert len(output.reason) <= 500  # What is told to the node has a size.


def test_what_is_held_back_is_made_ready_and_sent_once(node: ExecutorNode) -> None:
    from async_chunking.nodes.sender.ready import ReadyPublisher

    heard: list[float] = []
    other = rclpy.create_node('other')
    other.create_subscription(Float64MultiArray, 'held', lambda m: heard.append(m.data[0]), 10)
    publisher = other.create_publisher(
        Float64MultiArray, 'held', QoSProfile(depth=10), publisher_class=ReadyPublisher
    )
    until(lambda: publisher.get_subscription_count() == 1)
    message = Float64MultiArray(data=[1.0])
    with publisher.hold():  # Made and never sent: a pause came between.
        publisher.publish(message)
    with publisher.hold():
        pass
    publisher.let_go()
    with publisher.hold():
        message.data[0] = 2.0
        publisher.publish(message)
        message.data[0] = 9.0  # What is ready does not change any more.
    publisher.let_go()
    publisher.let_go()
    message.data[0] = 3.0
    publisher.publish(message)
    until(lambda: rclpy.spin_once(other, timeout_sec=0.05) or 3.0 in heard)
    other.destroy_node()
    assert heard == [2.0, 3.0]


def test_a_wall_clock_beyond_2038_is_written_as_the_last_second() -> None:
    message = ControlStep()
    convert.set_time(message.header.stamp, (1 << 31) * 1_000_000_000 + 5)
    assert message.header.stamp.sec == (1 << 31) - 1


def test_a_mailbox_has_the_last_complete_value() -> None:
    box = Mailbox(16)
    other = Mailbox(16, os.dup(box.descriptor))
    assert other.get() is None
    for value in (b'first', b'second', b'third'):
        box.put(value)
        assert other.get() == value
    newest = box._number % 2 * box._stride
    box._memory[newest + 20] ^= 1  # The writer was stopped in the midst of it.
    assert other.get() == b'second'
    with pytest.raises(ValueError, match='16 bytes cannot hold 17'):
        box.put(bytes(17))


def test_a_bounded_topic_says_what_it_did_not_read(node: ExecutorNode) -> None:
    reasons: list[str] = []
    topic = Bounded(
        node, JointState, 'some', 100, lambda m: None, reasons.append, QoSProfile(depth=1)
    )
    topic._take(bytes(101))
    topic._take(b'\xff' * 50)
    assert reasons == ['some: 101 bytes, at most 100 are read',
                       'some: 50 bytes that are no JointState']  # fmt: skip
