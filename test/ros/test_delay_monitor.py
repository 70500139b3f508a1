# SPDX-License-Identifier: Apache-2.0
"""The delay monitor: warm-up, refusals, and peers that say what cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip('rclpy')

from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep  # noqa: E402
from async_chunking.nodes.delay_monitor_node import DelayMonitorNode  # noqa: E402


class Monitor:
    """The node, and what it publishes."""

    def __init__(self) -> None:
        self.node = DelayMonitorNode()
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.estimates: list = []
        self.node._estimates.publish = self.estimates.append

    def chunk(self, number: int, ticks: int, run: int = 1, **changes: object) -> None:
        """Let a chunk be asked for, answered, and take over `ticks` later."""
        rates = {'control_rate_hz': 50.0, 'policy_rate_hz': 25.0}
        tick = number * 100
        self.node._on_request(ChunkRequest(run_id=run, request_id=number, tick=tick, **rates))
        answer = {'waiting_duration': 0.01, 'inference_duration': 0.02, 'observation_age': 0.03}
        self.node._on_chunk(ActionChunk(run_id=run, request_id=number, **answer))
        self.takeover(number, ticks, run, **changes)

    def takeover(self, number: int, ticks: int, run: int = 1, **changes: object) -> None:
        step = {'took_over': True, 'delay': -(-ticks // 2), **changes}
        self.node._on_step(
            ControlStep(run_id=run, request_id=number, tick=number * 100 + ticks, **step)
        )


@pytest.fixture
def monitor(ros_domain_id) -> Iterator[Monitor]:
    rclpy.init(args=[])
    monitor = Monitor()
    yield monitor
    monitor.node.end()
    rclpy.shutdown()


def test_the_first_chunk_of_a_run_counts_only_while_there_is_no_other(monitor) -> None:
    monitor.chunk(1, 40)  # Cold: 0.8 s.
    assert monitor.estimates[-1].delay_seconds == pytest.approx(0.8)
    assert (monitor.estimates[-1].samples, monitor.estimates[-1].warmup_excluded) == (0, 1)
    monitor.chunk(2, 5)
    assert monitor.estimates[-1].delay_seconds == pytest.approx(0.1)
    assert (monitor.estimates[-1].samples, monitor.estimates[-1].warmup_excluded) == (1, 1)
    assert monitor.estimates[-1].delay == 3  # 2.5 rows of 40 ms.
    monitor.chunk(1, 50, run=2)  # A new run is cold again.
    assert monitor.estimates[-1].delay_seconds == pytest.approx(0.1)
    assert monitor.estimates[-1].warmup_excluded == 2


def test_a_takeover_is_told_with_its_parts_and_the_delay_as_it_was_counted(
    monitor,
) -> None:
    monitor.chunk(1, 5)
    told = monitor.estimates[-1]
    assert (told.run_id, told.request_id, told.last_delay) == (1, 1, 3)
    parts = (told.last_total, told.last_waiting, told.last_inference, told.last_transport)
    assert parts == pytest.approx((0.1, 0.01, 0.02, 0.07))
    assert told.last_observation_age == pytest.approx(0.03)


def test_a_refusal_is_no_answer(monitor) -> None:
    request = ChunkRequest(run_id=1, request_id=1, tick=100, control_rate_hz=50.0)
    request.policy_rate_hz = 25.0
    monitor.node._on_request(request)
    monitor.node._on_chunk(ActionChunk(run_id=1, request_id=1, refusal='no', inference_duration=9))
    monitor.takeover(1, 5)
    assert monitor.estimates[-1].last_inference != 9.0


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan'), float('inf'), 1e300])
def test_a_peer_that_says_impossible_rates_changes_none(monitor, rate: float) -> None:
    monitor.chunk(1, 5)
    request = ChunkRequest(run_id=1, request_id=2, tick=200, policy_rate_hz=rate)
    request.control_rate_hz = 50.0
    monitor.node._on_request(request)
    monitor.takeover(2, 5)
    assert monitor.estimates[-1].delay == 3


def test_a_peer_that_says_a_negative_delay_stops_nothing(monitor) -> None:
    monitor.chunk(1, 5, delay=-7)
    assert monitor.estimates[-1].last_delay == 0


def test_who_is_inactive_measures_and_says_nothing(monitor) -> None:
    monitor.node.trigger_deactivate()
    monitor.chunk(1, 5)
    monitor.chunk(2, 5)
    assert monitor.estimates == []
    monitor.node.trigger_activate()
    monitor.chunk(3, 5)
    assert [told.samples for told in monitor.estimates] == [2]
