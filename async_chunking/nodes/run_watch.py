# SPDX-License-Identifier: Apache-2.0
"""Where a run may begin, and whether the joints stay there until its first chunk."""

from __future__ import annotations

import numpy as np

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.executor import ExecutorConfig, Phase
from async_chunking.pose import Departure, PoseWatch, lagging, span

_TRUST = 'are the joint states right? call ~/reset'


class RunWatch:
    """Watches measured poses around the beginning of a run.

    Args:
        config: Settings of the executor.
        parameters: Parameters of its node.

    Attributes:
        poses: What is measured, believed once it stays.
        most: [D] how far off a joint may be and still be where it was told to be [rad, m].
        left: Joints that left the pose at which the run began, in words; empty if none did.
    """

    def __init__(self, config: ExecutorConfig, parameters: ExecutorParameters) -> None:
        self.poses = PoseWatch(
            config.limits, config.joint_names, config.endless, parameters.settle_s,
            parameters.pose_tolerance, parameters.stale_s,
        )  # fmt: skip
        self.most = parameters.displaced * span(config.limits)
        self.left = ''
        self._config, self._how = config, parameters.if_displaced
        self._departure: Departure | None = None
        self._believed: np.ndarray | None = None  # Where a run began, or is about to.

    def activate(self, told: np.ndarray) -> None:
        """Let the next run begin near the last command [D]; empty if there was none."""
        near = len(told) and self._how != 'teleport'
        self.poses.anchor = (told, self.most) if near else None
        self.left, self._departure = '', None

    def wait(self, pose: np.ndarray | None) -> None:
        """Remember the pose [D] at which a run would begin now; None while none is believed."""
        self._believed = pose

    def begin(self, pose: np.ndarray) -> None:
        """Let a run begin at a pose [D]."""
        self._departure, self.left, self._believed = None, '', pose

    def lag(self, pose: np.ndarray, told: np.ndarray) -> str:
        """Return which joints are not where they were told to be, in words."""
        return lagging(pose, told, self.most, self._config.joint_names, self._config.endless)

    def departed(self, measured: np.ndarray, phase: int) -> bool:
        """Take a measurement [D] of a run; return whether joints just left where it began."""
        self.poses.anchor = None
        if phase != Phase.WAITING_FIRST or self._how == 'follow':
            self._departure = self._believed = None  # It may wait again, elsewhere.
            return False
        config = self._config
        if self._departure is None and self._believed is not None:
            self._departure = Departure(
                self._believed, self.most, config.joint_names, config.endless
            )
        away = self._departure.add(measured) if self._departure else ''
        new = bool(away) and not self.left
        if new:
            self.left = f'joints left the pose at which the run began: {away}; {_TRUST}'
        return new
