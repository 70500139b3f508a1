# SPDX-License-Identifier: Apache-2.0
"""The policy of a robot without one: where its waves begin, how far they go, how they differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.policies.wave import WavePolicy, circles, open_policy
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.settings import config_names

NAME = 'observation.state'
ROBOTS = config_names()


def opened(robot: Embodiment) -> WavePolicy:
    source = open_policy(PolicySpec(robot, PolicyOptions(policy='wave')))
    return source.policy_for(None)


def sampled(policy: WavePolicy, state: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return chunks [B, H, D] by many small steps."""
    encoding, steps = policy.encode({NAME: state}), 400
    actions = noise
    for step in range(steps):
        time = torch.full((len(noise),), step / steps)
        actions = actions + policy.velocity(actions, time, encoding) / steps
    return policy.denormalize(actions, {NAME: state})


@pytest.mark.parametrize('name', ROBOTS)
def test_waves_stay_inside_the_limits_of_every_robot(name: str) -> None:
    robot = load(name)
    centre, swing = circles(robot)
    limits, rate = robot.limits, math.pi / 2.0
    assert (swing > 0.0).all()
    assert (centre - swing >= limits.lower).all()
    assert (centre + swing <= limits.upper).all()
    assert (swing * rate < 0.5 * limits.velocity).all()
    assert (swing * rate**2 < 0.5 * limits.acceleration).all()


def test_a_wave_goes_on_as_it_was_seen_to_move() -> None:
    """The mean of chunks, a joint moving through its middle, is the sine that it is on."""
    robot = load('viperx', sim=True)
    policy = opened(robot)
    centre, swing = (torch.from_numpy(v).float() for v in circles(robot))
    rate, period = math.pi / 2.0, 1.0 / 50.0
    state = torch.stack([centre - swing * math.sin(rate * period), centre])[None]
    rows = torch.sin(rate * period * torch.arange(policy.horizon))[:, None]
    mean = policy.denormalize(policy.encode({NAME: state}), {NAME: state})[0]
    torch.testing.assert_close(mean, centre + swing * rows, atol=2e-3, rtol=0.0)
    before = centre - swing * torch.sin(rate * period * torch.arange(5, -1, -1.0))[:, None]
    longer = policy.encode({NAME: before[None]})  # The same motion, seen for longer.
    torch.testing.assert_close(longer[0] * swing + centre, mean, atol=2e-3, rtol=0.0)


def test_a_chunk_goes_on_as_the_one_before_would_have() -> None:
    """Seen ten rows later on its own plan, from wherever it began, the policy plans the same."""
    policy = opened(load('viperx', sim=True))
    centre, swing = (torch.from_numpy(v).float() for v in circles(load('viperx', sim=True)))
    states = centre + swing * torch.tensor([0.30, 0.31])[:, None]
    plan = policy.encode({NAME: states[None]})[0]
    later = policy.encode({NAME: (centre + swing * plan[9:11])[None]})[0]
    torch.testing.assert_close(later[: len(plan) - 10], plan[10:], atol=0.03, rtol=0.0)


def test_chunks_begin_where_the_joints_are_and_differ_later() -> None:
    policy = opened(load('viperx', sim=True))
    centre, swing = circles(load('viperx', sim=True))
    state = torch.from_numpy(np.stack([centre, centre])).float()[None].expand(200, -1, -1)
    noise = torch.randn(200, policy.horizon, 7, generator=torch.Generator().manual_seed(0))
    chunks = (sampled(policy, state, noise).numpy() - centre) / swing
    spread = chunks.std(axis=0)
    assert abs(chunks[:, 0].mean(axis=0)).max() < 0.02
    assert (spread[0] < 0.05).all()
    angle = math.pi / 2.0 / 50.0 * (policy.horizon - 1)
    np.testing.assert_allclose(spread[-1], 0.4 * math.sin(angle), rtol=0.25)


def test_one_moment_is_one_of_rest() -> None:
    """Made-up requests, before there is a past, have one."""
    policy = opened(load('viperx', sim=True))
    state = torch.full((3, 7), 0.05)
    torch.testing.assert_close(
        policy.encode({NAME: state}), policy.encode({NAME: state[:, None].expand(-1, 2, -1)})
    )


def test_policies_speak_the_numbers_that_the_robot_reads() -> None:
    robot = load('viperx', sim=True)
    delta = robot.model_copy(
        update={'groups': tuple(g.model_copy(update={'mode': 'delta'}) for g in robot.groups)}
    )
    state = torch.full((1, 2, 7), 0.05)
    actions = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(0))
    plain, offsets = (opened(r).denormalize(actions, {NAME: state}) for r in (robot, delta))
    torch.testing.assert_close(offsets, plain - 0.05)
    torch.testing.assert_close(opened(delta).normalize(offsets, {NAME: state}), actions)


def test_a_robot_that_observes_no_joints_is_told_what_to_add() -> None:
    robot = load('viperx', sim=True)
    blind = robot.model_copy(update={'observations': {}})
    with pytest.raises(AsyncChunkingError, match=r'observation\.state: \{kind: measured, size: 7'):
        opened(blind)
