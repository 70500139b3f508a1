# SPDX-License-Identifier: Apache-2.0
"""Closed-form kinematics of the ViperX 300 S with the gripper pointing straight down."""

from __future__ import annotations

import math

import numpy as np

from async_chunking.errors import AsyncChunkingError

# Published joint origins [m]; see models/viperx.xml.
SHOULDER_HEIGHT = 0.12705
UPPER_ARM = math.hypot(0.05955, 0.3)
UPPER_ARM_TILT = math.atan2(0.05955, 0.3)  # Of shoulder-elbow against the vertical, at zero [rad].
FOREARM = 0.3
HAND = 0.176944  # Wrist to the point between the fingers.


class ReachError(AsyncChunkingError):
    """No joint position puts the gripper there."""


def pointing_down(tip: np.ndarray, yaw: float = 0.0) -> np.ndarray:
    """
    Return the six arm joints that put the gripper's tip at a point, pointing down, elbow up.

    Args:
        tip: x, y, z in the base frame [m].
        yaw: Direction of the axis along which the fingers open, 0 = along y [rad].

    Returns:
        [6] waist, shoulder, elbow, forearm_roll, wrist_angle, wrist_rotate [rad].

    Raises:
        ReachError: The point is too far away or too close.
    """
    waist = math.atan2(tip[1], tip[0])
    along = math.hypot(tip[0], tip[1])
    up = tip[2] + HAND - SHOULDER_HEIGHT
    square = along * along + up * up
    cosine = (square - UPPER_ARM**2 - FOREARM**2) / (2.0 * UPPER_ARM * FOREARM)
    if abs(cosine) > 1.0:
        reach = math.sqrt(square)
        msg = f'the wrist cannot be {reach:.3f} m from the shoulder (at most 0.606 m)'
        raise ReachError(msg)
    bend = math.acos(cosine)  # Between the directions of upper arm and forearm.
    incline = math.atan2(along, up) - math.atan2(
        FOREARM * math.sin(bend), UPPER_ARM + FOREARM * math.cos(bend)
    )
    shoulder = incline - UPPER_ARM_TILT
    pitch = incline + bend - math.pi / 2.0  # Of the forearm below the horizontal.
    return np.array([waist, shoulder, pitch - shoulder, 0.0, math.pi / 2.0 - pitch, waist - yaw])
