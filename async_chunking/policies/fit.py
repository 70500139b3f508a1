# SPDX-License-Identifier: Apache-2.0
"""Does a policy fit a robot? Asked before anything moves. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.source import PolicySource
from async_chunking.robot.embodiment import Embodiment, Stream


class FitError(AsyncChunkingError):
    """A policy does not fit the robot, or the time it takes."""


@dataclass(frozen=True)
class Facts:
    """What is known of a policy without loading it; fields as in `PolicySource`."""

    title: str
    horizon: int
    action_dim: int
    offers: frozenset[str] = frozenset()
    expects: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    joint_names: tuple[str, ...] = ()
    policy_rate_hz: float = 0.0
    delays: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    anchored: bool = False


def facts_of(source: PolicySource) -> Facts:
    """Return what there is to know of a policy."""
    return Facts(
        source.title, source.horizon, source.action_dim, source.offers, dict(source.expects),
        source.joint_names, source.policy_rate_hz, dict(source.delays), source.anchored,
    )  # fmt: skip


def example_observation(robot: Embodiment) -> dict[str, Any]:
    """Return an observation of the right shapes: zeros, black pictures and a word."""
    observation: dict[str, Any] = {}
    for name, stream in robot.observations.items():
        kind = np.uint8 if stream.is_image else np.float64
        observation[name] = np.zeros(stream.shape, kind) if stream.shape else 'nothing'
    return observation


def read_streams(facts: Facts, robot: Embodiment) -> dict[str, Stream]:
    """Return what a policy reads of a robot; everything if it does not say."""
    return {n: s for n, s in robot.observations.items() if n in (facts.expects or {n})}


def check_instruction(streams: Mapping[str, Stream], instruction: str) -> None:
    """
    Refuse an empty instruction if it is read.

    Raises:
        FitError: Names the stream.
    """
    for name, stream in streams.items():
        if stream.kind == 'text' and not (stream.topic or instruction.strip()):
            msg = f"'{name}' is the parameter instruction, which is empty: say what to do"
            raise FitError(msg)


def check_fit(facts: Facts, robot: Embodiment) -> None:
    """
    Refuse a policy of another robot.

    Raises:
        FitError: The action dimension, the order of the joints, the policy rate, an observation
            or its shape differs, or actions would be counted from other joints; names both.
    """
    joints = len(robot.joints)
    if facts.action_dim != joints:
        msg = (
            f'{facts.title}: the policy has {facts.action_dim} action dimensions, robot '
            f'{robot.name} has {joints} joints'
        )
        raise FitError(msg)
    names = robot.joint_names
    if facts.joint_names != names and set(facts.joint_names) == set(names):
        msg = (
            f'{facts.title}: the policy has the joints in the order {", ".join(facts.joint_names)}'
            f', robot {robot.name} in the order {", ".join(names)}'
        )
        raise FitError(msg)
    if facts.anchored and not robot.action_modes.in_order:
        state = robot.observations['observation.state'].joints or ()
        msg = (
            f"{facts.title}: the policy counts actions from 'observation.state', which has "
            f'{", ".join(state)}; robot {robot.name} has {", ".join(names)}, in this order'
        )
        raise FitError(msg)
    rate = robot.policy.policy_rate_hz
    if facts.policy_rate_hz and not math.isclose(facts.policy_rate_hz, rate):
        msg = (
            f'{facts.title}: the policy was trained on {facts.policy_rate_hz:g} rows a second, '
            f'policy_rate_hz of robot {robot.name} is {rate:g}'
        )
        raise FitError(msg)
    _check_streams(facts, robot)


def _check_streams(facts: Facts, robot: Embodiment) -> None:
    streams = robot.observations
    for name, shape in facts.expects.items():
        if name not in streams:
            msg = (
                f"{facts.title}: the policy reads '{name}' ({_shown(shape)}), robot {robot.name} "
                f'has only {", ".join(streams)}; add it to `observations` in the YAML'
            )
            raise FitError(msg)
        if tuple(shape) != streams[name].shape:
            remedy = '; set `resize` in the YAML' if streams[name].is_image else ''
            msg = (
                f"{facts.title}: the policy reads '{name}' as {_shown(shape)}, robot {robot.name} "
                f'has it as {_shown(streams[name].shape)}{remedy}'
            )
            raise FitError(msg)


def _shown(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape)) if shape else 'text'
