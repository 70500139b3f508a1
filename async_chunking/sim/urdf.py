# SPDX-License-Identifier: Apache-2.0
"""
A simulated robot as URDF and as frames, for viewers: made of its MuJoCo model, so that both agree.

Links are the bodies, with the same names; a capsule is a cylinder and two spheres, an ellipsoid a
sphere of its mean radius. Frames have their origin and axes, as REP 103 and 105 want them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from async_chunking.sim.plant import Plant, PlantError

WORLD = 'world'
_GEOMS = mujoco.mjtGeom
_OPTICAL = Rotation.from_euler('x', np.pi)


def robot_bodies(plant: Plant) -> list[int]:
    """Return the numbers of the bodies that hang together with the commanded joints."""
    model = plant.model
    driven = model.actuator_trnid[[model.actuator(name).id for name in plant.joints], 0]
    roots = set(model.body_rootid[model.jnt_bodyid[driven]].tolist())
    return [body for body in range(model.nbody) if int(model.body_rootid[body]) in roots]


def urdf(plant: Plant, name: str) -> str:
    """
    Return the robot's description.

    Raises:
        PlantError: A body has more joints than one, or a joint that is not at its body's origin.
    """
    model, bodies = plant.model, robot_bodies(plant)
    robot = Element('robot', name=name)
    SubElement(robot, 'link', name=WORLD)
    for body in bodies:
        link = SubElement(robot, 'link', name=model.body(body).name)
        _add_inertia(link, model, body)
        for geom in np.flatnonzero(model.geom_bodyid == body):
            _add_visuals(link, model, int(geom))
    for body in bodies:
        _add_joint(robot, model, body)
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding='unicode')


def frames(plant: Plant) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield parent, child, position [m] and quaternion x, y, z, w of every link as it is now.

    Then the cameras' optical frames: z looks forward and y down, MuJoCo's look along -z.
    """
    model, data = plant.model, plant.data
    for body in robot_bodies(plant):
        parent = int(model.body_parentid[body])
        turned = Rotation.from_matrix(data.xmat[parent].reshape(3, 3)).inv()
        rotation = turned * Rotation.from_matrix(data.xmat[body].reshape(3, 3))
        position = turned.apply(data.xpos[body] - data.xpos[parent])
        names = [model.body(number).name for number in (parent, body)]
        yield names[0], names[1], position, rotation.as_quat()
    for camera in range(model.ncam):
        rotation = Rotation.from_matrix(data.cam_xmat[camera].reshape(3, 3)) * _OPTICAL
        name = f'{model.camera(camera).name}_optical'
        yield WORLD, name, data.cam_xpos[camera].copy(), rotation.as_quat()


def tips(plant: Plant) -> list[str]:
    """Return the sites that show where the robot's hands are: one a hand, the first of each."""
    model, bodies, parts = plant.model, set(robot_bodies(plant)), {}
    for site in range(model.nsite):
        body = int(model.site_bodyid[site])
        if body in bodies:
            parts.setdefault(body, model.site(site).name)
    return list(parts.values())


def _add_joint(robot: Element, model: mujoco.MjModel, body: int) -> None:
    name, count = model.body(body).name, int(model.body_jntnum[body])
    number = int(model.body_jntadr[body])
    if count > 1 or (count and np.abs(model.jnt_pos[number]).max() > 1e-9):
        msg = f'body {name}: URDF has one joint a link, at its origin'
        raise PlantError(msg)
    kind = 'fixed'
    if count:
        hinge = model.jnt_type[number] == mujoco.mjtJoint.mjJNT_HINGE
        kind = 'revolute' if hinge else 'prismatic'
    title = model.joint(number).name if count else f'{name}_fixed'
    joint = SubElement(robot, 'joint', name=title, type=kind)
    parent = int(model.body_parentid[body])
    SubElement(joint, 'parent', link=model.body(parent).name)
    SubElement(joint, 'child', link=name)
    _add_origin(joint, model.body_pos[body], model.body_quat[body])
    if count:
        SubElement(joint, 'axis', xyz=_text(model.jnt_axis[number]))
        low, high = map(_text, model.jnt_range[number])
        SubElement(joint, 'limit', lower=low, upper=high, effort='100', velocity='3.14')
        _add_mimic(joint, model, number)


def _add_mimic(joint: Element, model: mujoco.MjModel, number: int) -> None:
    mirrored = (model.eq_type == mujoco.mjtEq.mjEQ_JOINT) & (model.eq_obj1id == number)
    for i in np.flatnonzero(mirrored):
        offset, multiplier = map(_text, model.eq_data[i, :2])
        leader = model.joint(int(model.eq_obj2id[i])).name
        SubElement(joint, 'mimic', joint=leader, multiplier=multiplier, offset=offset)


def _add_inertia(link: Element, model: mujoco.MjModel, body: int) -> None:
    inertial = SubElement(link, 'inertial')
    _add_origin(inertial, model.body_ipos[body], model.body_iquat[body])
    SubElement(inertial, 'mass', value=_text(model.body_mass[body]))
    values = dict(zip(('ixx', 'iyy', 'izz'), map(_text, model.body_inertia[body]), strict=True))
    SubElement(inertial, 'inertia', ixy='0', ixz='0', iyz='0', **values)


def _add_visuals(link: Element, model: mujoco.MjModel, geom: int) -> None:
    size, turn = model.geom_size[geom], model.geom_quat[geom]
    kind, centre = model.geom_type[geom], model.geom_pos[geom]
    along = Rotation.from_quat(turn, scalar_first=True).apply([0.0, 0.0, size[1]])
    shapes: list[tuple[str, dict[str, str], np.ndarray]] = []
    if kind in (_GEOMS.mjGEOM_CYLINDER, _GEOMS.mjGEOM_CAPSULE):
        rod = {'radius': _text(size[0]), 'length': _text(2.0 * size[1])}
        shapes.append(('cylinder', rod, centre))
    if kind == _GEOMS.mjGEOM_CAPSULE:
        ball = {'radius': _text(size[0])}
        shapes += [('sphere', ball, centre + along), ('sphere', ball, centre - along)]
    elif kind == _GEOMS.mjGEOM_BOX:
        shapes.append(('box', {'size': _text(2.0 * size)}, centre))
    elif kind in (_GEOMS.mjGEOM_SPHERE, _GEOMS.mjGEOM_ELLIPSOID):
        mean = size[0] if kind == _GEOMS.mjGEOM_SPHERE else size.mean()
        shapes.append(('sphere', {'radius': _text(mean)}, centre))
    for shape, sizes, place in shapes:
        visual = SubElement(link, 'visual')
        _add_origin(visual, place, turn)
        SubElement(SubElement(visual, 'geometry'), shape, sizes)
        material = SubElement(visual, 'material', name=f'geom_{geom}')
        SubElement(material, 'color', rgba=_text(model.geom_rgba[geom]))


def _add_origin(element: Element, position: np.ndarray, quaternion: np.ndarray) -> None:
    with warnings.catch_warnings():  # At a pitch of 90 degrees roll and yaw are one: any will do.
        warnings.simplefilter('ignore')
        rpy = Rotation.from_quat(quaternion, scalar_first=True).as_euler('xyz')
    SubElement(element, 'origin', xyz=_text(position), rpy=_text(rpy))


def _text(values: np.ndarray | float) -> str:
    return ' '.join(f'{value:.9g}' for value in np.atleast_1d(values))
