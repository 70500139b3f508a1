# SPDX-License-Identifier: Apache-2.0
"""Hears what a running robot says of its plans, and passes it on as values without ROS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, qos_profile_sensor_data

from async_chunking.live.trace import LiveChunk, LiveRequest, LiveStep
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.silent import SilentNode

_FEW = QoSProfile(depth=10)


class Tap(SilentNode):
    """Passes on each message; use it as a context.

    Args:
        namespace: Namespace of the robot.
        on_step: Called with each tick.
        on_request: Called with each request.
        on_chunk: Called with each chunk.
    """

    def __init__(
        self,
        namespace: str,
        on_step: Callable[[LiveStep], None],
        on_request: Callable[[LiveRequest], None],
        on_chunk: Callable[[LiveChunk], None],
    ) -> None:
        super().__init__('plot', namespace)
        for kind, topic, convert, callback, profile in (
            (ControlStep, 'control_step', step_of, on_step, qos_profile_sensor_data),
            (ChunkRequest, 'chunk_request', request_of, on_request, _FEW),
            (ActionChunk, 'action_chunk', chunk_of, on_chunk, _FEW),
        ):
            listen(self._node, kind, topic, _passed(convert, callback), profile)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _passed(
    convert: Callable[[Any], Any], callback: Callable[[Any], None]
) -> Callable[[Any], None]:
    def heard(message: Any) -> None:
        value = convert(message)
        if value is not None:
            callback(value)

    return heard


def step_of(message: ControlStep) -> LiveStep | None:
    """Return a tick; None of a message whose lengths differ."""
    names = tuple(message.joint_names)
    command, planned, measured = (
        np.array(getattr(message, field)) for field in ('command', 'planned', 'measured')
    )
    if not names or {len(names)} != {len(command), len(planned), len(measured)}:
        return None
    stamp = message.header.stamp
    return LiveStep(
        message.run_id, message.tick, stamp.sec + 1e-9 * stamp.nanosec, message.phase,
        message.strategy, names, command, planned, measured, message.request_id,
        message.took_over, message.delay,
    )  # fmt: skip


def request_of(message: ChunkRequest) -> LiveRequest | None:
    """Return a request; None of one whose plan has not the size that it tells."""
    previous = _matrix(message.previous, message.rows, message.columns)
    if previous is None:
        return None
    return LiveRequest(
        message.run_id, message.request_id, message.tick, previous, message.execution_horizon,
        message.policy_rate_hz, message.control_rate_hz,
    )  # fmt: skip


def chunk_of(message: ActionChunk) -> LiveChunk | None:
    """Return a chunk; None of one that has not the size that it tells."""
    actions = _matrix(message.actions, message.rows, message.columns)
    return None if actions is None else LiveChunk(message.run_id, message.request_id, actions)


def _matrix(values: Any, rows: int, columns: int) -> np.ndarray | None:
    if len(values) != rows * columns:
        return None
    return np.array(values, dtype=np.float64).reshape(rows, columns)
