# SPDX-License-Identifier: Apache-2.0
"""
Which processes with which parameters make a robot: data, for launch files and command line.

`describe` turns the name of a robot and `name:=value` arguments into nodes, and refuses whatever
cannot work before anything starts. It knows no ROS; `ros2 launch` and `async-chunking up` start
what it describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.overrides import overridden
from async_chunking.errors import AsyncChunkingError
from async_chunking.latency import parse_latency
from async_chunking.policies.facts import facts
from async_chunking.policies.fit import (
    Facts,
    check_fit,
    check_instruction,
    read_streams,
)
from async_chunking.policies.options import OWN_KIND, InferenceOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.policies.strategy_fit import Timing, check_strategy, first_served
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.settings import validated
from async_chunking.strategies import AUTO, resolve

FOLLOW = 'follow'
# What only a simulation has -> what there is without physics.
_INSTEAD = {
    'use_sim_time': 'the wall clock',
    'real_time_factor': 'the wall clock',
    'episodes': 'no episodes; duration:=SECONDS ends it',
}


class Arguments(InferenceOptions):
    """What launch files and `async-chunking up` take as `name:=value`.

    The description of a field is what `--help` and `ros2 launch --show-args` say. An empty string
    or None leaves a value to the robot's description or the parameter file.
    """

    embodiment: str = Field(
        '', description='A variant of the robot, such as panda, or the path of a YAML file'
    )
    sim: bool | Literal['follow'] = Field(
        True,
        description='Simulate the robot instead of talking to its driver; follow: no simulation '
        'either, joints go where they are told',
    )
    autostart: bool | None = Field(
        None,
        description='Let the robot move at once, as a simulated one does; else the executor '
        'waits for `ros2 lifecycle set /executor activate`',
    )
    params_file: str = Field(
        '', description='ROS parameter file, of any number of nodes, laid over the defaults'
    )
    namespace: str = Field('', description='Namespace of all nodes and topics')
    use_sim_time: bool = Field(False, description='Let the simulation drive the clock')
    real_time_factor: float = Field(
        1.0, ge=0.0, description='Pace of the simulation with use_sim_time; 0 is free'
    )
    log_level: Literal['debug', 'info', 'warn', 'error', 'fatal'] = Field(
        'info', description='Log level of all nodes'
    )
    only: Literal['', 'robot', 'policy'] = Field(
        '', description='Half of the nodes, for two hosts: all but the policy, or the policy alone'
    )
    record: str = Field('', description='Folder to record a bag in; it must not exist')
    duration: float = Field(0.0, ge=0.0, description='End after this many seconds; 0 is never')
    episodes: int = Field(0, ge=0, description='End after this many episodes; 0 is never')
    start_timeout_s: float = Field(
        120.0, gt=0.0, description='`async-chunking up` fails if no chunk is executed by then [s]'
    )
    policy_python: str = Field(
        '', description='Python that runs the policy node, such as .venv-lerobot/bin/python'
    )
    execution_horizon: int | None = Field(None, ge=1, description='Rows between two requests')
    camera_hz: float = Field(
        0.0, ge=0.0, description='Pictures of the simulation per second, on front/image_raw'
    )
    view: bool = Field(
        False, description='Publish robot_description, /tf and the seam, for RViz and Foxglove'
    )
    realtime_priority: int = Field(0, ge=0, le=99, description='SCHED_FIFO of the sender')

    @field_validator('sim', mode='wrap')
    @classmethod
    def _sim(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            msg = 'must be true, false or follow'
            raise ValueError(msg) from None


@dataclass(frozen=True)
class Bringup:
    """A robot, ready to be started.

    Attributes:
        robot: Description of the robot.
        policy: What is known of its policy.
        arguments: As given.
        nodes: In the order in which they start.
    """

    robot: Embodiment
    policy: Facts
    arguments: Arguments
    nodes: tuple[NodeSpec, ...]


def parse(words: Sequence[str]) -> dict[str, str]:
    """Return `name:=value` words as a mapping.

    Raises:
        AsyncChunkingError: A word is not of this form, or its name is given twice.
    """
    given: dict[str, str] = {}
    for word in words:
        name, separator, value = word.partition(':=')
        option = word.removeprefix('--').partition('=')[0].replace('-', '_')
        if word.startswith('--') and option in Arguments.model_fields:
            raise AsyncChunkingError(f"'{word}' is no option: write {option}:=VALUE")
        if not (name and separator):
            msg = f"'{word}' is not name:=value. Names: {', '.join(Arguments.model_fields)}"
            raise AsyncChunkingError(msg)
        if name in given:
            msg = f"argument '{name}' is given twice: {given[name]} and {value}"
            raise AsyncChunkingError(msg)
        given[name] = value
    return given


def describe(robot: str, given: Mapping[str, Any]) -> Bringup:
    """
    Return the nodes that make a robot.

    Args:
        robot: Name of a file in config/, or the path of one.
        given: Fields of `Arguments`; strings will do.

    Raises:
        AsyncChunkingError: Anything that cannot work, before a process is started.
    """
    arguments = validated(Arguments, dict(given), 'arguments')
    robot = arguments.embodiment or robot
    description = load(robot, sim=bool(arguments.sim))
    _check_simulation(robot, arguments, description)
    policy = facts(PolicySpec(description, arguments))
    check_fit(policy, description)
    check_instruction(read_streams(policy, description), arguments.instruction)
    execution_horizon = arguments.execution_horizon or description.policy.execution_horizon
    delay_s = parse_latency(arguments.latency_ms).typical
    timing = Timing(execution_horizon, delay_s, description.policy.policy_rate_hz)
    if arguments.strategy == AUTO:
        strategy = first_served(policy, description.action_modes, timing)
        arguments = arguments.model_copy(update={'strategy': strategy.name})
    else:
        strategy = resolve(arguments.strategy)
        check_strategy(strategy, policy, description.action_modes, timing)
    nodes = _nodes(robot, arguments, description, policy, execution_horizon)
    nodes = overridden(nodes, arguments.namespace, arguments.params_file)
    here = tuple(node for node in nodes if arguments.only in ('', _side(node)))
    return Bringup(description, policy, arguments, here)


def _check_simulation(robot: str, arguments: Arguments, description: Embodiment) -> None:
    if arguments.sim is True and description.simulation is None:
        msg = (
            f'robot {description.name} has no simulation; without physics: embodiment:={robot} '
            f'sim:=follow; with the robot itself: embodiment:={robot} sim:=false; '
            'policy_path:=FOLDER is your own policy'
        )
        raise AsyncChunkingError(msg)
    if arguments.view and description.simulation is None:
        msg = (
            f'view: robot {description.name} has no model to show; `async-chunking watch` plots it'
        )
        raise AsyncChunkingError(msg)
    for name, there in _INSTEAD.items():
        value = getattr(arguments, name)
        if arguments.sim == FOLLOW and value != Arguments.model_fields[name].default:
            raise AsyncChunkingError(f'{name} = {value}: sim:=follow has {there}')


def _nodes(
    robot: str,
    arguments: Arguments,
    description: Embodiment,
    policy: Facts,
    execution_horizon: int,
) -> tuple[NodeSpec, ...]:
    common: dict[str, Any] = {
        'embodiment': robot, 'sim': bool(arguments.sim), 'autostart': True,
    }  # fmt: skip
    if arguments.use_sim_time:  # Else it is left to whoever includes the launch file.
        common['use_sim_time'] = True
    own = arguments.policy == OWN_KIND
    folder = policy.title if own else arguments.policy_path
    if folder and Path(folder).expanduser().exists():
        folder = str(Path(folder).expanduser().resolve())
    executor = {
        'strategy': arguments.strategy, 'horizon': policy.horizon,
        'execution_horizon': execution_horizon,
        'policy_rate_hz': description.policy.policy_rate_hz, 'policy_path': folder,
        'offers': ' '.join(sorted(policy.offers)),
        'realtime_priority': arguments.realtime_priority,
    }  # fmt: skip
    if not (arguments.sim if arguments.autostart is None else arguments.autostart):
        executor['activate'] = False
    if arguments.sim is True:  # It moves its robot between two episodes, however little.
        executor |= {'displaced': 0.001, 'if_displaced': 'teleport'}
    drawing = {name: getattr(arguments, name) for name in InferenceOptions.model_fields}
    drawing |= {'policy_path': folder, 'execution_horizon': execution_horizon}
    python = _found(arguments.policy_python)
    specs = [
        NodeSpec('delay_monitor_node', 'delay_monitor', common, respawn=True),
        NodeSpec('policy_node', 'policy', common | drawing, respawn=True, python=python),
        NodeSpec('executor_node', 'executor', common | executor),
    ]
    if arguments.record:
        recording = {'path': str(_new(arguments.record))}
        specs.insert(0, NodeSpec('recorder_node', 'recorder', common | recording, essential=False))
    return (*specs, *_world(arguments, common))


def _world(arguments: Arguments, common: Mapping[str, Any]) -> Iterator[NodeSpec]:
    """Yield what stands for the robot itself, and what shows it."""
    if arguments.sim == FOLLOW:
        pictures = {'camera_hz': arguments.camera_hz}
        yield NodeSpec('follow_node', 'follow', {**common, **pictures})
    elif arguments.sim:
        playing = {
            'seed': arguments.seed, 'episodes': arguments.episodes,
            'real_time_factor': arguments.real_time_factor, 'camera_hz': arguments.camera_hz,
        }  # fmt: skip
        yield NodeSpec('sim_node', 'sim', {**common, **playing})
    if arguments.view:
        yield NodeSpec('view_node', 'view', common, respawn=True)


def _side(node: NodeSpec) -> str:
    """Return which of two hosts a node belongs on."""
    return 'policy' if node.executable == 'policy_node' else 'robot'


def _new(folder: str) -> Path:
    """Return where to record."""
    path = Path(folder).expanduser().resolve()
    if path.exists():
        msg = f'record: {path} exists already; choose another folder'
        raise AsyncChunkingError(msg)
    return path


def _found(python: str) -> str:
    """Return the path of a Python; not resolved, since a link is what makes an environment."""
    if python and not Path(python).expanduser().is_file():
        msg = f'policy_python: there is no {python}; for LeRobot: make setup-lerobot'
        raise AsyncChunkingError(msg)
    return str(Path(python).expanduser().absolute()) if python else ''
