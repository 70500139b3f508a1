# SPDX-License-Identifier: Apache-2.0
"""What the executor node says of the last second: the cause, not what followed of it."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from async_chunking.nodes.executor_state import ExecutorState


def test_what_is_wrong_in_a_chunk_comes_before_what_followed_of_it() -> None:
    """A chunk outside the limits is asked for again, and its answer may come twice."""
    reason = 'row 3 has finger at 0.6, its limits are 0 to 0.04'
    intake = SimpleNamespace(reasons={'over_limits': reason}, delay=0)
    status, situation = (
        SimpleNamespace(trouble='', strategy='paint'),
        SimpleNamespace(refusal='', trouble=''),
    )

    def told(**counts: int) -> str:
        trouble = ExecutorState._trouble(None, Counter(counts), status, intake, situation)
        assert trouble is not None
        return trouble[1]

    assert told(unrequested=2, over_limits=30) == f'over_limits (30): {reason}'
    assert told(unrequested=2).startswith('unrequested (2): No request')
    assert told(correction_over_limits=7).startswith('correction_over_limits (7): corrected actio')


def test_a_delay_that_does_not_fit_is_told_with_its_remedy() -> None:
    status, situation = (
        SimpleNamespace(trouble='', strategy='paint'),
        SimpleNamespace(refusal='', trouble=''),
    )

    def told(delay: int) -> str:
        state = SimpleNamespace(_config=SimpleNamespace(execution_horizon=8, horizon=16))
        intake = SimpleNamespace(reasons={}, delay=delay)
        trouble = ExecutorState._trouble(state, Counter(), status, intake, situation)
        return trouble[1] if trouble else ''

    assert told(8) == ''
    status.strategy = 'sync'  # It rests, as the remedy says.
    assert told(9) == told(40) == ''
    status.strategy = 'paint'
    assert told(9).endswith('rest meanwhile: strategy sync')
    state = SimpleNamespace(_config=SimpleNamespace(execution_horizon=12, horizon=16))
    intake = SimpleNamespace(reasons={}, delay=5)
    trouble = ExecutorState._trouble(state, Counter(), status, intake, situation)
    assert trouble is not None
    assert trouble[1].endswith('set execution_horizon between 5 and 11')
