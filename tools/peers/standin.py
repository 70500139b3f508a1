# SPDX-License-Identifier: Apache-2.0
"""A robot as LeRobot's client knows one: the bench stands behind it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.robots.config import RobotConfig
from lerobot.robots.robot import Robot


@RobotConfig.register_subclass('async_chunking_bench')
@dataclass(kw_only=True)
class StandInConfig(RobotConfig):
    """
    Settings of a stand-in; LeRobot finds the class beside it by the name.

    Attributes:
        joints: How many actions it takes.
    """

    joints: int
    calibration_dir: Path | None = field(default_factory=lambda: Path(tempfile.gettempdir()))


class StandIn(Robot):
    """
    A robot whose observation is put there, and whose action is taken from there.

    Attributes:
        state: Joint positions [degrees], as LeRobot's robots give them.
        sent: [D] last action, in the unit of the policy; None once it is taken.
    """

    config_class = StandInConfig
    name = 'async_chunking_bench'

    def __init__(self, config: StandInConfig) -> None:
        super().__init__(config)
        self.state = np.zeros(config.joints)
        self.sent: np.ndarray | None = None
        self._names = [f'joint_{i}.pos' for i in range(config.joints)]

    @property
    def observation_features(self) -> dict[str, Any]:
        """Joints by name."""
        return dict.fromkeys(self._names, float)

    @property
    def action_features(self) -> dict[str, Any]:
        """Joints by name."""
        return dict.fromkeys(self._names, float)

    def get_observation(self) -> dict[str, Any]:
        """Return the joints as they are."""
        return dict(zip(self._names, map(float, self.state), strict=True))

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Keep what is sent."""
        self.sent = np.array([action[name] for name in self._names])
        return action

    is_connected = is_calibrated = True

    def connect(self, calibrate: bool = True) -> None:
        """Do nothing: there is no device."""

    def disconnect(self) -> None:
        """Do nothing: there is no device."""

    def calibrate(self) -> None:
        """Do nothing: there is no device."""

    def configure(self) -> None:
        """Do nothing: there is no device."""
