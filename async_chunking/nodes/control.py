# SPDX-License-Identifier: Apache-2.0
"""Asks the nodes of a running robot for what `ros2` could: parameters, services, diagnostics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from async_chunking.bringup.nodes import full_name
from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.watch import Sight, Watch


class ControlError(AsyncChunkingError):
    """A running robot was not found, or refused."""


class Control:
    """
    Speaks to the nodes of one robot; use it as a context.

    Args:
        namespace: Namespace of the robot.
        patience_s: How long a node may take to be found, and to answer [s].
    """

    def __init__(self, namespace: str, patience_s: float = 20.0) -> None:
        self._namespace, self._patience_s = namespace, patience_s
        self._watch = Watch(namespace)

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.close()

    def set(self, node: str, name: str, value: bool | int | float | str) -> None:
        """
        Set a parameter.

        Raises:
            ControlError: The node is not there, or refuses; its reason is the message.
        """
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self._call(SetParameters, node, 'set_parameters', request).results
        if not result.successful:
            raise ControlError(f'{node}: {result.reason}')

    def trigger(self, node: str, service: str) -> str:
        """
        Call a service that takes nothing, and return what it says.

        Raises:
            ControlError: The node is not there, or refuses; its reason is the message.
        """
        response = self._call(Trigger, node, service, Trigger.Request())
        if not response.success:
            raise ControlError(f'{node}: {response.message}')
        return response.message

    def sight(self, nodes: Iterable[str]) -> Sight:
        """
        Return what is seen of the robot, as soon as each of some nodes has reported.

        Raises:
            ControlError: Nothing was heard of any of them.
        """
        wanted, deadline = set(nodes), time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            sight = self._watch.look(0.1)
            if wanted <= sight.reports.keys():
                break
        if not self._watch.sight.reports:
            raise ControlError(self._nobody('none of its nodes'))
        return self._watch.sight

    def _call(self, kind: Any, node: str, service: str, request: Any) -> Any:
        name = full_name(self._namespace, f'{node}/{service}')
        client = self._watch.client(kind, name)
        deadline = time.monotonic() + self._patience_s
        while not client.service_is_ready():
            if time.monotonic() > deadline:
                raise ControlError(self._nobody(node))
            self._watch.look(0.1)
        future = client.call_async(request)
        while not future.done():
            if time.monotonic() > deadline + self._patience_s:
                msg = f'{node} did not answer within {self._patience_s:g} s; is its process busy?'
                raise ControlError(msg)
            self._watch.look(0.1)
        return future.result()

    def _nobody(self, what: str) -> str:
        space = full_name('', self._namespace.strip('/'))
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        return (
            f'no robot was found in namespace {space} (ROS_DOMAIN_ID={domain}): {what} answered '
            f'within {self._patience_s:g} s; start it with `up`, or say where with --namespace'
        )
