# SPDX-License-Identifier: Apache-2.0
"""
How near a robot came to its limits, from what its drivers were told and from nothing else.

Drivers know no runs: each command counts as one control period after the one before it on its
topic, whatever happened between them; only on ticks without a command a robot slows down. Which
ticks these were, ControlSteps say, and receive times where there are none. One thing is allowed:
where a ControlStep says that a simulation put the robot elsewhere, a joint that rests may go on
from where it was just measured. Such restarts are counted and shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bags.alignment import Aligned, aligned, steps_of
from async_chunking.bags.files import Bag
from async_chunking.bags.wire import (
    Series,
    WireKey,
    joint_values,
    key_of,
    of_command,
    of_source,
    read,
)
from async_chunking.bags.wire_messages import KINDS
from async_chunking.metrics.limit_use import LimitUse, limit_use, worse
from async_chunking.robot.embodiment import Command, Embodiment
from async_chunking.safety import Limits

_RECENT = 500_000_000  # A pose that was recorded so long before a command is where it began [ns].
_ROUNDING = 2.0**-22  # Of positions that are sent as 32 bit numbers, as a share or [rad, m].
_SPLIT = 10  # Ticks between two parts of a series, more than the order of any derivative.
_PIECE = 1 << 16  # Commands that are judged at once.
_BACK = 3  # Commands that the third difference of the next piece reaches back to.


class Jump(NamedTuple):
    """A joint at rest was told, at `stamp` [ns], to be at `end` [rad, m] all at once."""

    stamp: int
    joint: int
    end: float


@dataclass(frozen=True)
class WireUse:
    """
    How near the commands on the drivers' topics came to the limits.

    Attributes:
        use: [D] of each joint; infinite margin and NaN where nothing was recorded.
        commands: [D] that were recorded.
        restarts: [D] how often a joint went on from where a simulation had put it.
        silent: Joints whose commands are not in the recording.
    """

    use: LimitUse
    commands: np.ndarray
    restarts: np.ndarray
    silent: tuple[str, ...]

    def figures(self) -> dict[str, Any]:
        """Return what reports show."""
        return {
            **self.use.figures(), 'commands': int(self.commands.max()),
            'restarts': int(self.restarts.max()), 'silent_joints': list(self.silent),
        }  # fmt: skip


def wire_use(bag: Bag, robot: Embodiment, namespace: str | None = None) -> WireUse:
    """
    Return how near a robot's recorded commands came to its limits.

    Args:
        bag: The recording; its `problems` grow.
        robot: Described with the topics that were recorded.
        namespace: Namespace of the robot; None where only one is in the recording.

    Raises:
        BagError: Several robots could be meant.
    """
    tracks: dict[int, _Track] = {}
    steps = steps_of(bag, robot.joint_names, namespace)
    for command, stamps, values in _recorded(bag, robot, namespace):
        columns = [robot.joint_names.index(name) for name in command.joints]
        own = steps._replace(command=steps.command[:, columns])
        positions = joint_values(values, command)
        slack = _ROUNDING * (np.abs(values / command.affine[0]) + np.abs(positions) + 1.0)
        series = aligned(stamps, positions, slack, own, 1.0 / robot.control_rate_hz)
        tracks |= {j: _Track(robot, j, series, column) for column, j in enumerate(columns)}
    jumps = [jump for track in tracks.values() for jump in track.jumps]
    restarts = _restarts(bag, robot, jumps, namespace)
    joints = range(len(robot.joints))
    return WireUse(
        use=_joined([
            tracks[j].use(restarts) if j in tracks else _unknown(_of_joint(robot.limits, j))
            for j in joints
        ]),
        commands=np.array([tracks[j].count if j in tracks else 0 for j in joints]),
        restarts=np.bincount([jump.joint for jump in restarts], minlength=len(joints)),
        silent=tuple(name for j, name in enumerate(robot.joint_names) if j not in tracks),
    )  # fmt: skip


def _recorded(
    bag: Bag, robot: Embodiment, namespace: str | None
) -> list[tuple[Command, np.ndarray, np.ndarray]]:
    """Return the commands of each topic: when recorded [n], and what they say [n, k]."""
    commands = {key_of(c): c for c in robot.commands if c.sink in KINDS}
    series_of: dict[WireKey, list[Series]] = defaultdict(list)
    wanted = {key: of_command(command) for key, command in commands.items()}
    for key, series in read(bag, wanted, namespace):
        width, joints = series.values.shape[1], len(commands[key].joints)
        if width == joints:
            series_of[key].append(series)
        else:
            bag.problems.append(
                f'{bag.path}: topic {key.topic} has {width} numbers for {joints} joints; '
                'it is left out'
            )
    return [
        (
            commands[key],
            np.concatenate([series.stamps for series in parts]),
            np.concatenate([series.values for series in parts]).astype(np.float64),
        )
        for key, parts in series_of.items()
    ]


def _joined(uses: Sequence[LimitUse]) -> LimitUse:
    names = [field.name for field in fields(LimitUse)]
    return LimitUse(*(np.concatenate([getattr(u, n) for u in uses], axis=-1) for n in names))


def _unknown(limits: Limits) -> LimitUse:
    """Return the use of a joint's limits that nothing is known of."""
    none = np.full(1, np.nan)
    use = limit_use(np.zeros((0, 1)), 1.0, limits)
    return replace(use, velocity=none, acceleration=none, jerk=none)


