# SPDX-License-Identifier: Apache-2.0
"""
Chunks, plans and the boundary between two of them: the vocabulary of the package, drawn.

A policy answers a request made at some tick with `horizon` actions. While it computes, the old
plan goes on; when the answer arrives, the new chunk takes over at the row that belongs to now::

    tick            k    k+1   k+2   k+3   k+4   k+5   k+6   k+7
    old plan        a0    a1    a2    a3    a4    a5            (previous: rows from k on)
                    |executed, delay=3 |
    new chunk       b0    b1    b2    b3    b4    b5    b6    b7
    stream          a0    a1    a2    b3    b4    b5  ...
                    ^ request            ^ takeover

| paper   | name here           | meaning                                               | unit  |
|---------|---------------------|-------------------------------------------------------|-------|
| H, P    | `horizon`           | actions in one chunk                                  | steps |
| D       | `action_dim`        | action dimensions                                     | -     |
| s, h, K | `execution_horizon` | actions executed between two inference starts         | steps |
| d       | `delay`             | steps executed between a chunk's observation and      | steps |
|         |                     | the chunk taking over                                 |       |
| dt      | `control_period`    |                                                       | s     |
| k       | `tick`              | command counter, owned by the executor                | ticks |
| A_prev  | `previous`          | what is planned from the request's tick on, index 0 = | rad,m |
|         |                     | that tick; rows after its end are absent              |       |
| t, tau  | `flow_time`         | 0 = noise, 1 = action                                 | -     |
| n, N    | `num_steps`         | solver steps                                          | -     |
| W       | `prefix_weights`    | soft mask over the overlap                            | -     |
| CON     | `consistency`       | prefix mismatch of a new chunk                        | rad   |

A *step* is a policy step (one row of a chunk); a *tick* is one command. They differ when the
policy's rows come at another rate than the commands: `stride` = control rate / policy rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def frozen_array(values: Any, ndim: int) -> np.ndarray:
    """
    Copy `values` into a read-only float64 array.

    Raises:
        ValueError: The array has not `ndim` dimensions.
    """
    array = np.array(values, dtype=np.float64)
    if array.ndim != ndim:
        msg = f'expected an array of {ndim} dimensions, got shape {array.shape}'
        raise ValueError(msg)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Boundary:
    """
    What a sampler may know about the plan that its chunk will join.

    Attributes:
        previous: [R, D] in the executor, [B, R, D] tensor in a sampler; what is planned from the
            request's tick on. R may be anything from 0 (no plan: first chunk) to the horizon.
        delay: Steps expected to be executed before the chunk takes over.
        execution_horizon: Steps between two inference starts.
    """

    previous: Any
    delay: int
    execution_horizon: int

    @property
    def rows(self) -> int:
        """Steps that are still planned, R."""
        return self.previous.shape[-2]

    @property
    def committed(self) -> int:
        """Steps that will certainly be executed from `previous`: the delay, cut to its rows."""
        return min(self.delay, self.rows)

    def overlap(self, horizon: int) -> int:
        """Return the end of the soft mask: `horizon - execution_horizon`, cut to the rows."""
        return max(min(self.rows, horizon - self.execution_horizon), self.committed)


@dataclass(frozen=True)
class ChunkRequest:
    """The executor's question: everything a policy node needs, so that it may keep no state."""

    run_id: int
    request_id: int
    tick: int
    strategy: str
    boundary: Boundary


@dataclass(frozen=True)
class ActionChunk:
    """
    The answer: row 0 belongs to `tick`, the request's tick.

    Attributes:
        actions: [rows, D] [rad, m], copied and read-only.
        conditioned_delay: The delay the sampler was told [steps].
        joint_names: [D] of the columns; empty if they are not told.
        refusal: Why there is no chunk; empty when there is one.
        calls: Evaluations of the policy for it.
        checkpoint: Digest of the policy's weights; empty if it is not known.
    """

    run_id: int
    request_id: int
    tick: int
    actions: np.ndarray
    conditioned_delay: int = 0
    joint_names: tuple[str, ...] = ()
    refusal: str = ''
    calls: int = 0
    checkpoint: str = ''

    def __post_init__(self) -> None:
        object.__setattr__(self, 'actions', frozen_array(self.actions, ndim=2))


@dataclass(frozen=True)
class Plan:
    """
    Rows of actions on the executor's time line, linear between rows.

    Attributes:
        origin: Tick of row 0; a chunk's own tick, unless the robot waited for it.
        stride: Ticks per row, control rate / policy rate.
        rows: [R, D] actions [rad, m].
        request_id: The request that this plan answers.
        takeover: Tick from which on it counts; before that, the plans that were active did.
    """

    origin: float
    stride: float
    rows: np.ndarray
    request_id: int
    takeover: int

    @property
    def end(self) -> float:
        """First tick [ticks] at which nothing is left; the last row lasts one step."""
        return self.origin + len(self.rows) * self.stride

    def row_at(self, tick: float) -> float:
        """Return the fractional row that belongs to `tick`."""
        return (tick - self.origin) / self.stride

    def at(self, ticks: np.ndarray) -> np.ndarray:
        """Return the actions [n, D] at `ticks` [n], NaN outside the plan."""
        row = (ticks - self.origin) / self.stride
        return _between(self.rows, row, len(self.rows) - 1, 0)


def actions_at(plans: Sequence[Plan], ticks: np.ndarray) -> np.ndarray:
    """
    Return the actions of several plans at once.

    Args:
        plans: Plans of one robot; there is at least one.
        ticks: [n].

    Returns:
        [plans, n, D] [rad, m], NaN outside a plan.
    """
    first = np.cumsum([0, *(len(plan.rows) for plan in plans[:-1])])[:, None]
    last, origin, stride = np.array(
        [(len(plan.rows) - 1, plan.origin, plan.stride) for plan in plans]
    ).T[:, :, None]
    rows = np.concatenate([plan.rows for plan in plans])
    return _between(rows, (ticks - origin) / stride, last.astype(np.intp), first)


def _between(rows: np.ndarray, row: np.ndarray, last: Any, first: Any) -> np.ndarray:
    """Return what stands at fractional rows, of which row 0 stands at `first` in `rows`."""
    index = np.minimum(np.maximum((row + 1e-9).astype(np.intp), 0), last)
    below = rows[first + index]
    fraction = np.minimum(np.maximum(row - index, 0.0), 1.0)[..., None]
    actions = below + fraction * (rows[first + np.minimum(index + 1, last)] - below)
    actions[(row < -1e-9) | (row >= last + 1 - 1e-9)] = np.nan
    return actions
