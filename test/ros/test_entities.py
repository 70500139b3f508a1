# SPDX-License-Identifier: Apache-2.0
"""What a node undoes, and which clock its timers have."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip('rclpy')

from rclpy._rclpy_pybind11 import RCLError  # noqa: E402
from rclpy.clock import ClockType  # noqa: E402
from rclpy.publisher import Publisher  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from async_chunking.nodes.delay_monitor_node import DelayMonitorNode  # noqa: E402
from async_chunking.nodes.diagnostics import OK, Diagnostics  # noqa: E402
from async_chunking.nodes.entities import EntityNode  # noqa: E402


@pytest.fixture
def made(ros_domain_id) -> Iterator[EntityNode]:
    rclpy.init(args=[])
    node = EntityNode('made')
    yield node
    node.destroy_node()
    rclpy.shutdown()


def entities(node: EntityNode) -> tuple[int, ...]:
    kinds = (node.publishers, node.subscriptions, node.timers, node.services, node.clients)
    return tuple(len(list(kind)) for kind in kinds)


def test_what_was_created_is_destroyed_and_what_every_node_has_is_kept(made: EntityNode) -> None:
    before = entities(made)
    made.create_publisher(String, 'a', 1)
    made.create_subscription(String, 'b', print, 1)
    timer = made.create_timer(1.0, print)
    made.create_service(Trigger, 'c', print)
    made.create_client(Trigger, 'd')
    assert timer.clock.clock_type == ClockType.STEADY_TIME  # The wall clock may be set.
    assert entities(made) == tuple(count + 1 for count in before)
    made.destroy_entities()
    assert entities(made) == before


def test_what_the_middleware_refuses_is_counted_and_ends_nothing(made, monkeypatch) -> None:
    """As beyond 2038, whoever publishes: a thread of the simulator, a timer, diagnostics."""

    def refuse(*_):
        raise RCLError('cannot publish data')

    said: list[str] = []
    publisher, diagnostics = made.create_publisher(String, 'a', 1), Diagnostics(made, 'robot')
    monkeypatch.setattr(Publisher, 'publish', refuse)
    publisher.publish(String())
    diagnostics.publish(OK, '', {})
    monkeypatch.setattr(Publisher, 'publish', lambda _, array: said.extend(array.status[0].values))
    diagnostics.publish(OK, '', {})
    assert [(value.key, value.value) for value in said] == [('publish_errors', '2')]


def test_a_node_that_ended_is_gone_from_the_network(ros_domain_id) -> None:
    """Its participant has threads, which a node that is kept somewhere would keep."""
    gc.collect()
    before = threads()
    for _ in range(3):
        rclpy.init(args=[])
        node = DelayMonitorNode()
        node.begin()
        alive = threads()
        assert alive > before + 3  # So many at most does the middleware keep, once a process.
        node.end()
        rclpy.shutdown()
        del node
        assert settled(before + 3) <= before + 3


def threads() -> int:
    """Return how many threads this process has, those of the middleware included."""
    return len(list(Path('/proc/self/task').iterdir()))


def settled(most: int) -> int:
    """Return how many threads there are once they are at most so many, or ten seconds later."""
    deadline = time.monotonic() + 10.0
    while threads() > most and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    return threads()
