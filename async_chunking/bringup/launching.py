# SPDX-License-Identifier: Apache-2.0
"""A robot for `ros2 launch`: its arguments, its processes and how they end.

`ros2 launch` runs this in its own Python, which need not have what the nodes need. So nothing is
imported here but launch, launch_ros and the standard library, and `async-chunking`, which the
nodes' Python runs, says what a robot's arguments and nodes are.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueCoroutine,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnShutdown
from launch.events.process import ProcessExited, ShutdownProcess
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from async_chunking.bringup.nodes import NodeSpec, full_name
from async_chunking.errors import COULD_NOT_START
from async_chunking.start import PARENT_VARIABLE, VARIABLE
from launch import Action, LaunchContext, LaunchDescription, LaunchDescriptionEntity

_ENDS = ('duration', 'episodes')
_OF_LAUNCH = ('launch-prefix', 'launch-prefix-filter')  # Given to every launch file.


def robot_launch(robot: str) -> LaunchDescription:
    """Return what `ros2 launch` starts for a robot, with the arguments of `async-chunking up`."""
    return RobotDescription(robot, json.loads(_ask('arguments', '--json')))


@functools.lru_cache
def _ask(*words: str) -> str:
    """Return what `async-chunking` prints.

    Raises:
        RuntimeError: It refuses; with its message.
    """
    program = Path(get_package_prefix('async_chunking'), 'bin', 'async-chunking')
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().removeprefix('error: '))
    return done.stdout


class RobotDescription(LaunchDescription):
    """A robot, of which a launch file may include several.

    An include sets its arguments among the configurations of the file that includes, where a
    second robot would find what the first was told, and it tells the included file nothing. But it
    asks the description that it includes for its arguments first; there both can be seen. So what
    this one was told is known, and it leaves the configurations as they were.

    Args:
        robot: Name of a file in config/.
        arguments: As `async-chunking arguments --json` lists them.
    """

    def __init__(self, robot: str, arguments: list[dict[str, Any]]) -> None:
        self._robot = robot
        self._names = [argument['name'] for argument in arguments]
        self._told: set[str] = set()
        self._before: dict[str, str] | None = None
        declared = [
            DeclareLaunchArgument(
                argument['name'],
                default_value=argument['default'],
                description=argument['description'],
                choices=argument['choices'] or None,
            )
            for argument in arguments
        ]
        start, restore = OpaqueFunction(function=self._start), OpaqueFunction(function=self._leave)
        super().__init__([*declared, start, restore])

    def get_launch_arguments_with_include_launch_description_actions(
        self, *arguments: Any, **options: Any
    ) -> Any:
        """Return the arguments; if an include asks, see what it tells and what was set before."""
        frame = inspect.currentframe()
        caller: Any = frame.f_back.f_locals if frame and frame.f_back else {}
        include, context = caller.get('self'), caller.get('context')
        if isinstance(include, IncludeLaunchDescription) and isinstance(context, LaunchContext):
            self._before = dict(context.launch_configurations)
            self._told = {
                perform_substitutions(context, normalize_to_list_of_substitutions(name))
                for name, _ in include.launch_arguments
            }
        return super().get_launch_arguments_with_include_launch_description_actions(
            *arguments, **options
        )

    def _start(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        configurations = context.launch_configurations
        pushed = configurations.get('ros_namespace')
        given = {name: configurations[name] for name in self._names if configurations[name]}
        space = prefix_namespace(pushed, given.pop('namespace', None))
        if space:
            given['namespace'] = make_namespace_absolute(space)
        # What nobody has declared is a slip: refused, with the nearest name, as in `up`.
        extra = self._told - {*self._names, *_OF_LAUNCH}
        given |= {name: configurations[name] for name in sorted(extra)}
        words = [f'{name}:={text}' for name, text in given.items()]
        return RobotProcesses(json.loads(_ask('describe', self._robot, '--json', *words))).start()

    def _leave(self, context: LaunchContext) -> None:
        if self._before is None:
            return
        for name in self._names:
            context.launch_configurations.pop(name, None)
            if name in self._before:
                context.launch_configurations[name] = self._before[name]


class RobotProcesses:
    """The processes of one robot: they end together, without another robot's, and not silently.

    Args:
        described: As `async-chunking describe --json` prints it.
    """

    def __init__(self, described: Mapping[str, Any]) -> None:
        self._arguments = described['arguments']
        self._recorded = described['recorded']
        self._failure = ''
        specs = list(described['nodes'])
        if limits := {name: self._arguments[name] for name in _ENDS if self._arguments[name]}:
            specs.append(asdict(NodeSpec('watch_node', 'watch', limits)))
        self._actions = [self._node(spec) for spec in specs]
        if any(spec['name'] == 'recorder' for spec in specs) and _has('ros2bag'):
            self._actions.append(self._bag())

    def start(self) -> list[Action]:
        """Return the actions that start them, and that say in the end whether one failed."""
        failed = RegisterEventHandler(
            OnShutdown(on_shutdown=lambda *_: OpaqueCoroutine(coroutine=self._report))
        )
        return [failed, *self._actions]

    def _node(self, spec: Mapping[str, Any]) -> Node:
        arguments, parameters = self._arguments, dict(spec['parameters'])
        if spec['name'] == 'recorder' and _has('ros2bag'):
            parameters['path'] = ''  # Ours only publishes what the robot is running.
        return Node(
            package='async_chunking',
            executable=spec['executable'],
            name=spec['name'],
            namespace=arguments['namespace'],
            parameters=[{name: _typed(value) for name, value in parameters.items()}],
            remappings=list(spec['remappings'].items()),
            ros_arguments=['--log-level', arguments['log_level']],
            prefix=spec['python'] or None,  # The executable is a script.
            additional_env={PARENT_VARIABLE: str(os.getpid())}
            | ({VARIABLE: ''} if spec['python'] else {}),
            output='screen',
            respawn=spec['respawn'],
            respawn_delay=0.5,
            sigterm_timeout='8',  # The robot is brought to rest first.
            on_exit=self._when_it_ends(spec),
        )

    def _bag(self) -> ExecuteProcess:
        topics = [full_name(self._arguments['namespace'], topic) for topic in self._recorded]
        path = str(Path(self._arguments['record']).expanduser().resolve())
        command = ['ros2', 'bag', 'record', '-s', 'mcap', '-o', path, '--topics', *topics]
        return ExecuteProcess(cmd=command, output='screen')

    def _when_it_ends(
        self, spec: Mapping[str, Any]
    ) -> Callable[[ProcessExited, LaunchContext], list[Action]]:
        """End the robot with a node that is needed, or that could not even start."""
        exits = itertools.count()

        def handle(event: ProcessExited, context: LaunchContext) -> list[Action]:
            refused = next(exits) == 0 and event.returncode == COULD_NOT_START
            needed = spec['essential'] and not spec['respawn']
            if context.is_shutdown or self._failure or not (refused or needed):
                return []
            if event.returncode:
                how = 'could not start' if refused else f'ended with status {event.returncode}'
                name = full_name(self._arguments['namespace'], spec['name'])
                self._failure = f'{name} {how}'
            mine = lambda action: action in self._actions  # noqa: E731
            return [EmitEvent(event=ShutdownProcess(process_matcher=mine))]

        return handle

    async def _report(self, context: LaunchContext) -> None:
        """Let `ros2 launch` end with status 1 if something failed; it asks for an exception.

        It looks at the exceptions of what it was waiting for, not of what ended before.
        """
        del context  # Unused.
        await asyncio.sleep(0.2)
        if self._failure:
            raise RuntimeError(self._failure)


def _typed(value: Any) -> Any:
    """Return a parameter as it is; launch_ros would read a text such as 'yes' as YAML."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value


def _has(package: str) -> bool:
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True
