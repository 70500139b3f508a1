# SPDX-License-Identifier: Apache-2.0
"""A first robot YAML from URDF and MJCF: what is taken, what is skipped, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from async_chunking.bringup.describe import describe
from async_chunking.commands.robot import robot as command
from async_chunking.errors import AsyncChunkingError
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.robot.model.description import chosen, description, read_model
from async_chunking.sim.plant import MODELS

URDF = """<?xml version="1.0"?>
<robot name="My Arm">
  <joint name="mount" type="fixed"/>
  <joint name="shoulder" type="revolute"><limit lower="-1.5" upper="1.2" velocity="2.5"/></joint>
  <joint name="wrist" type="continuous"/>
  <joint name="rail-1" type="prismatic">
    <limit lower="0" upper="0.4" velocity="0.2" acceleration="1.5"/>
  </joint>
  <joint name="on" type="prismatic"><limit upper="0.04" velocity="0"/></joint>
  <joint name="twin" type="prismatic"><limit upper="0.04" velocity="1"/><mimic joint="on"/></joint>
  <joint name="legs" type="floating"/>
</robot>
"""


def made(tmp_path: Path, text: str = URDF, names: tuple[str, ...] = (), **options) -> Embodiment:
    """Return the robot that a model's YAML describes, loaded as `up` loads it."""
    path = tmp_path / 'robot.urdf'
    path.write_text(text)
    model = read_model(path, **options)
    yaml = tmp_path / 'robot.yaml'
    yaml.write_text(description(path, model, chosen(model, names)))
    return load(str(yaml))


def test_a_urdf_becomes_a_robot_with_what_it_says(tmp_path: Path) -> None:
    robot = made(tmp_path)
    assert robot.name == 'my_arm'
    assert robot.joint_names == ('shoulder', 'wrist', 'rail-1', 'on')
    shoulder, wrist, rail, grip = robot.joints
    assert (shoulder.lower, shoulder.upper, shoulder.velocity) == (-1.5, 1.2, 2.5)
    assert (wrist.continuous, wrist.upper) == (True, math.inf)
    assert (rail.lower, rail.upper, rail.velocity, rail.acceleration) == (0.0, 0.4, 0.2, 1.5)
    assert (grip.lower, grip.upper) == (0.0, 0.04)


def test_what_the_model_does_not_say_is_marked(tmp_path: Path) -> None:
    made(tmp_path)
    lines = (tmp_path / 'robot.yaml').read_text().splitlines()
    ends = {line.split()[2]: line.partition('#')[2].strip() for line in lines if '- {name' in line}
    assert ends == {
        'shoulder,': 'acceleration: ours', 'wrist,': 'velocity, acceleration: ours',
        '"rail-1",': '', '"on",': 'velocity, acceleration: ours',
    }  # fmt: skip
    assert '# No joints to command: mount (fixed), twin (mimics on), legs (floating).' in lines
    assert any(line.endswith('check: velocity, acceleration, topics and rates.') for line in lines)


def test_some_joints_in_another_order(tmp_path: Path) -> None:
    assert made(tmp_path, names=('on', 'shoulder')).joint_names == ('on', 'shoulder')
    with pytest.raises(AsyncChunkingError, match='joint twin cannot be commanded: mimics on'):
        made(tmp_path, names=('twin',))
    with pytest.raises(AsyncChunkingError, match=r"unknown joint 'sholder'. Did you mean 'should"):
        made(tmp_path, names=('sholder',))


def test_degrees_are_noticed_and_read_when_told(tmp_path: Path) -> None:
    degrees = URDF.replace('-1.5', '-90').replace('1.2', '180').replace('2.5', '90')
    with pytest.raises(
        AsyncChunkingError, match=r'shoulder turns from -90 to 180 rad, .*--degree'
    ):
        made(tmp_path, degrees)
    shoulder, _, rail, _ = made(tmp_path, degrees, degrees=True).joints
    assert (shoulder.lower, shoulder.upper) == pytest.approx((-math.pi / 2, math.pi), abs=1e-5)
    assert shoulder.velocity == pytest.approx(math.pi / 2, abs=1e-5)
    assert (rail.upper, rail.velocity) == (0.4, 0.2)  # Metres stay metres.


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('lower="-1.5" upper="1.2"', '', 'shoulder is revolute with limits from 0 to 0, which is'),
        ('upper="1.2"', 'upper="wide"', "shoulder: upper is 'wide'"),
        ('velocity="2.5"', 'velocity="-2.5"', "shoulder: velocity is '-2.5'"),
        ('upper="1.2"', 'upper="inf"', "shoulder: upper is 'inf'"),
        (
            '<robot name="My Arm">',
            '<robot name="My Arm" xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:if/>',
            'a xacro',
        ),
        ('</robot>', '', 'this is no XML'),
        ('robot', 'sdf', '<sdf> is neither the <robot> of a URDF nor the <mujoco> of an MJCF'),
        ('name="rail-1"', 'name="on"', 'joint on is listed twice'),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, old, new, message) -> None:
    with pytest.raises(AsyncChunkingError) as error:
        made(tmp_path, URDF.replace(old, new))
    assert message in str(error.value)
    assert 'robot.urdf' in str(error.value)


