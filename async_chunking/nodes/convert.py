# SPDX-License-Identifier: Apache-2.0
"""Between messages and the core's values; matrices go through array.array, which is quick."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Duration, Time

from async_chunking.chunk import ActionChunk, Boundary, ChunkRequest
from async_chunking.executor import ExecutorConfig
from async_chunking.msg import ActionChunk as ActionChunkMsg
from async_chunking.msg import ChunkRequest as ChunkRequestMsg

_FIRST, _LAST = -(1 << 31), (1 << 31) - 1  # Seconds; the last is in January 2038.


def to_array(values: np.ndarray) -> array:
    """Return numbers as what a float32[] field takes."""
    return array('f', np.ascontiguousarray(values, dtype=np.float32).tobytes())


def to_matrix(data: array, rows: int, columns: int) -> np.ndarray:
    """Return a matrix field [rows, columns]; empty [0, columns] if the sizes do not agree."""
    if rows * columns != len(data):
        return np.empty((0, columns))
    with np.errstate(invalid='ignore'):  # There is a kind of NaN that numpy warns of.
        return np.frombuffer(data, dtype=np.float32).reshape(rows, columns).astype(np.float64)


def set_time(message: Time | Duration, nanoseconds: int) -> None:
    """Write a time into a message; one that it cannot hold becomes the nearest that it can."""
    seconds, message.nanosec = divmod(nanoseconds, 1_000_000_000)
    message.sec = min(max(seconds, _FIRST), _LAST)


def request_message(
    request: ChunkRequest, config: ExecutorConfig, stamp_ns: int
) -> ChunkRequestMsg:
    """Return the message of a request."""
    previous = request.boundary.previous
    message = ChunkRequestMsg(
        run_id=request.run_id,
        request_id=request.request_id,
        tick=request.tick,
        strategy=request.strategy,
        delay=request.boundary.delay,
        execution_horizon=request.boundary.execution_horizon,
        policy_rate_hz=config.policy_rate_hz,
        control_rate_hz=config.control_rate_hz,
        rows=previous.shape[0],
        columns=previous.shape[1],
        previous=to_array(previous),
        joint_names=config.joint_names,
    )
    set_time(message.header.stamp, stamp_ns)
    return message


def request_value(message: ChunkRequestMsg) -> ChunkRequest:
    """Return the request in a message."""
    previous = to_matrix(message.previous, message.rows, message.columns)
    boundary = Boundary(previous, message.delay, message.execution_horizon)
    return ChunkRequest(
        message.run_id, message.request_id, message.tick, message.strategy, boundary
    )


def chunk_value(message: ActionChunkMsg) -> ActionChunk:
    """Return the chunk in a message."""
    return ActionChunk(
        run_id=message.run_id,
        request_id=message.request_id,
        tick=message.tick,
        actions=to_matrix(message.actions, message.rows, message.columns),
        conditioned_delay=message.conditioned_delay,
        joint_names=tuple(message.joint_names),
        refusal=message.refusal,
    )


def answer_message(request: ChunkRequestMsg, joint_names: tuple[str, ...]) -> ActionChunkMsg:
    """Return an answer to a request that has no chunk yet."""
    return ActionChunkMsg(
        run_id=request.run_id,
        request_id=request.request_id,
        tick=request.tick,
        strategy=request.strategy,
        joint_names=joint_names,
    )


def fill(message: ActionChunkMsg, answer: ActionChunk) -> None:
    """Write the policy's answer into a message."""
    message.rows, message.columns = answer.actions.shape
    message.actions = to_array(answer.actions)
    message.conditioned_delay = answer.conditioned_delay
    message.policy_calls = answer.calls
    message.checkpoint = answer.checkpoint
    message.refusal = answer.refusal
