# SPDX-License-Identifier: Apache-2.0
"""A robot's first YAML from a model file; what the model does not know is marked in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from async_chunking.robot.embodiment import Embodiment
from async_chunking.robot.model.joints import Model, ModelError, ModelJoint
from async_chunking.robot.model.mjcf import read_mjcf
from async_chunking.robot.model.urdf import read_urdf
from async_chunking.settings import parse_yaml, unknown, validated
from async_chunking.storage import read_file

VELOCITY, ACCELERATION = (1.0, 0.1), (5.0, 0.5)
"""What is taken where a model does not say, of joints that turn and joints that slide
[rad/s, m/s; rad/s^2, m/s^2]: cautious."""

_HEADER = """\
# {name}: joints and limits from {file}. A first description: see docs/robots.md.
# Not in the model, so check: {unsaid}, topics and rates.
{skipped}name: {name}
control_rate_hz: 50.0

# In command order [rad, m]. A line that ends in "ours" has a number that the model does not tell.
joints:
"""
_REST = """
joint_states: joint_states

observations:
  observation.state: {{kind: measured, size: {count}}}

# One topic for all joints, as forward_command_controller takes it; docs/robots.md has the others.
commands:
  - topic: forward_position_controller/commands
    sink: float64_multi_array
    joints: [{names}]

# Until there is one: policy:=wave.
policy: {{path: path/to/your/policy, policy_rate_hz: 25.0, execution_horizon: 8}}
"""


def read_model(path: Path, degrees: bool = False) -> Model:
    """
    Return what a URDF or an MJCF says of its joints.

    Raises:
        ModelError: It is neither, or what it says cannot be meant.
    """
    try:
        root = ElementTree.fromstring(read_file(path))
    except OSError as error:
        msg = f'{path}: {error.strerror}'
        raise ModelError(msg) from None
    except ElementTree.ParseError as error:
        msg = f'{path}: this is no XML: {error}'
        raise ModelError(msg) from None
    if root.tag == 'robot':
        return read_urdf(path, root, degrees)
    if root.tag != 'mujoco':
        msg = f'{path}: <{root.tag}> is neither the <robot> of a URDF nor the <mujoco> of an MJCF'
        raise ModelError(msg)
    if degrees:
        msg = f"{path}: an MJCF says itself what its angles are: <compiler angle='degree'/>"
        raise ModelError(msg)
    return read_mjcf(path)


def chosen(model: Model, names: Sequence[str]) -> tuple[ModelJoint, ...]:
    """
    Return some of a model's joints in the order of the names; all without names.

    Raises:
        ModelError: There is no such joint, or none is left.
    """
    joints = {joint.name: joint for joint in model.joints}
    for name in names:
        if name in model.skipped:
            raise ModelError(f'joint {name} cannot be commanded: {model.skipped[name]}')
        if name not in joints:
            raise ModelError(unknown('joint', name, joints))
    if not joints:
        left = ', '.join(f'{name} ({why})' for name, why in model.skipped.items()) or 'none'
        raise ModelError(f'no joint can be commanded; joints: {left}')
    return tuple(joints[name] for name in names) or model.joints


def description(path: Path, model: Model, joints: Sequence[ModelJoint]) -> str:
    """
    Return the YAML of a robot, which `up` loads.

    Raises:
        SettingsError: A joint's limits or name cannot be a robot's.
    """
    name = re.sub(r'\W+', '_', model.name or path.stem).strip('_').lower() or 'robot'
    why = ', '.join(f'{joint} ({reason})' for joint, reason in model.skipped.items())
    ours = ('velocity', 'acceleration') if any(j.velocity is None for j in joints) else ()
    text = _HEADER.format(
        name=name,
        file=' '.join(path.name.split()),
        unsaid=', '.join(ours or ('acceleration',)),
        skipped=f'# No joints to command: {" ".join(why.split())}.\n' if why else '',
    )
    text += ''.join(_line(joint) for joint in joints)
    names = ', '.join(_quoted(joint.name) for joint in joints)
    text += _REST.format(count=len(joints), names=names)
    validated(Embodiment, parse_yaml(text), path)
    return text


def _line(joint: ModelJoint) -> str:
    parts, ours = [f'name: {_quoted(joint.name)}'], []
    if joint.lower is not None and joint.upper is not None:
        parts += [f'lower: {_float(joint.lower)}', f'upper: {_float(joint.upper)}']
    else:
        parts += ['lower: -.inf', 'upper: .inf'] if joint.linear else ['continuous: true']
    for key, default in (('velocity', VELOCITY), ('acceleration', ACCELERATION)):
        value = getattr(joint, key)
        if value is None:
            value = default[joint.linear]
            ours.append(key)
        parts.append(f'{key}: {_float(value)}')
    comment = f'  # {", ".join(ours)}: ours' if ours else ''
    return f'  - {{{", ".join(parts)}}}{comment}\n'


def _float(value: float) -> str:
    """Return a number that YAML reads as one, with as many digits as limits have."""
    text = f'{value:.6g}'
    return text if 'e' not in text else f'{value:.12f}'


def _quoted(name: str) -> str:
    return name if re.fullmatch(r'[A-Za-z_]\w*', name) and name not in _WORDS else json.dumps(name)


_WORDS = {'y', 'n', 'yes', 'no', 'on', 'off', 'true', 'false', 'null'}
