# SPDX-License-Identifier: Apache-2.0
"""The launch files: each names a robot that exists; with launch_ros they describe nodes."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

from async_chunking.bringup.describe import Arguments
from async_chunking.robot.embodiment import load

FILES = sorted((Path(__file__).parents[2] / 'launch').glob('*.launch.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_names_a_robot_that_exists(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = [call.args[0].value for call in calls if call.func.id == 'robot_launch']
    assert len(names) == 1
    assert load(names[0], sim=True).simulation is not None
    assert path.name == f'{names[0]}.launch.py'


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_describes_the_nodes_of_bringup(path: Path) -> None:
    pytest.importorskip(
        'launch_ros', reason='launch_ros is not on PyPI; source a ROS 2 installation'
    )
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import Node

    from launch import LaunchContext

    entities = runpy.run_path(str(path))['generate_launch_description']().entities
    declared = [e.name for e in entities if isinstance(e, DeclareLaunchArgument)]
    assert declared == list(Arguments.model_fields)
    context = LaunchContext()
    for entity in entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.execute(context)
    (start,) = (e for e in entities if isinstance(e, OpaqueFunction))
    nodes = [a for a in start.execute(context) if isinstance(a, Node)]
    assert len(nodes) == 4
