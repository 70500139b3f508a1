# SPDX-License-Identifier: Apache-2.0
"""From the parameters of the executor node to what its core needs; refuses what does not fit."""

from __future__ import annotations

import sys

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.correctors import Corrector
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.overriding import qos_overrides
from async_chunking.nodes.sender.values import Setup
from async_chunking.nodes.sinks import sink_class
from async_chunking.policies import strategy_fit
from async_chunking.policies.checkpoint.directory import load_corrector
from async_chunking.policies.fit import Facts
from async_chunking.robot.embodiment import Embodiment
from async_chunking.strategies import resolve


def behaviour(parameters: ExecutorParameters) -> Behaviour:
    """Return what a strategy does here; only a trained corrector reads the policy."""
    point = resolve(parameters.strategy)
    corrector = Corrector()
    if point.corrector != 'none':
        corrector = load_corrector(parameters.policy_path, point.corrector)
    rows = point.rows(parameters.horizon, committed=parameters.horizon)
    return Behaviour(point.name, point.load_merger(), corrector, rows)


def make_config(parameters: ExecutorParameters, robot: Embodiment) -> ExecutorConfig:
    """Return the configuration of the core.

    Raises:
        ValueError: Numbers do not fit together.
    """
    return ExecutorConfig(
        limits=robot.limits,
        joint_names=robot.joint_names,
        control_rate_hz=robot.control_rate_hz,
        continuous=robot.continuous,
        **parameters.model_dump(
            include={
                'horizon', 'execution_horizon', 'policy_rate_hz', 'request_timeout_s',
                'hold_timeout_s', 'blend_s', 'limit_tolerance',
            }
        ),
    )  # fmt: skip


def sender_setup(
    node: RobotNode, robot: Embodiment, config: ExecutorConfig, streams: dict[str, int]
) -> Setup:
    """Return what the sender is told: names as this node resolves them, and what it may use."""
    full, parameters = node.resolve_topic_name, node.parameters
    return Setup(
        config=config,
        commands=tuple(
            command if sink_class(command.sink).asks
            else command.model_copy(update={'topic': full(command.topic)})
            for command in robot.commands
        ),
        steps=full('control_step'),
        requests=full('chunk_request'),
        node=(node.get_name(), node.get_namespace()),
        domain=node.context.get_domain_id(),
        arguments=enclave_arguments(),
        overrides=qos_overrides(node),
        simulated=bool(node.get_parameter('use_sim_time').value),
        streams=streams,
        priority=parameters.realtime_priority,
        lock_memory=parameters.lock_memory,
    )  # fmt: skip


def enclave_arguments() -> tuple[str, ...]:
    """Return the security enclave of this process, as arguments for ROS."""
    words = sys.argv
    named = [words[i : i + 2] for i, word in enumerate(words[:-1]) if word in ('-e', '--enclave')]
    return ('--ros-args', *named[-1]) if named else ()


def check_strategy(parameters: ExecutorParameters, robot: Embodiment, where: str) -> None:
    """Refuse what cannot work.

    Args:
        parameters: Parameters of the node.
        robot: That it commands.
        where: Begins the message.

    Raises:
        AsyncChunkingError: The policy cannot serve the strategy, or numbers do not fit together.
    """
    if parameters.if_displaced == 'teleport' and not parameters.sim:
        msg = f'{where}: if_displaced is teleport, which only a simulation can'
        raise AsyncChunkingError(msg)
    strategy = resolve(parameters.strategy)
    offers = frozenset(parameters.offers.split())
    policy = Facts(parameters.policy_path, parameters.horizon, len(robot.joints), offers)
    strategy_fit.check_strategy(strategy, policy, robot.action_modes)
    _check_corrector(behaviour(parameters).corrector, robot, where)
    try:
        make_config(parameters, robot)
    except ValueError as error:
        msg = f'{where}: {error}'
        raise AsyncChunkingError(msg) from None


def _check_corrector(corrector: Corrector, robot: Embodiment, where: str) -> None:
    """Refuse a corrector that reads what the robot does not say."""
    for name, size in corrector.reads():
        stream = robot.observations.get(name)
        if stream is None or stream.size != size:
            there = 'none' if stream is None else f'{stream.size} numbers'
            msg = (
                f"{where}: the corrector reads {size} numbers of '{name}', {robot.name} has "
                f'{there}; train it for this robot'
            )
            raise AsyncChunkingError(msg)
