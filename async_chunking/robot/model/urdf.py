# SPDX-License-Identifier: Apache-2.0
"""Joints of a URDF, as the specification of its XML has them; meshes are not needed."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from async_chunking.robot.model.joints import Model, ModelError, ModelJoint, refuse_degrees

_DRIVEN = ('revolute', 'continuous', 'prismatic')
_SAY = 'with --degrees its angles are read as such'


def read_urdf(path: Path, root: Element, degrees: bool) -> Model:
    """
    Return what a URDF says of its joints.

    Args:
        path: Begins messages.
        root: Element `robot` of the file.
        degrees: Angles are degrees, against the specification.

    Raises:
        ModelError: It is a xacro, or a number cannot be meant.
    """
    if any('xacro' in element.tag for element in root.iter()):
        msg = f'{path}: this is a xacro: xacro {path} > robot.urdf makes a URDF of it'
        raise ModelError(msg)
    joints, skipped = [], {}
    for element in root.findall('joint'):
        name, kind = element.get('name', '?'), element.get('type', '?')
        mimic = element.find('mimic')
        if mimic is not None:
            skipped[name] = f'mimics {mimic.get("joint", "?")}'
        elif kind in _DRIVEN:
            joints.append(_joint(path, element, name, kind, degrees))
        else:
            skipped[name] = kind
    if not degrees:
        refuse_degrees(path, joints, _SAY)
    return Model(root.get('name', ''), tuple(joints), skipped)


def _joint(path: Path, element: Element, name: str, kind: str, degrees: bool) -> ModelJoint:
    limit = element.find('limit')
    given = {} if limit is None else limit.attrib
    unit = math.pi / 180.0 if degrees and kind != 'prismatic' else 1.0
    # What is left out counts as zero there, and a rate of zero moves nothing: nobody has said it.
    low, high, velocity, acceleration = (
        _number(path, name, given, key) * unit
        for key in ('lower', 'upper', 'velocity', 'acceleration')
    )
    if kind == 'continuous':
        return ModelJoint(name, False, None, None, velocity or None, acceleration or None)
    if not low < high:
        msg = (
            f'{path}: joint {name} is {kind} with limits from {low:g} to {high:g}, which is no '
            'range; a joint that turns without end is of type continuous'
        )
        raise ModelError(msg)
    linear = kind == 'prismatic'
    return ModelJoint(name, linear, low, high, velocity or None, acceleration or None)


def _number(path: Path, name: str, given: dict[str, str], key: str) -> float:
    text = given.get(key, '0')
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (key in ('velocity', 'acceleration') and value < 0.0):
        msg = f"{path}: joint {name}: {key} is '{text}', which is no number that can be meant"
        raise ModelError(msg)
    return value
