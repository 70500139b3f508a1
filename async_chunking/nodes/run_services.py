# SPDX-License-Identifier: Apache-2.0
"""The services `~/reset` and `~/stop` of the executor: begin a run, and brake."""

from __future__ import annotations

import time

import numpy as np
from std_srvs.srv import Trigger

from async_chunking.bringup.parameters import ExecutorParameters
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.intake import Intake
from async_chunking.nodes.run_watch import RunWatch
from async_chunking.nodes.sender.handle import SenderHandle


class RunServices:
    """Begins and stops runs when asked.

    Args:
        node: Offers the services.
        parameters: Parameters of the node.
        sender: Begins and brakes.
        intake: What is measured.
        watch: Where a run may begin.

    Attributes:
        names: Resolved names of the services that stop and reset.
        stopped_at: Time at which ~/stop stopped the robot, 0 if it did not [s].
    """

    def __init__(
        self,
        node: RobotNode,
        parameters: ExecutorParameters,
        sender: SenderHandle,
        intake: Intake,
        watch: RunWatch,
    ) -> None:
        self._parameters = parameters
        self._sender, self._intake, self._watch = sender, intake, watch
        self._active = False
        self.stopped_at = 0.0
        self.names = [node.resolve_service_name(f'~/{name}') for name in ('stop', 'reset')]
        node.create_service(Trigger, '~/reset', self.on_reset)
        node.create_service(Trigger, '~/stop', self.on_stop)

    def activate(self) -> None:
        """Serve from now on."""
        self._active, self.stopped_at = True, 0.0

    def deactivate(self) -> None:
        """Refuse from now on."""
        self._active = False

    def on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin a run, or say why not."""
        del request  # Empty.
        age = self._intake.age
        if not self._active or not self._sender.status.run_id:
            response.message = (
                'the executor is not active, or no joint positions were measured yet'
            )
        elif not age <= self._parameters.stale_s:
            response.message = f'the newest joint positions are {age:.2f} s old; is the driver up?'
        elif self._intake.pose is None:
            response.message = f'where the joints are is not sure: {self._intake.doubt}; ask again'
        else:
            self._begin(response, self._intake.pose)
        return response

    def _begin(self, response: Trigger.Response, pose: np.ndarray) -> None:
        """Begin a run at the last command; say which joints are not where they were told to be."""
        how = self._parameters.if_displaced
        lag = self._watch.lag(pose, self._sender.status.command)
        if lag and how == 'refuse':
            response.message = f'not where they were told to be: {lag}; if_displaced is refuse'
            return
        self._intake.poll()
        self._watch.begin(pose)
        run_id = self._sender.begin(self._watch.most, how)
        response.success = run_id is not None
        self.stopped_at *= not response.success
        note = f'; not where they were told to be: {lag}; {how}' if lag else ''
        response.message = f'run {run_id}{note}' if response.success else 'the sender is stuck'

    def on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Brake, or say why not."""
        del request  # Empty.
        sends = self._active and self._sender.status.run_id
        response.success = bool(sends) and self._sender.brake()
        if response.success:
            self.stopped_at = time.monotonic()
        response.message = 'braking' if response.success else 'the executor sends nothing'
        return response
