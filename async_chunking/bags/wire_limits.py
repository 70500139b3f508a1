# SPDX-License-Identifier: Apache-2.0
"""
How near a robot came to its limits, from what its drivers were told and from nothing else.

Drivers know no runs and no ticks: each command counts as one control period after the one before
it on its topic, whatever happened between them; only after silence a robot has slowed down. One
thing is allowed: where a ControlStep says that a simulation put the robot elsewhere, a joint that
rests may go on from where it was just measured. Such restarts are counted and shown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bags.files import Bag
from async_chunking.bags.wire import (
    KINDS,
    PLACED,
    Wanted,
    key_of,
    of_command,
    of_source,
    ours,
    read,
)
from async_chunking.metrics.limit_use import LimitUse, limit_use, worse
from async_chunking.robot.embodiment import Embodiment
from async_chunking.safety import Limits

_RECENT = 500_000_000  # A pose that was recorded so long before a command is where it began [ns].
_ROUNDING = 2.0**-22  # Of positions that are sent as 32 bit numbers [rad, m].
_SETTLED = 5  # Commands after which a recorder has caught up.
_NEAR = 200_000_000  # A step is recorded so long before or after its command at most [ns].
_SPLIT = 10  # Ticks between two parts of a series, more than the order of any derivative.


class Jump(NamedTuple):
    """A joint at rest was told, at `stamp` [ns], to be at `end` instead of `begin` [rad, m]."""

    stamp: int
    joint: int
    begin: float
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
    commands = {key_of(c): c for c in robot.commands if c.sink in KINDS}
    tracks = [_Track(robot, index) for index in range(len(robot.joints))]
    wanted = {key: of_command(command) for key, command in commands.items()}
    for key, series in read(bag, wanted, namespace):
        command = commands[key]
        values = ours(series.values, command)
        if values.shape[1] != len(command.joints):
            bag.problems.append(
                f'{bag.path}: topic {key.topic} has {values.shape[1]} numbers for '
                f'{len(command.joints)} joints; it is left out'
            )
            continue
        for column, name in enumerate(command.joints):
            tracks[robot.joint_names.index(name)].add(series.stamps, values[:, column])
    for track in tracks:
        track.add(np.zeros(0, dtype=np.int64), np.zeros(0), last=True)
    restarts = _restarts(bag, robot, [jump for track in tracks for jump in track.jumps], namespace)
    for track in tracks:
        track.judge_jumps(restarts)
    return WireUse(
        use=_joined([track.use if track.count else track.unknown for track in tracks]),
        commands=np.array([track.count for track in tracks]),
        restarts=np.bincount([jump.joint for jump in restarts], minlength=len(tracks)),
        silent=tuple(n for n, t in zip(robot.joint_names, tracks, strict=True) if not t.count),
    )


def _joined(uses: Sequence[LimitUse]) -> LimitUse:
    names = [field.name for field in fields(LimitUse)]
    return LimitUse(*(np.concatenate([getattr(u, n) for u in uses], axis=-1) for n in names))


class _Track:
    """
    The commands of one joint; few of them are kept.

    Attributes:
        use: Use of its limits, as arrays of one.
        unknown: The same if there is no command.
        count: Commands.
        jumps: From rest, by more than a joint can go in its first period.
    """

    def __init__(self, robot: Embodiment, joint: int) -> None:
        self._limits = _of_joint(robot.limits, joint)
        self._period = 1.0 / robot.control_rate_hz
        self._joint = joint
        self._reach = _reach(robot)[joint]
        self._rows, self._tick = np.zeros(0), np.zeros(0, dtype=np.int64)
        self._silent, self._stamp = np.zeros(0, dtype=np.int64), 0.0
        self._waiting = np.zeros(0, dtype=np.int64), np.zeros(0)
        self.use = self._judged(self._rows)
        none = np.full(1, np.nan)
        self.unknown = replace(self.use, velocity=none, acceleration=none, jerk=none)
        self.count = 0
        self.jumps: list[Jump] = []

    def _judged(
        self,
        rows: np.ndarray,
        tick: np.ndarray | None = None,
        silent: np.ndarray | None = None,
    ) -> LimitUse:
        return limit_use(rows[:, None], self._period, self._limits, tick, silent)

    def add(self, stamps: np.ndarray, positions: np.ndarray, last: bool = False) -> None:
        """Take commands [n] that follow those before; the newest wait for those after them."""
        stamps = np.concatenate((self._waiting[0], stamps))
        positions = np.concatenate((self._waiting[1], positions))
        silent = self._silence(stamps)
        end = len(stamps) - (0 if last else min(_SETTLED, len(stamps)))
        self._waiting = stamps[end:], positions[end:]
        if end:
            self._stamp = float(stamps[end - 1])
            self._count(stamps[:end], positions[:end], silent[:end])

    def _count(self, stamps: np.ndarray, positions: np.ndarray, quiet: np.ndarray) -> None:
        before = self._rows[-2:]
        step = np.diff(np.concatenate((before, positions)), prepend=np.nan)
        # A recording may begin while a joint moves: nothing is known of what was before it.
        still = np.concatenate(([False], step[:-1] == 0.0))
        jumps = np.flatnonzero(still & (np.abs(step) > self._reach)) - len(before)
        jumps = jumps[jumps >= 0]
        self.jumps += [
            Jump(int(stamps[j]), self._joint, float(positions[j] - step[j + len(before)]),
                 float(positions[j]))
            for j in jumps
        ]  # fmt: skip
        # A jump splits the commands; each part begins at rest, as two more rows say.
        silent = np.insert(quiet, np.repeat(jumps, 2), 0)
        rows = np.insert(positions, np.repeat(jumps, 2), np.repeat(positions[jumps], 2))
        apart = np.ones(len(rows), dtype=np.int64)
        apart[jumps + 2 * np.arange(len(jumps))] = _SPLIT
        tick = np.cumsum(apart + silent) + (self._tick[-1] if len(self._tick) else 0)
        again = (~np.isfinite(self._rows)).sum()  # They were counted with the piece before.
        self._rows = np.concatenate((self._rows, rows))
        self._tick = np.concatenate((self._tick, tick))
        self._silent = np.concatenate((self._silent, silent))
        found = self._judged(self._rows, self._tick, self._silent)
        self.use = worse(self.use, replace(found, not_finite=found.not_finite - again))
        # As many as the first third difference of the next piece reaches back to.
        self._rows, self._tick = self._rows[-3:], self._tick[-3:]
        self._silent = self._silent[-3:]
        self.count += len(positions)

    def _silence(self, stamps: np.ndarray) -> np.ndarray:
        """Return how many periods [n] nothing was sent before each command.

        Messages that came late only, as the recorder was busy, are followed by others that come
        early: what counts is what is still missing some commands later.
        """
        if not len(stamps):
            return np.zeros(0, dtype=np.int64)
        before = np.concatenate(([self._stamp or stamps[0] - 1e9 * self._period], stamps[:-1]))
        index = np.arange(len(stamps))
        later = np.minimum(index + _SETTLED, len(stamps) - 1)
        # A simulation may be slower than its clock.
        period = max(1e9 * self._period, float(np.median(np.diff(stamps, prepend=before[0]))))
        at_once = np.round((stamps - before) / period) - 1
        in_all = np.round((stamps[later] - before) / period) - (later - index + 1)
        return np.maximum(np.minimum(at_once, in_all), 0).astype(np.int64)

    def judge_jumps(self, restarts: Collection[Jump]) -> None:
        """Count the jumps that are no restarts: the joint is told to go there in one period."""
        for jump in set(self.jumps) - set(restarts):
            self.use = worse(self.use, self._judged(np.array([jump.begin] * 3 + [jump.end])))


def _of_joint(limits: Limits, joint: int) -> Limits:
    return Limits(*(getattr(limits, field.name)[joint : joint + 1] for field in fields(limits)))


def _reach(robot: Embodiment) -> np.ndarray:
    """Return how far joints get in their first period from rest [D] [rad, m]."""
    return robot.limits.acceleration / robot.control_rate_hz**2 + _ROUNDING


def _marks(bag: Bag, namespace: str | None) -> np.ndarray:
    """Return when a ControlStep said that a simulation had put the robot elsewhere [ns]."""
    wanted = {PLACED: Wanted('control_step', PLACED)}
    stamps = [
        series.stamps[series.values[:, 0] > 0.0] for _, series in read(bag, wanted, namespace)
    ]
    return np.concatenate([np.zeros(0), *stamps])


def _restarts(
    bag: Bag, robot: Embodiment, jumps: Collection[Jump], namespace: str | None
) -> set[Jump]:
    """Return the jumps to where the joint was just measured, where a simulation had put it."""
    found: set[Jump] = set()
    marks = _marks(bag, namespace) if jumps else np.zeros(0)
    jumps = [jump for jump in jumps if (np.abs(marks - jump.stamp) < _NEAR).any()]
    sources = {key_of(source): source for source in robot.sources} if jumps else {}
    reach = _reach(robot)
    wanted = {key: of_source(source) for key, source in sources.items()}
    for key, series in read(bag, wanted, namespace):
        source = sources[key]
        values = ours(series.values, source)
        for jump in jumps:
            name = robot.joint_names[jump.joint]
            if name in source.joints:
                age = jump.stamp - series.stamps
                # Not later: the servo goes wherever it is told.
                near = values[(age >= 0) & (age < _RECENT), source.joints.index(name)]
                if (np.abs(near - jump.end) <= reach[jump.joint]).any():
                    found.add(jump)
    return found
