# SPDX-License-Identifier: Apache-2.0
"""What is published of a tick, number by number."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('async_chunking.msg')

from async_chunking.executor import REJECTIONS, Phase, Step
from async_chunking.nodes.control_step import ControlStepWriter

COUNTERS = {
    'late': 1, 'expired': 2, 'accepted': 100, 'starved_ticks': 3, 'missed_ticks': 4,
    'limited_ticks': 5, 'wrong_run': 10, 'not_finite': 20,
}  # fmt: skip


def test_a_step_is_told_as_it_was() -> None:
    step = Step(
        7, Phase.EXECUTING, np.array([1.0, 2.0]), np.array([3.0, 4.0]), 9, 2.5,
        took_over=True, delay=3, limited=True,
    )  # fmt: skip
    executor = SimpleNamespace(
        run_id=11, behaviour=SimpleNamespace(name='paint'), counters=Counter(COUNTERS)
    )
    measured = SimpleNamespace(received_ns=1_000_000_000, values=np.array([5.0, 6.0]))
    message = ControlStepWriter(('a', 'b')).write(step, executor, measured, 1_250_000_000)
    assert (message.run_id, message.strategy, message.tick, message.phase) == (11, 'paint', 7, 1)
    assert (list(message.command), list(message.planned)) == ([1.0, 2.0], [3.0, 4.0])
    assert list(message.measured) == [5.0, 6.0]
    assert message.measured_age == pytest.approx(0.25)
    assert (message.request_id, message.row, message.delay) == (9, 2.5, 3)
    assert (message.took_over, message.limited, message.missed) == (True, True, False)
    assert message.late_chunks == 3  # Too late to be used at all counts too.
    assert {'wrong_run', 'not_finite'} <= set(REJECTIONS)
    assert message.rejected_chunks == 30
    counted = (message.starved_ticks, message.missed_ticks, message.limited_ticks)
    assert counted == (3, 4, 5)


def test_joints_that_were_never_measured_are_no_numbers() -> None:
    nothing = np.full(2, np.nan)
    step = Step(0, Phase.WAITING_FIRST, np.zeros(2), nothing, 0, math.nan, False, -1, False)
    executor = SimpleNamespace(
        run_id=1, behaviour=SimpleNamespace(name='naive'), counters=Counter()
    )
    message = ControlStepWriter(('a', 'b')).write(step, executor, None, 0)
    assert np.isnan(message.measured).all()
    assert np.isnan(message.planned).all()
    assert math.isnan(message.measured_age)
    assert message.late_chunks == message.rejected_chunks == 0
