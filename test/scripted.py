# SPDX-License-Identifier: Apache-2.0
"""Runs without ROS and without a policy: the real executor, answered by a script."""

from __future__ import annotations

import numpy as np

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.mergers import MERGERS
from async_chunking.metrics.record import Episode, Exchange, Run
from async_chunking.safety import Limits

HORIZON = 16


def limits(joints: int) -> Limits:
    return Limits(
        np.full(joints, -2.0), np.full(joints, 2.0), np.full(joints, 3.0), np.full(joints, 40.0)
    )


def answer(request: ChunkRequest, joints: int, rng: np.random.Generator, agree: float):
    """A wave with a random offset per chunk; `agree` = 1 continues the old plan exactly."""
    time = (request.tick + np.arange(HORIZON))[:, None] * 0.02
    actions = 0.8 * np.sin(1.5 * time + np.arange(joints)) + rng.normal(0.0, 0.08, joints)
    previous = request.boundary.previous
    if len(previous):
        fade = np.linspace(1.0, 0.0, len(previous))[:, None] * agree
        actions[: len(previous)] += fade * (previous - actions[: len(previous)])
    return ActionChunk(
        request.run_id, request.request_id, request.tick, actions, request.boundary.delay
    )


def scripted_run(
    strategy: str = 'naive', seed: int = 0, ticks: int = 300, joints: int = 3, delay: int = 4,
    agree: float = 0.0, merger: str = 'switch', success: bool | None = True, policy_rate=50.0,
) -> Run:  # fmt: skip
    rng = np.random.default_rng(seed)
    names = tuple(f'joint_{i}' for i in range(joints))
    config = ExecutorConfig(limits(joints), names, HORIZON, 6, policy_rate_hz=policy_rate)
    behaviour = Behaviour(strategy, MERGERS[merger](), Corrector())
    executor = Executor(config, behaviour, seed + 1, np.zeros(joints))
    steps, exchanges, arrivals = [], {}, []
    emitted = np.arange(ticks) * 0.02 + np.abs(rng.normal(0.0, 1e-4, ticks))
    for tick in range(ticks):
        for chunk in [c for due, c in arrivals if due == tick]:
            executor.push(chunk)
        executor.delay = delay
        request = executor.poll()
        if request is not None:
            chunk = answer(request, joints, rng, agree)
            exchanges[request.request_id] = Exchange(
                request.request_id, tick, request.boundary.previous, chunk.actions,
                chunk.conditioned_delay, observation_age=0.01, inference=0.05, waiting=0.001,
            )  # fmt: skip
            late = int(rng.random() < 0.2)
            arrivals.append((tick + round((delay + late) * config.stride), chunk))
        steps.append(executor.step())
    episodes = () if success is None else (Episode(success, ticks * 0.02, f'{seed}/0'),)
    return Run(
        strategy=strategy, control_period=0.02, stride=config.stride,
        tick=np.arange(ticks), phase=np.array([s.phase for s in steps]),
        command=np.array([s.command for s in steps]),
        planned=np.array([s.planned for s in steps]),
        measured=np.array([s.command for s in steps]) + rng.normal(0.0, 1e-3, (ticks, joints)),
        request_id=np.array([s.request_id for s in steps]),
        took_over=np.array([s.took_over for s in steps]),
        delay=np.array([s.delay for s in steps]), missed=np.zeros(ticks, dtype=bool),
        emitted=emitted, deadline=np.arange(ticks) * 0.02, exchanges=exchanges,
        counters=dict(executor.counters), episodes=episodes,
    )  # fmt: skip
