# SPDX-License-Identifier: Apache-2.0
"""Where each microsecond of a tick goes: the parts of the command thread's work, timed one by one.

Everything is the node's own code and a real publisher, in one process and without a subscriber.
"""

from __future__ import annotations

import os
import time
from array import array
from itertools import pairwise

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64MultiArray

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.correctors.a2c2 import A2C2
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.gate import Gate
from async_chunking.mergers import MERGERS
from async_chunking.msg import ControlStep
from async_chunking.nodes.control_step import ControlStepWriter
from async_chunking.safety import Limits

PARTS = (
    'poll and step', 'of it: the gate', 'beside it, with a2c2: its head', 'fill ControlStep',
    'publish command', 'publish step',
)  # fmt: skip
TAKE = 'take over a chunk, on the ticks that have one'
ADMIT = 'check a chunk, in another thread'
_WARM_UP = 200  # Ticks that do not count.


def times(ticks: int, action_dim: int, horizon: int) -> dict[str, np.ndarray]:
    """Return the time of each part [ns]: on every tick, or for every chunk.

    The gate is timed alone, once more: it is a part of the step, not of the sum. So is a
    correction head of the size that its recipe trains.

    Args:
        ticks: To measure.
        action_dim: Joints, D.
        horizon: Rows of a chunk, H.
    """
    executor = _executor(action_dim, horizon, max(horizon // 2, 1))
    config = executor.config
    gate = Gate(config.limits, config.control_period)
    gate.start(np.zeros(action_dim))
    nothing, head = np.zeros(action_dim), _head(action_dim)
    seen = {'observation.state': nothing}
    writer = ControlStepWriter(config.joint_names)
    spans: list[tuple[int, ...]] = []
    taken: list[tuple[int, int]] = []
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node(f'anatomy_{os.getpid()}', context=context)
    commands = node.create_publisher(Float64MultiArray, '~/command', 1)
    steps = node.create_publisher(ControlStep, '~/control_step', QoSProfile(depth=100))
    now = time.perf_counter_ns
    try:
        for tick in range(ticks + _WARM_UP):
            a = now()
            request = executor.poll()
            step = executor.step()
            b = now()
            gate.follow(step.command, step.command - gate.position)  # As plans that pass.
            c = now()
            head.correct(step.command, 3.0, horizon, seen)
            h = now()
            message = writer.write(step, executor, None, h)
            d = now()
            commands.publish(Float64MultiArray(data=array('d', step.command.tobytes())))
            e = now()
            steps.publish(message)
            spans.append((b - a, c - b, h - c, d - h, e - d, now() - e))
            if request is not None:
                taken.append(_answered(executor, request, tick))
    finally:
        node.destroy_node()
        context.shutdown()
    parts = dict(zip(PARTS, np.array(spans[_WARM_UP:]).T, strict=True))
    return parts | dict(zip((TAKE, ADMIT), np.array(taken).T, strict=True))


def merger_times(merger: str, ticks: int, action_dim: int, horizon: int) -> np.ndarray:
    """Return how long `poll` and `step` take on every tick [ns], for chunks that overlap."""
    executor = _executor(action_dim, horizon, max(horizon // 6, 1), merger)
    now, spans = time.perf_counter_ns, []
    for tick in range(ticks + _WARM_UP):
        begin = now()
        request = executor.poll()
        executor.step()
        spans.append(now() - begin)
        if request is not None:
            _answered(executor, request, tick)
    return np.array(spans[_WARM_UP:])


def _executor(
    action_dim: int, horizon: int, execution_horizon: int, merger: str = 'switch'
) -> Executor:
    """Return an executor of a robot that is asked for nothing out of its reach."""
    one = np.ones(action_dim)
    limits = Limits(-3.0 * one, 3.0 * one, 3.0 * one, 20.0 * one)
    names = tuple(f'joint_{i}' for i in range(action_dim))
    config = ExecutorConfig(limits, names, horizon, execution_horizon)
    behaviour = Behaviour('naive', MERGERS[merger](), Corrector())
    return Executor(config, behaviour, 1, np.zeros(action_dim))


def _answered(executor: Executor, request: ChunkRequest, tick: int) -> tuple[int, int]:
    """Answer with a chunk of slow sines; return the times [ns] to take it over and to admit it."""
    config, now = executor.config, time.perf_counter_ns
    phase = 0.02 * (tick + np.arange(config.horizon))[:, None]
    rows = 0.5 * np.sin(phase) * np.ones(config.action_dim)
    begin = now()
    admitted = executor.admit(ActionChunk(1, request.request_id, request.tick, rows))
    end = now()
    executor.push(admitted)
    return now() - end, end - begin


def _head(action_dim: int) -> A2C2:
    """Return a head with random weights, as large as those that are trained."""
    sizes = (2 * action_dim + 2, 256, 512, action_dim)
    rng = np.random.default_rng(0)
    return A2C2(
        observation=(('observation.state', action_dim),),
        offset=np.zeros(2 * action_dim),
        scale=np.ones(2 * action_dim),
        relative=True,
        layers=tuple(
            (rng.normal(size=(out, inputs)), np.zeros(out)) for inputs, out in pairwise(sizes)
        ),
    )
