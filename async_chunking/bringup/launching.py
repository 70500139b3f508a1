# SPDX-License-Identifier: Apache-2.0
"""From a description of a robot's nodes to actions of `ros2 launch`; needs launch_ros."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch.events.process import ProcessExited
from launch_ros.actions import Node

from async_chunking.bags.topics import recorded_topics
from async_chunking.bringup.describe import Arguments, Bringup, NodeSpec, describe
from async_chunking.bringup.parameters import COULD_NOT_START
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
        on_exit=_exit_handler(spec),
    )


def _exit_handler(spec: NodeSpec) -> Callable[[ProcessExited, LaunchContext], list[Shutdown]]:
    """End everything when a node ends that is needed, or that could not even start."""
    exits = itertools.count()

    def handle(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
        refused = next(exits) == 0 and event.returncode == COULD_NOT_START
        needed = spec.essential and not spec.respawn
        if context.is_shutdown or not (refused or needed):
            return []
        return [Shutdown(reason=f'{spec.name} {"could not start" if refused else "ended"}')]

    return handle


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
