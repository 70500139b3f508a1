# SPDX-License-Identifier: Apache-2.0
"""Joints of an MJCF, read by MuJoCo but not compiled: classes count, meshes are not needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from async_chunking.robot.model.joints import Model, ModelError, ModelJoint, refuse_degrees

_RADIANS = "write <compiler angle='radian'/> only if they are radians"


def read_mjcf(path: Path) -> Model:
    """
    Return what an MJCF says of its joints. It knows neither velocity nor acceleration limits.

    Raises:
        ModelError: MuJoCo is not installed or cannot read it, or angles are in the other unit.
    """
    try:
        import mujoco
    except ImportError:
        msg = "MJCF is read by mujoco: pip install '.[sim]' in the checkout"
        raise ModelError(msg) from None
    try:
        spec = mujoco.MjSpec.from_file(str(path))
    except (ValueError, mujoco.FatalError) as error:
        msg = f'{path}: {str(error).splitlines()[0] if str(error) else error!r}'
        raise ModelError(msg) from None
    kinds = mujoco.mjtJoint
    driven = {kinds.mjJNT_HINGE: False, kinds.mjJNT_SLIDE: True}
    mimics = {
        equality.name1: equality.name2
        for equality in spec.equalities
        if equality.type == mujoco.mjtEq.mjEQ_JOINT and equality.name2
    }
    joints, skipped, degrees = [], {}, bool(spec.compiler.degree)
    for joint in spec.joints:
        if joint.name in mimics:
            skipped[joint.name] = f'mimics {mimics[joint.name]}'
        elif joint.type in driven and joint.name:
            joints.append(_joint(joint, driven[joint.type], degrees))
        else:
            kind = joint.type.name.removeprefix('mjJNT_').lower()
            skipped[joint.name or f'a joint of {joint.parent.name}'] = (
                kind if joint.name else 'it has no name'
            )
    _refuse_radians(path, joints, degrees)
    refuse_degrees(path, joints, _RADIANS)
    return Model(spec.modelname, tuple(joints), skipped)


def _joint(joint: Any, linear: bool, degrees: bool) -> ModelJoint:
    unit = math.pi / 180.0 if degrees and not linear else 1.0
    low, high = (float(end) * unit for end in joint.range)
    limited = joint.limited != 0 and low < high
    return ModelJoint(joint.name, linear, low if limited else None, high if limited else None)


def _refuse_radians(path: Path, joints: list[ModelJoint], degrees: bool) -> None:
    """Refuse degrees, MJCF's default, of which not one would be more than a turn of radians."""
    ways = [
        joint.upper - joint.lower
        for joint in joints
        if not joint.linear and joint.lower is not None and joint.upper is not None
    ]
    if degrees and ways and max(ways) <= math.radians(4.0 * math.pi):
        msg = (
            f'{path}: angles are degrees unless <compiler angle="radian"/> says otherwise, and no '
            f'joint turns more than {math.degrees(max(ways)):.1f} degrees: radians?'
        )
        raise ModelError(msg)
