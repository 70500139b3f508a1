# SPDX-License-Identifier: Apache-2.0
"""A policy made ready for a robot: opened, seen to fit, warm, and quick enough."""

from __future__ import annotations

from dataclasses import dataclass

from async_chunking.bringup.parameters import PolicyParameters
from async_chunking.policies.fit import (
    Facts,
    check_fit,
    check_instruction,
    example_observation,
    facts_of,
    read_streams,
)
from async_chunking.policies.placed import Placement
from async_chunking.policies.responder import Responder
from async_chunking.policies.source import PolicySource
from async_chunking.policies.strategy_fit import Timing, check_strategy
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.strategies import resolve

MEASURED = 'measured joints'  # A stream of the node's own, to translate actions with.
_PLACEMENT = ('device', 'precision', 'compile')  # As in `Placement`.


@dataclass(frozen=True)
class ReadyPolicy:
    """
    A policy that fits the robot and has answered made-up requests.

    Attributes:
        facts: What it states of itself.
        streams: Name -> stream of the robot that it reads; `MEASURED` is for the node.
        responder: Answers requests.
    """

    facts: Facts
    streams: dict[str, Stream]
    responder: Responder


def make_ready(
    source: PolicySource,
    parameters: PolicyParameters,
    robot: Embodiment,
    latency_s: float,
    measure: bool,
) -> ReadyPolicy:
    """
    See whether a policy fits, let it answer made-up requests, and see whether it is quick enough.

    Args:
        source: Opened.
        parameters: Parameters of the node.
        robot: That the policy shall drive.
        latency_s: That it shall seem to take [s].
        measure: Whether it counts how long the made-up requests took; not on simulated time.

    Raises:
        AsyncChunkingError: It does not fit, or cannot serve the strategy, or not with the delay.
    """
    facts = facts_of(source)
    check_fit(facts, robot)
    streams = dict(read_streams(facts, robot))
    if not robot.action_modes.trivial:
        streams[MEASURED] = Stream(kind='measured', size=len(robot.joints))
    check_instruction(streams, parameters.instruction)
    placement = Placement(*(getattr(parameters, name) for name in _PLACEMENT))
    responder = Responder(source, parameters.seed, placement, robot.action_modes)
    seconds = responder.warm_up(parameters.strategy, example_observation(robot))
    rows = parameters.execution_horizon or robot.policy.execution_horizon
    delay_s = max(latency_s, seconds if measure else 0.0)
    timing = Timing(rows, delay_s, robot.policy.policy_rate_hz)
    check_strategy(resolve(parameters.strategy), facts, robot.action_modes, timing)
    return ReadyPolicy(facts, streams, responder)
