# SPDX-License-Identifier: Apache-2.0
"""Some of the faults, in real processes; `python -m tools faults` plays all, and for longer."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not here: `make setup`')
pytest.importorskip('async_chunking.msg', reason='the messages are not built: `make setup`')

from tools.faults.session import play

NAMES = ('policy killed', 'chunks not finite', 'second publisher', 'mutated chunks on the wire')
# How many deadlines are met says something about the machine that the tests run on.
OF_THE_MACHINE = 'at most 1 % missed'


@pytest.fixture(scope='module')
def verdicts(ros_domain_id) -> dict:
    """Play all faults with one robot."""
    return {verdict.name: verdict for verdict in play(NAMES, 2.0, 0, lambda _: None)}


@pytest.mark.parametrize('name', NAMES)
def test_the_stream_survives(name: str, verdicts: dict) -> None:
    verdict = verdicts[name]
    failed = [check for check, holds in verdict.checks.items() if not holds]
    assert set(failed) <= {OF_THE_MACHINE}, verdict
    assert verdict.done.count > 0
    assert verdict.ticks > 100


def test_timers_of_nodes_are_on_the_steady_clock(ros_domain_id) -> None:
    """A wall clock that is set back an hour must not silence /diagnostics for an hour."""
    import rclpy
    from rclpy.clock import ClockType

    from async_chunking.nodes.delay_monitor_node import DelayMonitorNode

    rclpy.init()
    try:
        node = DelayMonitorNode()
        timer = node.create_timer(1.0, lambda: None)
        assert timer.clock.clock_type == ClockType.STEADY_TIME
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
