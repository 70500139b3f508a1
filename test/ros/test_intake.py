# SPDX-License-Identifier: Apache-2.0
"""What the executor node makes of what it hears: of chunks, of streams, of the delay."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from async_chunking.correctors import Corrector
from async_chunking.executor import Admitted, Behaviour, ExecutorConfig, Outcome
from async_chunking.mergers import MERGERS
from async_chunking.msg import ActionChunk, DelayEstimate
from async_chunking.nodes.intake import Intake
from async_chunking.nodes.qos import LATCHED
from async_chunking.nodes.sender.values import Known
from async_chunking.robot.embodiment import Stream, load

FORCE = Stream(kind='float64_multi_array', topic='force', size=2)
STALE_NS = 500_000_000


class IntakeBench:
    """An intake, what its sender is given, and peers."""

    def __init__(self, node: Node, spin_until: Callable) -> None:
        self.delivered: list[Admitted] = []
        self.now_ns = 0
        robot = load('viperx', sim=True)
        self.robot, self._spin_until = robot, spin_until
        config = ExecutorConfig(robot.limits, robot.joint_names, 16, 8)
        sender = SimpleNamespace(
            deliver=lambda admitted: self.delivered.append(admitted) or True, tell=self._tell
        )
        watch = SimpleNamespace(forget=lambda: None, add=lambda *_: None, pose=None, reason='')
        self.intake = Intake(
            node, robot, config, {'force': FORCE}, (), lambda: self.now_ns, STALE_NS * 1e-9, watch,
            sender, lambda _: None,
        )  # fmt: skip
        self._policy = node.create_publisher(ActionChunk, 'action_chunk', 2)
        spin_until(self._policy.get_subscription_count, 'it listens')

    def _tell(self, known: Known) -> None:
        self.known = known

    def believe(self, *names: str) -> None:
        for name in names:
            self.intake.believe(Behaviour(name, MERGERS['switch'](), Corrector()))

    def asked_with(self, strategy: str) -> str | None:
        """Return the strategy that a chunk is taken to be asked with."""
        rows = np.full((16, len(self.robot.joints)), 0.03)
        before = len(self.delivered)
        self._policy.publish(
            ActionChunk(
                run_id=1, request_id=1, strategy=strategy, joint_names=self.robot.joint_names,
                rows=rows.shape[0], columns=rows.shape[1], actions=rows.ravel().tolist(),
            )
        )  # fmt: skip
        self._spin_until(lambda: len(self.delivered) > before, 'it is delivered')
        assert self.delivered[-1].outcome is Outcome.ACCEPTED
        return self.delivered[-1].strategy


@pytest.fixture
def bench(node: Node, spin_until: Callable) -> IntakeBench:
    return IntakeBench(node, spin_until)


def test_an_answer_is_refined_as_it_was_asked_for(bench: IntakeBench) -> None:
    bench.believe('first', 'second')
    assert bench.asked_with('first') == 'first'
    assert bench.asked_with('') == 'second'  # Who does not say answers the newest.
    assert bench.asked_with('third') == ''  # Nothing was asked for with it.


def test_only_the_newest_behaviours_are_kept(bench: IntakeBench) -> None:
    bench.believe(*map(str, range(9)), '1')
    assert bench.asked_with('0') == ''
    assert bench.asked_with('1') == bench.asked_with('') == '1'
    bench.believe('9')
    assert [bench.asked_with(name) for name in '123'] == ['1', '', '3']


def test_a_stream_that_went_silent_corrects_nothing(
    bench: IntakeBench, node: Node, spin_until: Callable
) -> None:
    """The corrector of a robot is given what its streams say, while they say it."""
    sensor = node.create_publisher(Float64MultiArray, 'force', 1)
    spin_until(sensor.get_subscription_count, 'it listens')
    sensor.publish(Float64MultiArray(data=[1.0, 2.0]))

    def told() -> dict[str, list[float]]:
        bench.intake.poll()
        return {name: values.tolist() for name, values in bench.known.observation.items()}

    spin_until(told, 'the stream is heard')
    bench.now_ns = STALE_NS
    assert told() == {'force': [1.0, 2.0]}  # As old as allowed.
    bench.now_ns += 1_000_000
    assert told() == {}


def test_a_delay_beyond_the_horizon_is_cut_to_it(
    bench: IntakeBench, node: Node, spin_until: Callable
) -> None:
    node.create_publisher(DelayEstimate, 'delay_estimate', LATCHED).publish(
        DelayEstimate(delay=2**31)
    )
    spin_until(lambda: bench.intake.delay, 'the estimate is heard')
    bench.intake.poll()
    assert bench.intake.delay == bench.known.delay == 16
