# SPDX-License-Identifier: Apache-2.0
"""What a robot is running: parameters of its nodes, checkpoints, limits and versions, as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterEvent
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import qos_profile_parameter_events

from async_chunking import __version__
from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.bounded import listen
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.checkpoint.sidecar import read_sidecar
from async_chunking.policies.options import OWN_KIND
from async_chunking.robot.embodiment import Embodiment

_MOST = 1 << 18  # Characters of a node's parameters that are recorded.
_LIBRARIES = ('numpy', 'scipy', 'torch', 'mujoco', 'rosbags', 'ros-rclpy', 'rclpy')


class Snapshot:
    """Asks the nodes of a robot for their parameters, and tells what is known whenever it changes.

    Which strategy was in force is in every ControlStep and ChunkRequest too.

    Args:
        node: Asks; nodes of its namespace are asked.
        robot: Whose limits are told; its policy is the one that runs if no other is named.
        publish: Is given the whole snapshot.
    """

    def __init__(self, node: Node, robot: Embodiment, publish: Callable[[str], None]) -> None:
        self._node = node
        self._robot = robot
        self._publish = publish
        self._asked: set[str] = set()
        profile = qos_profile_parameter_events
        listen(node, ParameterEvent, '/parameter_events', self._on_change, profile)
        self._content = {**description(robot), 'versions': versions(), 'parameters': {}}
        self._tell()

    def look(self) -> None:
        """Ask nodes that appeared or changed since the last time."""
        for name, namespace in self._node.get_node_names_and_namespaces():
            hidden = name.startswith('_') or name == self._node.get_name()
            if namespace == self._node.get_namespace() and not hidden and name not in self._asked:
                self._ask(name)

    def _on_change(self, event: ParameterEvent) -> None:
        namespace, _, name = event.node.rpartition('/')
        if (namespace or '/') == self._node.get_namespace():
            self._asked.discard(name)

    def _ask(self, name: str) -> None:
        listing = self._node.create_client(ListParameters, f'{name}/list_parameters')
        getting = self._node.create_client(GetParameters, f'{name}/get_parameters')
        if not (listing.service_is_ready() and getting.service_is_ready()):
            self._destroy(listing, getting)
            return
        self._asked.add(name)

        def on_names(future: Any) -> None:
            names = sorted(future.result().result.names)
            request = GetParameters.Request(names=names)
            getting.call_async(request).add_done_callback(lambda f: on_values(names, f))

        def on_values(names: Iterable[str], future: Any) -> None:
            values = map(parameter_value_to_python, future.result().values)
            known = {key: _plain(value) for key, value in zip(names, values, strict=True)}
            long = len(json.dumps(known)) > _MOST
            self._content['parameters'][name] = {'too_long': True} if long else known
            self._destroy(listing, getting)
            self._tell()

        listing.call_async(ListParameters.Request()).add_done_callback(on_names)

    def _destroy(self, *clients: Any) -> None:
        for client in clients:
            self._node.destroy_client(client)

    def _tell(self) -> None:
        executor = self._content['parameters'].get('executor', {})
        policy = self._content['parameters'].get('policy', {})
        self._publish(json.dumps({
            **self._content,
            'strategy': executor.get('strategy'),
            'seed': self._content['parameters'].get('sim', {}).get('seed'),
            'policy_path': policy.get('policy_path'),
            'checkpoints': checkpoints(self._path_of(policy)),
        }))  # fmt: skip

    def _path_of(self, policy: Mapping[str, Any]) -> str:
        own = self._robot.policy.path if policy.get('policy') == OWN_KIND else ''
        return policy.get('policy_path') or own


def checkpoints(path: str) -> dict[str, str]:
    """Return the hash of the weights of each checkpoint in a policy's folder, by its name.

    As their sidecars say, against which a policy checks them; none where the folder is not on
    this machine, or is no folder of checkpoints.
    """
    try:
        files = sorted(policy_directory(path).glob('*.safetensors')) if path else []
        known = [file for file in files if file.with_suffix('.json').is_file()]
        return {file.stem: read_sidecar(file).weights_sha256 for file in known}
    except AsyncChunkingError:
        return {}


def description(robot: Embodiment) -> dict[str, Any]:
    """Return what a report must know of a robot."""
    limits = robot.limits
    return {
        'robot': robot.name,
        'joint_names': list(robot.joint_names),
        'control_rate_hz': robot.control_rate_hz,
        'limits': {
            # JSON has no infinity: null is an unknown limit.
            name: [_plain(value) for value in getattr(limits, name).tolist()]
            for name in ('lower', 'upper', 'velocity', 'acceleration', 'jerk')
        },
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that shapes a run."""
    versions = {
        'async_chunking': __version__,
        'python': platform.python_version(),
        'system': platform.platform(),
        'ros_distro': os.environ.get('ROS_DISTRO', ''),
        'middleware': os.environ.get('RMW_IMPLEMENTATION', ''),
    }
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not np.isfinite(value) else value
