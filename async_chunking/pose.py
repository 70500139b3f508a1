# SPDX-License-Identifier: Apache-2.0
"""
Where the robot is: when a measured pose is believed, and when no longer.

A driver that just started may tell zeros, a broken sensor anything. A pose that commands may begin
at is finite, inside the position limits, and was told again and again for a stated time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from async_chunking.executor.turns import TURN, apart, smooth
from async_chunking.gate import Gate
from async_chunking.safety import FARTHEST, Limits

_SURE = 3  # Measurements in a row that are no accident.
_MOST = 4096  # Poses that are remembered.


class PoseWatch:
    """
    Believes a measured pose that stays, and says why it does not believe another.

    Args:
        limits: Limits of the robot, D joints.
        names: Names of the joints.
        continuous: [D] of each joint, whether it turns without end.
        settle_s: So long a pose must have been told without a gap [s].
        tolerance: How far outside its limits a joint may be, and how far its measurements may lie
            apart within `settle_s`, as a share of its range.
        stale_s: A longer silence is a gap [s].

    Attributes:
        anchor: The last command [D] and what joints may be off from it [D]; without one all is
            believed that stays. Joints that rest elsewhere than they were last told to be may not
            be where they are measured, or another program may have moved them.
    """

    def __init__(
        self,
        limits: Limits,
        names: Sequence[str],
        continuous: np.ndarray,
        settle_s: float,
        tolerance: float,
        stale_s: float,
    ) -> None:
        self._limits = limits
        self._names = tuple(names)
        self._continuous = continuous
        self._settle_s = settle_s
        self._stale_s = stale_s
        self._slack = tolerance * span(limits)
        self.anchor: tuple[np.ndarray, np.ndarray] | None = None
        self._poses: deque[tuple[float, np.ndarray]] = deque(maxlen=_MOST)
        self.forget()

    def forget(self) -> None:
        """Believe nothing of what was told: the robot may have been moved since."""
        self._poses.clear()
        self._pose: np.ndarray | None = None
        self._reason = 'nothing was measured yet'

    def add(self, pose: np.ndarray, now: float) -> None:
        """Hear of a pose [D] at `now` [s]."""
        reason = self._impossible(pose)
        if reason:
            self.forget()
            self._reason = reason
            return
        if self._poses and not 0.0 <= now - self._poses[-1][0] <= self._stale_s:
            self.forget()
        if self._poses:
            way = np.abs(apart(pose, self._poses[0][1], self._continuous))
            if (way > self._slack).any():
                joint = int((way / self._slack).argmax())
                self.forget()
                self._reason = (
                    f'{self._names[joint]} is not at rest: it was measured {way[joint]:.4g} apart '
                    f'within {self._settle_s} s'
                )
        self._poses.append((now, np.array(pose, dtype=np.float64)))
        while len(self._poses) > 2 and now - self._poses[1][0] >= self._settle_s:
            self._poses.popleft()
        if now - self._poses[0][0] < self._settle_s:
            self._reason = self._reason or 'the joints have been measured for too short a time'
            self._pose = None
        else:
            self._reason = ''
            newest = np.array([told for _, told in list(self._poses)[-3:]])
            self._pose = np.median(smooth(newest, self._continuous), axis=0)

    def _impossible(self, pose: np.ndarray) -> str:
        """Return what is wrong with a pose by itself, empty if it could be."""
        if not np.isfinite(pose).all():
            joint = int(np.flatnonzero(~np.isfinite(pose))[0])
            return f'{self._names[joint]} is measured at {pose[joint]}'
        lower = np.maximum(self._limits.lower, self._slack - FARTHEST)
        upper = np.minimum(self._limits.upper, FARTHEST - self._slack)
        beyond = np.clip(np.maximum(pose - upper, lower - pose), 0.0, FARTHEST)
        joint = int((beyond / self._slack).argmax())
        if beyond[joint] > self._slack[joint]:
            return (
                f'{self._names[joint]} is measured at {pose[joint]:.4g}, its limits are '
                f'{lower[joint]:.4g} to {upper[joint]:.4g}'
            )
        return ''

    @property
    def pose(self) -> np.ndarray | None:
        """Where the robot is [D] [rad, m], None if that is not known."""
        return None if self.reason else self._pose

    @property
    def reason(self) -> str:
        """Why no pose is believed; empty if one is."""
        if self._reason or self._pose is None or self.anchor is None:
            return self._reason
        lag = lagging(self._pose, *self.anchor, self._names, self._continuous)
        return (
            f'not where they were last told to be: {lag}; configure to begin there' if lag else ''
        )


class Departure:
    """
    Sees whether joints leave a place at which they are held.

    Args:
        pose: [D] the place [rad, m].
        most: [D] what they may be off [rad, m].
        names: Names of the joints.
        continuous: [D] of each joint, whether it turns without end.
    """

    def __init__(
        self, pose: np.ndarray, most: np.ndarray, names: Sequence[str], continuous: np.ndarray
    ) -> None:
        self._place = (pose, most, names, continuous)
        self._count = 0

    def add(self, pose: np.ndarray) -> str:
        """Hear of a pose [D]; name joints that are elsewhere, the third time in a row."""
        away = lagging(pose, *self._place) or ('' if np.isfinite(pose).all() else 'no number')
        self._count = self._count + 1 if away else 0
        return away if self._count >= _SURE else ''


def span(limits: Limits) -> np.ndarray:
    """Return the ranges [D] of the joints; a turn where there is none [rad, m]."""
    width = limits.upper - limits.lower
    return np.where(np.isfinite(width), width, TURN)


def lagging(
    measured: np.ndarray,
    command: np.ndarray,
    most: np.ndarray,
    names: Sequence[str],
    continuous: np.ndarray,
) -> str:
    """Name the joints that are farther than `most` [D] from their commands, and by how far."""
    way = apart(measured, command, continuous)
    away = np.flatnonzero(np.abs(way) > most).tolist()
    return ', '.join(f'{names[joint]} by {way[joint]:+.4g}' for joint in away)


def go_on(
    gate: Gate, measured: np.ndarray, most: np.ndarray, displaced: str, continuous: np.ndarray
) -> tuple[np.ndarray | None, bool]:
    """
    Decide where a new run begins if joints rest elsewhere than they were told.

    Args:
        gate: Gate of the run before; it is started anew only for a simulation.
        measured: [D] where the joints are [rad, m].
        most: [D] what they may be off [rad, m].
        displaced: What to do with the others: `keep` their commands, as they may be in contact;
            `follow`, through the gate, to where they are; `teleport`, as a simulation moved them.
        continuous: [D] of each joint, whether it turns without end.

    Returns:
        Where to go to before the first chunk, if anywhere; and whether the gate was started anew.
    """
    way = apart(measured, gate.position, continuous)
    far = (gate.velocity == 0.0) & (np.abs(way) > most)
    place = np.where(far, gate.position + way, gate.position)
    if displaced == 'teleport' and far.any():
        gate.start(place)
        return None, True
    return (place if displaced == 'follow' and far.any() else None), False