def test_a_file_that_is_not_there_or_has_nothing_to_command(tmp_path: Path) -> None:
    with pytest.raises(AsyncChunkingError, match='No such file'):
        read_model(tmp_path / 'none.urdf')
    fixed = '<robot name="box"><joint name="lid" type="fixed"/></robot>'
    with pytest.raises(
        AsyncChunkingError, match=r'no joint can be commanded; joints: lid \(fixed'
    ):
        made(tmp_path, fixed)


def test_names_cannot_break_the_yaml(tmp_path: Path) -> None:
    strange = URDF.replace('"shoulder"', '"a: {b}&#10;&quot;\\"').replace(
        '"mount"', '"x&#10;y: 1"'
    )
    assert made(tmp_path, strange).joint_names[0] == 'a: {b}\n"\\'


def test_an_mjcf_says_what_the_packaged_robot_has() -> None:
    """Models and descriptions were made apart from the same sources."""
    pytest.importorskip('mujoco')
    path = MODELS / 'viperx.xml'
    model = read_model(path)
    known = {joint.name: joint for joint in load('viperx').joints}
    read = {joint.name: joint for joint in model.joints if joint.name in known}
    assert set(read) == set(known)
    for name, joint in known.items():
        assert read[name].lower == pytest.approx(joint.lower, abs=1e-4)
        assert read[name].upper == pytest.approx(joint.upper, abs=1e-4)
    text = description(path, model, chosen(model, tuple(known)))
    assert text.count('# velocity, acceleration: ours') == len(known)


MJCF = """<mujoco model="pair"><compiler angle="{unit}"/>
  <default><default class="arm"><joint range="{range}"/></default></default>
  <asset><mesh name="m" file="not/there.stl"/></asset>
  <worldbody><body name="a"><freejoint name="base"/><geom type="mesh" mesh="m"/>
    <body name="b"><joint name="hinge" class="arm"/><joint name="free" type="hinge"/>
      <body name="c"><joint name="slide" type="slide" range="0 0.5"/>
        <body name="d"><joint name="twin" type="slide"/><joint type="ball"/></body>
  </body></body></body></worldbody>
  <equality><joint joint1="twin" joint2="slide"/></equality>
</mujoco>"""


def test_an_mjcf_without_its_meshes_is_read_with_its_classes(tmp_path: Path) -> None:
    pytest.importorskip('mujoco')
    robot = made(tmp_path, MJCF.format(unit='degree', range='-90 45'))
    assert robot.joint_names == ('hinge', 'free', 'slide')
    hinge, free, slide = robot.joints
    assert (hinge.lower, hinge.upper) == pytest.approx((-math.pi / 2, math.pi / 4), abs=1e-5)
    assert free.continuous
    assert (slide.lower, slide.upper) == (0.0, 0.5)
    text = (tmp_path / 'robot.yaml').read_text()
    assert 'base (free), twin (mimics slide), a joint of d (it has no name)' in text


@pytest.mark.parametrize(
    ('unit', 'limits', 'message'),
    [
        ('degree', '-1.57 1.57', 'no joint turns more than 3.1 degrees: radians?'),
        ('radian', '-90 90', 'turns from -90 to 90 rad, which is 14 turns: degrees?'),
    ],
)
def test_the_unit_of_an_mjcf_is_looked_at(tmp_path, unit, limits, message) -> None:
    pytest.importorskip('mujoco')
    with pytest.raises(AsyncChunkingError) as error:
        made(tmp_path, MJCF.format(unit=unit, range=limits))
    assert message in str(error.value)


def test_the_command_writes_what_up_loads_at_once(tmp_path: Path) -> None:
    model, out = tmp_path / 'arm.urdf', tmp_path / 'arm.yaml'
    model.write_text(URDF)
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(model), '--out', str(out)])
    assert done.exit_code == 0, done.output
    assert f'see it move: up {out} sim:=follow policy:=wave' in ' '.join(done.output.split())
    described = describe(str(out), {'sim': 'follow', 'policy': 'wave'})
    assert {node.name for node in described.nodes} >= {'follow', 'executor'}
    again = CliRunner().invoke(app, [str(model), '--out', str(out)])
    assert 'exists already' in str(again.exception)
