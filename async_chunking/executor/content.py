# SPDX-License-Identifier: Apache-2.0
"""What a chunk holds: whether these numbers may be executed at all, and if not, which may not."""

from __future__ import annotations

import enum

import numpy as np

from async_chunking.chunk import ActionChunk
from async_chunking.executor.config import ExecutorConfig
from async_chunking.executor.turns import TURN


class Outcome(enum.Enum):
    """What became of a chunk; the value is the sentence for people."""

    ACCEPTED = 'The chunk takes over.'
    REFUSED = 'The policy node refused the request; its reason is in the chunk.'
    STOPPED = 'The executor is in a safe stop and takes no chunk until it is reset.'
    WRONG_RUN = 'The chunk answers a request of another run.'
    FUTURE = 'The chunk is for a tick that is not yet reached.'
    UNREQUESTED = 'No request with this id and tick was made.'
    DUPLICATE = 'This request was answered before.'
    OUT_OF_ORDER = 'A newer chunk already took over.'
    WRONG_SIZE = 'The rows or columns do not fit the horizon or the robot.'
    WRONG_JOINTS = 'The joint names are not those of the robot, in its order.'
    NOT_FINITE = 'The chunk holds NaN or infinity.'
    OVER_LIMITS = 'A row lies outside the position limits by more than the tolerance.'
    FLOOD = 'More chunks arrived than one can look at.'
    EXPIRED = 'The chunk came too late: none of its rows is left, or it was asked for long ago.'


# Counters of chunks that were turned away for what they are, not for being late.
REJECTIONS = tuple(
    outcome.name.lower()
    for outcome in Outcome
    if outcome not in (Outcome.ACCEPTED, Outcome.EXPIRED)
)


class ContentCheck:
    """
    Judges chunks by their content alone; thread-safe, since it keeps nothing.

    Args:
        config: Joints, horizon, limits and the tolerance at them.
    """

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self._most_rows = config.most_rows
        width = config.limits.upper - config.limits.lower
        slack = config.limit_tolerance * np.where(np.isfinite(width), width, TURN)
        self._lowest = config.limits.lower - slack
        self._highest = config.limits.upper + slack

    def judge(self, chunk: ActionChunk, most_rows: int = 0) -> tuple[Outcome, str]:
        """
        Return what becomes of a chunk, and joint, row, value and limits if it is rejected.

        Args:
            chunk: As it came.
            most_rows: `most_rows` of the strategy that it was asked with; 0 for any strategy.
        """
        names, most = self._config.joint_names, most_rows or self._most_rows
        values = chunk.actions
        rows, columns = values.shape
        if chunk.refusal:
            return Outcome.REFUSED, ''
        if columns != len(names) or not 1 <= rows <= most:
            reason = f'{rows} x {columns} numbers, 1 to {most} x {len(names)} allowed'
            return Outcome.WRONG_SIZE, reason
        if chunk.joint_names and chunk.joint_names != names:
            reason = f'it has {", ".join(chunk.joint_names)}; the robot has {", ".join(names)}'
            return Outcome.WRONG_JOINTS, reason
        if not np.isfinite(values).all():
            row, joint = np.argwhere(~np.isfinite(values))[0]
            return Outcome.NOT_FINITE, f'row {row} has {names[joint]} at {values[row, joint]}'
        if not self.inside(values):
            return Outcome.OVER_LIMITS, self._farthest(values)
        return Outcome.ACCEPTED, ''

    def inside(self, values: np.ndarray) -> bool:
        """Return whether actions [..., D] are so near the limits that they may be clipped."""
        return bool(((values >= self._lowest) & (values <= self._highest)).all())

    def _farthest(self, values: np.ndarray) -> str:
        """Name the value that is farthest beyond what is tolerated."""
        limits = self._config.limits
        beyond = np.maximum(values - self._highest, self._lowest - values)
        row, joint = np.unravel_index(beyond.argmax(), values.shape)
        return (
            f'row {row} has {self._config.joint_names[joint]} at {values[row, joint]:.4g}, '
            f'its limits are {limits.lower[joint]:.4g} to {limits.upper[joint]:.4g}'
        )
