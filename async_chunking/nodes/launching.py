# SPDX-License-Identifier: Apache-2.0
"""From a description of a robot's nodes to actions of `ros2 launch`; needs launch_ros."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch_ros.actions import Node

from async_chunking.bags.topics import recorded_topics
from async_chunking.bringup import Arguments, Bringup, NodeSpec, describe
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity


def robot_launch(robot: str) -> LaunchDescription:
    """Return what `ros2 launch` starts for a robot; its arguments are those of `bringup`."""

    def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
        given = {name: context.launch_configurations[name] for name in Arguments.model_fields}
        bringup = describe(robot, {name: text for name, text in given.items() if text != ''})
        return [*_nodes(bringup), *_recorder(bringup), *_end(bringup.arguments)]

    declared = [
        DeclareLaunchArgument(
            name,
            default_value=_text(field.default),
            description=field.description or '',
        )
        for name, field in Arguments.model_fields.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _text(default: object) -> str:
    """Return a default as one would type it; empty leaves the choice to the robot."""
    if default is None:
        return ''
    return str(default).lower() if isinstance(default, bool) else str(default)


def _nodes(bringup: Bringup) -> list[Node]:
    return [_node(spec, bringup.arguments) for spec in bringup.nodes]


def _node(spec: NodeSpec, arguments: Arguments) -> Node:
    if spec.name == 'recorder' and shutil.which('ros2'):
        # ros2 bag record writes the bag; ours only publishes what the robot is running.
        spec = replace(spec, parameters={**spec.parameters, 'path': ''})
    ending = OpaqueFunction(function=_end_with, args=[spec.name])
    return Node(
        package='async_chunking',
        executable=spec.executable,
        name=spec.name,
        namespace=arguments.namespace,
        parameters=[dict(spec.parameters)],
        remappings=list(spec.remappings.items()),
        ros_arguments=['--log-level', arguments.log_level],
        prefix=spec.python or None,  # The executable is a script.
        output='screen',
        respawn=spec.respawn,
        respawn_delay=0.5,
        sigterm_timeout='8',  # The robot is brought to rest first.
        on_exit=[ending] if spec.essential and not spec.respawn else None,
    )


def _end_with(context: LaunchContext, name: str) -> list[Shutdown]:
    """End everything because a node ended, unless that is going on already."""
    return [] if context.is_shutdown else [Shutdown(reason=f'{name} ended')]


def _recorder(bringup: Bringup) -> list[ExecuteProcess]:
    arguments = bringup.arguments
    wanted = any(spec.name == 'recorder' for spec in bringup.nodes)
    if not (wanted and shutil.which('ros2')):
        return []
    root = f'/{arguments.namespace.strip("/")}'.rstrip('/')
    topics = [
        topic if topic.startswith('/') else f'{root}/{topic}'
        for topic in recorded_topics(bringup.robot)
    ]
    path = str(Path(arguments.record).expanduser().resolve())
    command = ['ros2', 'bag', 'record', '-s', 'mcap', '-o', path, '--topics', *topics]
    return [ExecuteProcess(cmd=command, output='screen')]


def _end(arguments: Arguments) -> list[TimerAction]:
    if not arguments.duration:
        return []
    return [TimerAction(period=arguments.duration, actions=[Shutdown(reason='duration is over')])]
