# SPDX-License-Identifier: Apache-2.0
"""What a policy is given: nothing too old, its past in order, and ages that are told."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip('rclpy')

from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.observations.inputs import PolicyInputs
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.observations.sample import Sample
from async_chunking.robot.embodiment import Stream, load

MS = 1_000_000
STREAMS = {
    'state': Stream(kind='measured', size=7),
    'scene': Stream(kind='float64_multi_array', topic='scene', size=1),
    'task': Stream(kind='text'),
}


@pytest.fixture
def observations(node) -> Observations:
    return Observations(node, STREAMS, load('viperx'), lambda: 0)


def inputs(observations: Observations, steps: int = 1) -> PolicyInputs:
    return PolicyInputs(observations, STREAMS, steps, 0.02, 'lerobot')


def put(observations: Observations, at_ms: int, value: float) -> None:
    observations.put('state', Sample(at_ms * MS, np.full(7, value)))
    observations.put('scene', Sample(at_ms * MS, np.array([value])))


def test_an_observation_may_be_as_old_as_allowed_and_no_older(observations) -> None:
    observations.put('task', Sample(0, 'wave'))  # TimedMessage once, an hour ago.
    hour = 3_600_000
    put(observations, hour, 1.0)
    seen = inputs(observations)
    samples = observations.newest((hour + 500) * MS)
    values = seen.values(samples, (hour + 500) * MS, 0.5)
    assert (values['scene'].tolist(), values['task']) == ([1.0], 'wave')
    with pytest.raises(AsyncChunkingError, match=r'state .* is 0\.51 s old, at most 0\.5 s'):
        seen.values(samples, (hour + 510) * MS, 0.5)


def test_a_stream_that_was_never_heard_is_named(observations) -> None:
    put(observations, 0, 1.0)
    with pytest.raises(AsyncChunkingError, match=r'task \(instruction\) was not received'):
        inputs(observations).values(observations.newest(MS), MS, 1.0)


def test_the_past_is_one_policy_step_apart_and_ends_with_the_newest(observations) -> None:
    for at_ms in range(0, 101, 10):
        put(observations, at_ms, float(at_ms))
    past = inputs(observations, steps=3).with_past('scene', np.array([100.0]), 100 * MS)
    assert past[:, 0].tolist() == [60.0, 80.0, 100.0]
    early = inputs(observations, steps=3).with_past('scene', np.array([10.0]), 10 * MS)
    assert early[:, 0].tolist() == [10.0, 10.0, 10.0]  # Nothing was there two steps before.
    assert inputs(observations, steps=3).with_past('task', 'wave', 100 * MS) == 'wave'
    alone = inputs(observations).with_past('scene', np.array([100.0]), 100 * MS)
    assert alone.tolist() == [100.0]


def test_the_age_that_counts_is_that_of_the_oldest_but_for_texts(observations) -> None:
    observations.put('task', Sample(0, 'wave'))
    observations.put('state', Sample(900 * MS, np.zeros(7)))
    observations.put('scene', Sample(970 * MS, np.zeros(1)))
    ages, oldest = inputs(observations).ages(observations.newest(1000 * MS), 1000 * MS)
    assert ages == pytest.approx({'task': 1.0, 'state': 0.1, 'scene': 0.03})
    assert oldest == pytest.approx(0.1)
    nothing = dict.fromkeys(STREAMS)
    assert inputs(observations).ages(nothing, 0)[0] == {}
    assert math.isnan(inputs(observations).ages(nothing, 0)[1])
