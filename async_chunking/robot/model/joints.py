# SPDX-License-Identifier: Apache-2.0
"""What a model file says of a robot's joints, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from async_chunking.errors import AsyncChunkingError

_FARTHEST = 4.0 * math.pi  # No joint with limits turns farther; what is more is degrees [rad].


class ModelError(AsyncChunkingError):
    """A model file cannot be read, or what it says cannot be meant."""


@dataclass(frozen=True)
class ModelJoint:
    """
    A joint that can be commanded.

    Attributes:
        name: As the file has it.
        linear: Whether it slides; else it turns.
        lower: [rad, m]; None without limits.
        upper: [rad, m]; None without limits.
        velocity: [rad/s, m/s]; None where the file does not say.
        acceleration: [rad/s^2, m/s^2]; None where the file does not say.
    """

    name: str
    linear: bool
    lower: float | None
    upper: float | None
    velocity: float | None = None
    acceleration: float | None = None


@dataclass(frozen=True)
class Model:
    """
    A model file.

    Attributes:
        name: Name of the robot.
        joints: Those that can be commanded, in the order of the file.
        skipped: Name of every other joint -> why it cannot.
    """

    name: str
    joints: tuple[ModelJoint, ...]
    skipped: dict[str, str]


def refuse_degrees(path: object, joints: Iterable[ModelJoint], remedy: str) -> None:
    """
    Refuse limits that are degrees where radians are meant.

    Raises:
        ModelError: Names the first joint that no radians would explain, and the remedy.
    """
    for joint in joints:
        ends = [end for end in (joint.lower, joint.upper) if end is not None]
        if not joint.linear and max(map(abs, ends), default=0.0) > _FARTHEST:
            msg = (
                f'{path}: joint {joint.name} turns from {joint.lower:g} to {joint.upper:g} rad, '
                f'which is {max(map(abs, ends)) / (2.0 * math.pi):.0f} turns: degrees? {remedy}'
            )
            raise ModelError(msg)
