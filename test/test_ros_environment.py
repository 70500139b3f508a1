# SPDX-License-Identifier: Apache-2.0
"""Where ROS 2 is looked for: a sourced installation is left alone, wheels are found unaided."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from async_chunking import ros_environment


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch) -> Path:
    """Pretend that the running environment holds ROS 2 as wheels."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'rclpy').touch()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setattr(ros_environment, '_BUILT', str(tmp_path / 'install'))
    for name in ('AMENT_PREFIX_PATH', 'RMW_IMPLEMENTATION'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_sourced_installation_is_left_alone(wheels, monkeypatch) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    assert ros_environment.origin() == 'sourced'
    assert ros_environment.environment() == dict(os.environ)


def test_without_ros_nothing_is_added(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert ros_environment.origin() == 'none'
    assert ros_environment.environment() == dict(os.environ)


def test_wheels_and_built_messages_become_the_prefix(wheels: Path) -> None:
    assert ros_environment.environment()['AMENT_PREFIX_PATH'] == str(wheels)
    (wheels / 'install').mkdir()
    added = ros_environment.environment()
    assert added['AMENT_PREFIX_PATH'] == f'{wheels}/install{os.pathsep}{wheels}'
    assert added['RMW_IMPLEMENTATION'] == 'rmw_fastrtps_cpp'


def test_a_child_adds_nothing_twice_and_keeps_the_users_choice(wheels, monkeypatch) -> None:
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_cyclonedds_cpp')
    for name, value in ros_environment.environment().items():
        monkeypatch.setenv(name, value)
    assert ros_environment.environment() == dict(os.environ)
    assert os.environ['RMW_IMPLEMENTATION'] == 'rmw_cyclonedds_cpp'


def test_a_bare_shell_can_use_rclpy_and_the_messages() -> None:
    if ros_environment.origin() != 'wheels':
        pytest.skip('ROS 2 does not come from wheels here')
    code = 'import rclpy, async_chunking.msg as m; rclpy.init(); n = rclpy.create_node("n"); '
    code += 'n.create_publisher(m.ControlStep, "t", 1)'
    domain = {name: os.environ[name] for name in ('ROS_DOMAIN_ID', 'HOME') if name in os.environ}
    subprocess.run([sys.executable, '-c', code], env=domain, cwd='/', check=True)
