# SPDX-License-Identifier: Apache-2.0
"""Where ROS 2 is looked for, who may find the nodes, and that nothing else is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from async_chunking import ros_environment

DISCOVERY = (
    'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS',
    'ROS_DISCOVERY_SERVER',
)  # fmt: skip


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch) -> Path:
    """Pretend that the running environment holds ROS 2 as wheels."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'rclpy').touch()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    monkeypatch.setattr(ros_environment, '_BUILT', str(tmp_path / 'install'))
    for name in ('AMENT_PREFIX_PATH', 'RMW_IMPLEMENTATION', *DISCOVERY):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_sourced_installation_is_left_alone_but_for_discovery(wheels, monkeypatch) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    assert ros_environment.origin() == 'sourced'
    local = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    assert ros_environment.environment() == os.environ | local
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    assert ros_environment.environment() == dict(os.environ)


@pytest.mark.parametrize('name', DISCOVERY)
def test_only_this_host_is_found_unless_the_user_says_otherwise(wheels, monkeypatch, name) -> None:
    assert ros_environment.environment()['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    monkeypatch.setenv(name, 'SUBNET')
    variables = ros_environment.environment()
    assert {key: variables[key] for key in DISCOVERY if key in variables} == {name: 'SUBNET'}


def test_without_ros_nothing_is_added(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert ros_environment.origin() == 'none'
    assert ros_environment.environment() == dict(os.environ)


def test_the_distribution_of_the_wheels_is_known(wheels: Path, monkeypatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'humble')  # That of another shell, which is not in use.
    (wheels / 'share' / 'ros_distro').write_text('jazzy\n')
    assert ros_environment.environment()['ROS_DISTRO'] == 'jazzy'


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
