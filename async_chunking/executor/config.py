# SPDX-License-Identifier: Apache-2.0
"""What the executor must know: the robot, the rates and the strategy's part."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from async_chunking.correctors import Corrector
from async_chunking.mergers import Merger
from async_chunking.safety import Limits
from async_chunking.strategies import STRATEGIES


@dataclass(frozen=True)
class ExecutorConfig:
    """
    What the executor must know of robot and policy.

    Attributes:
        limits: Enforced on every command.
        joint_names: In command order, as many as the limits have joints.
        horizon: Rows of the policy's chunks [steps].
        execution_horizon: Steps between two requests, 1 to `horizon`.
        control_rate_hz: Commands per second.
        policy_rate_hz: Rows of a chunk per second, at most `control_rate_hz`.
        request_timeout_s: After this the question is asked again [s].
        hold_timeout_s: A hold longer than this becomes a latched safe stop, and an answer older
            than this begins nothing any more [s].
        blend_s: Time in which the first chunk, or the first after a hold, is blended in [s].
        continuous: For each joint, whether it turns without end; empty if none does.
        limit_tolerance: How far outside the position limits a row may lie and still be clipped
            rather than its chunk rejected, as a fraction of the joint's range.

    Raises:
        ValueError: A value is outside its range; the message names it.
    """

    limits: Limits
    joint_names: tuple[str, ...]
    horizon: int
    execution_horizon: int
    control_rate_hz: float = 50.0
    policy_rate_hz: float = 50.0
    request_timeout_s: float = 1.0
    hold_timeout_s: float = 10.0
    blend_s: float = 0.5
    limit_tolerance: float = 0.1
    continuous: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        _require(
            len(self.joint_names) == len(self.limits),
            f'joint_names has {len(self.joint_names)} names for {len(self.limits)} joints',
        )
        _require(
            len(self.continuous) in (0, len(self.limits)),
            f'continuous has {len(self.continuous)} values for {len(self.limits)} joints',
        )
        _require(self.horizon >= 1, f'horizon must be at least 1, got {self.horizon}')
        _require(
            1 <= self.execution_horizon <= self.horizon,
            f'execution_horizon must be 1 to horizon = {self.horizon}, '
            f'got {self.execution_horizon}',
        )
        _require(
            0.0 < self.policy_rate_hz <= self.control_rate_hz < math.inf,
            f'policy_rate_hz must be above 0 and at most control_rate_hz = '
            f'{self.control_rate_hz}, got {self.policy_rate_hz}',
        )
        for name in ('request_timeout_s', 'hold_timeout_s', 'blend_s', 'limit_tolerance'):
            value = getattr(self, name)
            _require(0.0 <= value < math.inf, f'{name} must be finite and >= 0, got {value}')

    @property
    def action_dim(self) -> int:
        """Action dimensions, D."""
        return len(self.limits)

    @property
    def most_rows(self) -> int:
        """Rows of a chunk at most, whatever strategy it is asked with."""
        return _most_rows(self.horizon)

    @property
    def endless(self) -> np.ndarray:
        """Whether each joint turns without end [D]."""
        return np.array(self.continuous or [False] * len(self.limits))

    @property
    def stride(self) -> float:
        """Ticks per policy step."""
        return self.control_rate_hz / self.policy_rate_hz

    @property
    def control_period(self) -> float:
        """Seconds per tick [s]."""
        return 1.0 / self.control_rate_hz


@functools.cache
def _most_rows(horizon: int) -> int:
    """Return it; kept, as the bench makes a configuration for each rollout."""
    return max(strategy.rows(horizon, committed=horizon) for strategy in STRATEGIES.values())


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True)
class Behaviour:
    """
    The two axes of a strategy that the executor runs; the sampler's name is only passed on.

    Attributes:
        name: Name of the strategy.
        merger: How a chunk joins the stream.
        corrector: What is added to each action.
        most_rows: Rows of an answer at most, from the strategy; 0 for those of any strategy.
    """

    name: str
    merger: Merger
    corrector: Corrector
    most_rows: int = 0
