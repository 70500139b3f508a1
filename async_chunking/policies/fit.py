# SPDX-License-Identifier: Apache-2.0
"""Does a policy fit a robot? Asked before anything moves. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError, StrategyError
from async_chunking.policies.source import PolicySource
from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.strategies import Strategy, check


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


def facts_of(source: PolicySource) -> Facts:
    """Return what there is to know of a policy."""
    return Facts(
        source.title, source.horizon, source.action_dim, source.offers, dict(source.expects),
        source.joint_names, source.policy_rate_hz, dict(source.delays),
    )  # fmt: skip


def made_up(robot: Embodiment) -> dict[str, Any]:
    """Return an observation of the right shapes: zeros, black pictures and a word."""
    found: dict[str, Any] = {}
    for name, stream in robot.observations.items():
        kind = np.uint8 if stream.is_image else np.float64
        found[name] = np.zeros(stream.shape, kind) if stream.shape else 'nothing'
    return found


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
            or its shape differs; names both.
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
    rate = robot.policy.policy_rate_hz
    if facts.policy_rate_hz and not math.isclose(facts.policy_rate_hz, rate):
        msg = (
            f'{facts.title}: the policy was trained on {facts.policy_rate_hz:g} rows a second, '
            f'policy_rate_hz of robot {robot.name} is {rate:g}'
        )
        raise FitError(msg)
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


def rows_in(seconds: float, policy_rate_hz: float) -> int:
    """Return the rows of a chunk that pass in a time [policy steps]."""
    return math.ceil(seconds * policy_rate_hz - 1e-6)


def check_horizon(
    facts: Facts,
    execution_horizon: int,
    delay_s: float,
    policy_rate_hz: float,
    rests: bool = False,
) -> None:
    """
    Refuse a policy whose chunks end before the next can take over.

    Args:
        facts: Of the policy.
        execution_horizon: Rows between two requests.
        delay_s: To be expected [s].
        policy_rate_hz: Rows per second.
        rests: The robot rests while it waits (`sync`), so a chunk may take as long as it likes.

    Raises:
        FitError: Names the horizon and what it would have to be.
    """
    delay = rows_in(delay_s, policy_rate_hz)
    if not 1 <= execution_horizon <= facts.horizon:
        msg = f'execution_horizon must be 1 to the horizon {facts.horizon}'
        msg += f', got {execution_horizon}'
        raise FitError(msg)
    if rests or execution_horizon + delay <= facts.horizon:
        return
    left = facts.horizon - delay
    remedy = (
        f'execution_horizon may be at most {left}'
        if left > 0
        else 'use a policy with longer chunks, make it quicker, or rest meanwhile: strategy:=sync'
    )
    msg = (
        f'{facts.title}: the horizon of {facts.horizon} rows is too short for execution_horizon '
        f'{execution_horizon} + delay {delay} = {execution_horizon + delay} rows (the delay is '
        f'{delay_s * 1e3:.0f} ms at {policy_rate_hz:g} Hz); {remedy}'
    )
    raise FitError(msg)


def check_strategy(
    strategy: Strategy, facts: Facts, robot: Embodiment, execution_horizon: int, delay_s: float
) -> None:
    """
    Refuse a strategy that this policy cannot serve on this robot.

    Args:
        strategy: Resolved.
        facts: Of the policy.
        robot: What it drives.
        execution_horizon: Steps between two requests.
        delay_s: To be expected [s].

    Raises:
        StrategyError: The policy lacks what it needs, the robot's actions mean something else than
            it reads in them, or a constant is wrong.
        FitError: Its checkpoint was not trained for such a delay, or it leaves too few rows.
    """
    check(strategy, facts.offers)
    check_modes(strategy, robot.action_modes)
    delay = rows_in(delay_s, robot.policy.policy_rate_hz)
    for need in sorted(strategy.needs & set(facts.delays)):
        longest = facts.delays[need][1]
        if delay > longest:
            msg = (
                f"{facts.title}: the checkpoint of strategy '{strategy.name}' was trained for "
                f'delays up to {longest} steps, the delay is {delay}; train it with a higher '
                'max_delay'
            )
            raise FitError(msg)
    text = dict(strategy.constants).get('quantization', '1')
    quantization = int(text) if text.isdecimal() else 0
    if quantization < 1:
        msg = f"strategy '{strategy.name}': quantization must be 1 or more rows, not '{text}'"
        raise StrategyError(msg)
    rows = facts.horizon // quantization
    if rows < execution_horizon:
        msg = (
            f"strategy '{strategy.name}' leaves {rows} rows of a chunk of {facts.horizon}, fewer "
            f'than execution_horizon {execution_horizon}'
        )
        raise FitError(msg)


def check_modes(strategy: Strategy, modes: ActionModes) -> None:
    """
    Refuse a strategy that reads states in the old plan where its rows are none.

    Raises:
        StrategyError: It is one.
    """
    if 'recipe:vlash' not in strategy.needs:
        return
    if not modes.trivial:
        msg = (
            f"strategy '{strategy.name}' takes the old plan's rows for states, but action modes "
            f'are {", ".join(sorted(set(modes.modes)))}; it needs a policy of absolute positions'
        )
        raise StrategyError(msg)
    if dict(strategy.constants).get('mode') == 'delta':
        msg = (
            f"strategy '{strategy.name}' adds the old plan's rows up, but they are absolute "
            'positions here; leave mode=delta to code that draws chunks of increments itself'
        )
        raise StrategyError(msg)


def _shown(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape)) if shape else 'text'
