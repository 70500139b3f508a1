# SPDX-License-Identifier: Apache-2.0
"""A robot that does not start says why, the true cause first."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.processes import Processes
from async_chunking.bringup.start_failure import start_failure

LOCAL = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
REJECTED = 'over_limits (30): row 3 has finger at 0.6, its limits are 0 to 0.04'
SILENT = 'waiting for joint_states: no message'
LACKS = 'waiting for joint_states: joint_states lacks j7; it has j1, j2'


@pytest.mark.parametrize(
    ('said', 'ticks', 'environment', 'begins', 'lacks'),
    [
        ({'policy': '', 'executor': REJECTED}, 100, LOCAL, f'executor: {REJECTED}', 'LOCALHOST'),
        ({'policy': 'slow', 'executor': REJECTED}, 9, {}, f'executor: {REJECTED} (policy: slow)',
         'start_timeout_s'),
        ({'executor': LACKS, 'policy': ''}, 0, LOCAL, f'executor: {LACKS}', 'LOCALHOST'),
        ({'executor': SILENT}, 0, LOCAL,
         f'executor: {SILENT}; ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST hides what runs on other',
         'start_timeout_s'),
        ({'executor': SILENT}, 0, {'ROS_LOCALHOST_ONLY': '1'},
         f'executor: {SILENT}; ROS_LOCALHOST_ONLY=1 hides', 'start_timeout_s'),
        ({}, 0, {'ROS_DOMAIN_ID': '7'}, 'nothing was heard of its nodes (ROS_DOMAIN_ID=7)',
         'hides'),
        ({'executor': '', 'policy': 'camera was not received'}, 50, {},
         'policy: camera was not received', 'start_timeout_s'),
    ],
)  # fmt: skip
def test_the_true_cause_comes_first(said, ticks, environment, begins, lacks):
    sentence = start_failure(30.0, said, ticks, environment)
    assert sentence.startswith(f'no chunk was executed within 30 s: {begins}')
    assert lacks not in sentence


def test_a_robot_without_trouble_may_need_more_time():
    sentence = start_failure(30.0, {'executor': '', 'policy': ''}, 50, LOCAL)
    assert sentence == (
        'no chunk was executed within 30 s; a large policy takes longer: set start_timeout_s'
    )


@pytest.mark.parametrize(
    ('status', 'left', 'sentence'),
    [
        (2, 'printf "too slow" > "$ASYNC_CHUNKING_REASON"', 'policy could not start: too slow'),
        (2, ':', 'policy could not start'),
        (1, 'printf "the disk is full" > "$ASYNC_CHUNKING_REASON"',
         'policy ended with status 1: the disk is full'),
    ],
)  # fmt: skip
def test_a_node_that_ends_says_why(tmp_path: Path, status: int, left: str, sentence: str) -> None:
    program = tmp_path / 'python'
    program.write_text(f'#!/bin/sh\n{left}\nexit {status}\n')
    program.chmod(0o755)
    with Processes([NodeSpec('policy_node', 'policy', python=str(program))], '', 'info') as nodes:
        deadline = time.monotonic() + 60.0
        while not (ended := nodes.look_after()) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert ended == sentence
