# SPDX-License-Identifier: Apache-2.0
"""What the commands for a running robot send, and what they refuse before they look for one."""

from __future__ import annotations

import pytest

from async_chunking.commands.control import changeable, lines, read
from async_chunking.errors import AsyncChunkingError


def test_each_parameter_that_may_change_goes_to_the_node_that_has_it() -> None:
    assert read('strategy', 'rtc') == ('executor', 'rtc')
    assert read('latency_ms', '100+-20') == ('policy', '100+-20')
    assert read('instruction', 'open the drawer') == ('policy', 'open the drawer')
    assert set(changeable()) == {'strategy', 'latency_ms', 'instruction'}


def test_what_cannot_change_is_refused_with_what_can() -> None:
    with pytest.raises(
        AsyncChunkingError, match=r"'horizon'\. Choices: instruction, latency_ms, s"
    ):
        read('horizon', '16')


def test_a_robot_is_shown_node_by_node_without_what_never_happened() -> None:
    reports = {
        'sim': {'says': 'the episode is over', 'episodes': '3'},
        'executor': {'says': 'executing', 'tick': '40', 'flood': '0', 'strategy': 'rtc'},
    }
    assert [line.split() for line in lines(reports)] == [
        ['executor:', 'executing'], ['tick', '40'], ['strategy', 'rtc'],
        ['sim:', 'the', 'episode', 'is', 'over'], ['episodes', '3'],
    ]  # fmt: skip