class _Track:
    """
    The commands of one joint.

    Attributes:
        count: Commands that were recorded.
        jumps: From rest to where a simulation may have put the joint.
    """

    def __init__(self, robot: Embodiment, joint: int, series: Aligned, column: int) -> None:
        self._limits = _of_joint(robot.limits, joint)
        self._period = 1.0 / robot.control_rate_hz
        self._rows, self._silent = series.positions[:, column], series.silent
        self.count = int(series.recorded.sum())
        step = np.diff(self._rows, prepend=np.nan)
        still = np.concatenate(([False], step[:-1] == 0.0))
        far = np.abs(step) > _reach(robot)[joint]
        self._places = {
            Jump(int(series.stamps[i]), joint, float(self._rows[i])): int(i)
            for i in np.flatnonzero(still & far & series.teleported)
        }
        self.jumps = list(self._places)

    def use(self, restarts: Collection[Jump]) -> LimitUse:
        """Return how near the limits the joint came, if these jumps are restarts."""
        places = np.sort([i for jump, i in self._places.items() if jump in restarts]).astype(int)
        # Each part of the commands begins at rest, as two more rows say.
        rows = np.insert(self._rows, np.repeat(places, 2), np.repeat(self._rows[places], 2))
        silent = np.insert(self._silent, np.repeat(places, 2), 0)
        silent[places + 2 * np.arange(1, len(places) + 1)] = 0
        apart = np.ones(len(rows), dtype=np.int64)
        apart[places + 2 * np.arange(len(places))] = _SPLIT
        tick = np.cumsum(apart + silent)
        pieces = [slice(max(i - _BACK, 0), i + _PIECE) for i in range(0, len(rows), _PIECE)]
        uses = [
            limit_use(rows[p, None], self._period, self._limits, tick[p], silent[p])
            for p in pieces
        ]  # fmt: skip
        missing = (~np.isfinite(self._rows)).sum(keepdims=True)
        return replace(reduce(worse, uses), not_finite=missing)


def _of_joint(limits: Limits, joint: int) -> Limits:
    return Limits(*(getattr(limits, field.name)[joint : joint + 1] for field in fields(limits)))


def _reach(robot: Embodiment) -> np.ndarray:
    """Return how far joints get in their first period from rest [D] [rad, m]."""
    return robot.limits.acceleration / robot.control_rate_hz**2 + _ROUNDING


def _restarts(
    bag: Bag, robot: Embodiment, jumps: Collection[Jump], namespace: str | None
) -> set[Jump]:
    """Return the jumps to where the joint was just measured."""
    restarts: set[Jump] = set()
    sources = {key_of(source): source for source in robot.sources} if jumps else {}
    reach = _reach(robot)
    wanted = {key: of_source(source) for key, source in sources.items()}
    for key, series in read(bag, wanted, namespace):
        source = sources[key]
        values = joint_values(series.values, source)
        for jump in jumps:
            name = robot.joint_names[jump.joint]
            if name in source.joints:
                age = jump.stamp - series.stamps
                # Not later: the servo goes wherever it is told.
                near = values[(age >= 0) & (age < _RECENT), source.joints.index(name)]
                if (np.abs(near - jump.end) <= reach[jump.joint]).any():
                    restarts.add(jump)
    return restarts
