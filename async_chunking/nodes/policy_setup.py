# SPDX-License-Identifier: Apache-2.0
"""A policy made ready for a robot: opened, seen to fit, warm, and quick enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from async_chunking.bringup.parameters import PolicyParameters
from async_chunking.delay import lasts
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
from async_chunking.policies.strategy_fit import FitError, Timing, check_strategy
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.strategies import resolve

MEASURED = 'measured joints'  # A stream of the node's own, to translate actions with.
_PLACEMENT = ('device', 'precision', 'compile')  # As in `Placement`.
_PATIENCE_S = 10.0  # While all nodes start at once, the machine is busy.


@dataclass(frozen=True)
class ReadyPolicy:
    """
    A policy that fits the robot and has answered made-up requests.

    Attributes:
        facts: What it states of itself.
        streams: Name -> stream of the robot that it reads; `MEASURED` is for the node.
        responder: Answers requests.
        robot: That it drives.
        execution_horizon: Rows between two requests.
        measure: Whether the time of an answer counts.
    """

    facts: Facts
    streams: dict[str, Stream]
    responder: Responder
    robot: Embodiment
    execution_horizon: int
    measure: bool

    def rehearse(self, strategy: str) -> Iterator[float]:
        """Answer made-up requests, as `Responder.rehearse`."""
        return self.responder.rehearse(strategy, example_observation(self.robot))

    def check(self, strategy: str, latency_s: float, seconds: float = 0.0) -> None:
        """
        Refuse a strategy that cannot run in time.

        Args:
            strategy: Name of it.
            latency_s: That an answer shall seem to take [s].
            seconds: That it takes [s].

        Raises:
            AsyncChunkingError: The policy cannot serve it, or not with the delay.
        """
        delay_s = max(latency_s, seconds if self.measure else 0.0)
        timing = Timing(self.execution_horizon, delay_s, self.robot.policy.policy_rate_hz)
        check_strategy(resolve(strategy), self.facts, self.robot.action_modes, timing)

    def too_slow(self, delay: int, execution_horizon: int) -> str:
        """Return why a chunk is too short for a delay as measured; empty if it is not [steps]."""
        needed, horizon = delay + execution_horizon, self.facts.horizon
        if lasts(delay, execution_horizon, horizon):
            return ''
        return (
            f'the horizon of {horizon} rows is too short: delay {delay} + execution_horizon '
            f'{execution_horizon} = {needed} rows'
        )


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
    if robot.action_modes.needs_pose:
        streams[MEASURED] = Stream(kind='measured', size=len(robot.joints))
    check_instruction(streams, parameters.instruction)
    placement = Placement(*(getattr(parameters, name) for name in _PLACEMENT))
    responder = Responder(source, parameters.seed, placement, robot.action_modes)
    rows = parameters.execution_horizon or robot.policy.execution_horizon
    ready = ReadyPolicy(facts, streams, responder, robot, rows, measure)
    _see_how_quick(ready, parameters.strategy, latency_s)
    return ready


def _see_how_quick(ready: ReadyPolicy, strategy: str, latency_s: float) -> None:
    """Refuse a strategy that cannot run in time however often it is tried, for some seconds."""
    example = example_observation(ready.robot)
    quickest_s, begin = float('inf'), time.monotonic()
    while True:
        quickest_s = min(quickest_s, ready.responder.warm_up(strategy, example))
        try:
            ready.check(strategy, latency_s, quickest_s)
        except FitError:
            hopeless = not ready.measure or quickest_s <= latency_s
            if hopeless or time.monotonic() - begin > _PATIENCE_S:
                raise
        else:
            return
