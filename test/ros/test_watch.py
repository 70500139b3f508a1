# SPDX-License-Identifier: Apache-2.0
"""`watch` beside a robot: what a fake one publishes comes out as ticks and seams."""

from __future__ import annotations

import time
from array import array

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')

from async_chunking.live.trace import LiveSeam, LiveStep, Trace
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep
from async_chunking.nodes.tap import Tap, chunk_of, request_of, step_of


def messages(tick: int) -> tuple[ChunkRequest, ActionChunk, ControlStep]:
    """Return a request at tick 0, its chunk half a radian off, and some tick that plays it."""
    request = ChunkRequest(
        run_id=7, request_id=1, tick=0, rows=4, columns=2, previous=array('f', [0.0] * 8),
        execution_horizon=2, policy_rate_hz=50.0, control_rate_hz=50.0,
    )  # fmt: skip
    chunk = ActionChunk(
        run_id=7, request_id=1, rows=4, columns=2, actions=array('f', [0.5, 0.0] * 4)
    )
    step = ControlStep(
        run_id=7, request_id=1, tick=tick, strategy='naive', phase=1, joint_names=['a', 'b'],
        took_over=tick == 1, delay=1 if tick == 1 else -1,
    )  # fmt: skip
    for field in ('command', 'planned', 'measured'):
        setattr(step, field, array('f', [0.5, 0.0]))
    return request, chunk, step


def test_a_robot_is_heard_over_the_network_and_its_seam_is_found(node) -> None:
    trace, steps, seams = Trace(), list[LiveStep](), list[LiveSeam]()

    def on_step(step: LiveStep) -> None:
        steps.append(step)
        if seam := trace.step(step):
            seams.append(seam)

    publishers = [
        node.create_publisher(kind, f'left/{topic}', 10)
        for kind, topic in (
            (ChunkRequest, 'chunk_request'), (ActionChunk, 'action_chunk'),
            (ControlStep, 'control_step'),
        )
    ]  # fmt: skip
    with Tap('left', on_step, trace.request, trace.chunk) as tap:
        deadline = time.monotonic() + 60.0
        while not seams and time.monotonic() < deadline:  # Until they have found each other.
            for publisher, message in zip(publishers, messages(1), strict=True):
                publisher.publish(message)
                tap.listen(0.05)
    assert seams, f'{len(steps)} ticks were heard'
    assert (seams[0].jump, seams[0].joint) == (pytest.approx(0.5), 'a')
    assert seams[0].consistency == pytest.approx(0.25)


def test_messages_that_contradict_themselves_are_left_out() -> None:
    request, chunk, step = messages(1)
    assert None not in (step_of(step), request_of(request), chunk_of(chunk))
    step.command = array('f', [0.5])
    request.rows, chunk.columns = 5, 3
    assert (step_of(step), request_of(request), chunk_of(chunk)) == (None, None, None)
