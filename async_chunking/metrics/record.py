# SPDX-License-Identifier: Apache-2.0
"""The record of a run as arrays: what metrics are computed from, wherever it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Exchange:
    """
    One request, its answer, and when the answer took over.

    Attributes:
        request_id: Number of the request.
        tick: The request's tick.
        previous: [R, D] what was planned from that tick on, one row per step [rad, m].
        actions: [H, D] the answer; row 0 belongs to `tick` [rad, m].
        conditioned_delay: Delay that the sampler was told [steps].
        observation_age: Age of the observation when inference started [s], NaN if unknown.
        inference: Duration of the inference [s], NaN if unknown.
        waiting: Time that the request waited for an inference in progress [s], NaN if unknown.
        more: Further numbers of the answer's message, by field.
    """

    request_id: int
    tick: int
    previous: np.ndarray
    actions: np.ndarray
    conditioned_delay: int = 0
    observation_age: float = math.nan
    inference: float = math.nan
    waiting: float = math.nan
    more: Mapping[str, float] = field(default_factory=dict)


class Episode(NamedTuple):
    """
    One attempt at the task.

    Attributes:
        success: Whether it succeeded.
        duration: After how long it ended [s].
        trial: Which scene was played; attempts at equal scenes are comparable.
    """

    success: bool
    duration: float
    trial: str = ''


@dataclass(frozen=True)
class Run:
    """
    One run, tick by tick.

    Attributes:
        strategy: As the user named it.
        control_period: [s].
        stride: Ticks per policy step.
        tick: [T] command counter.
        phase: [T] values of `Phase`.
        command: [T, D] sent [rad, m].
        planned: [T, D] before limits, NaN where nothing was planned [rad, m].
        measured: [T, D] joint positions, NaN where unknown [rad, m].
        request_id: [T] whose chunk was executed, 0 for none.
        took_over: [T] first tick of that chunk.
        delay: [T] at a takeover, steps since the request; else -1 [steps].
        missed: [T] the deadline passed.
        emitted: [T] when the command was sent, on the executor's steady clock [s]; NaN if
            simulated.
        deadline: [T] when it was due, same clock [s].
        exchanges: Answered requests, by request id.
        counters: Counters of the executor at the end of the run.
        success: Whether the task was achieved; None if unknown.
        completion_time: Seconds from the first command to success [s], NaN without.
        episodes: Attempts at the task, where one run holds several; empty: `success` says it all.
    """

    strategy: str
    control_period: float
    stride: float
    tick: np.ndarray
    phase: np.ndarray
    command: np.ndarray
    planned: np.ndarray
    measured: np.ndarray
    request_id: np.ndarray
    took_over: np.ndarray
    delay: np.ndarray
    missed: np.ndarray
    emitted: np.ndarray
    deadline: np.ndarray
    exchanges: Mapping[int, Exchange] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    success: bool | None = None
    completion_time: float = math.nan
    episodes: Sequence[Episode] = ()

    def attempts(self) -> Sequence[Episode]:
        """Return the episodes, also where `success` is all that is known."""
        if self.episodes or self.success is None:
            return self.episodes
        return (Episode(self.success, self.completion_time),)
