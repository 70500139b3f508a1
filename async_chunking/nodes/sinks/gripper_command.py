# SPDX-License-Identifier: Apache-2.0
"""control_msgs/GripperCommand: an action that takes a second, so it is sent on change only."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from rclpy.action import ActionClient
from rclpy.node import Node

from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import OneWaySink
from async_chunking.robot.embodiment import Command
from async_chunking.settings import Settings

_SUCCEEDED = 4  # As action_msgs/GoalStatus numbers how goals end.
_ENDS = {5: 'canceled', 6: 'aborted'}
_AGAIN_NS = 500_000_000  # From a goal that was not reached to the next try [ns].


class GripperCommandSink(OneWaySink):
    """Opens or closes a gripper when its command crosses a threshold; between the two it stays."""

    class Options(Settings):
        """What can be set, in the driver's unit.

        Attributes:
            opened: Position when open [m].
            closed: Position when closed [m].
            open_above: Opens when the command is above this [m].
            close_below: Closes when the command is below this [m].
            max_effort: Largest force of the grip [N].
        """

        opened: float = 0.04
        closed: float = 0.0
        open_above: float = 0.025
        close_below: float = 0.015
        max_effort: float = Field(20.0, gt=0.0)

    asks = True
    message_type = message_class('control_msgs/action/GripperCommand')

    def _open(self, node: Node, command: Command) -> None:
        if not self.options.close_below < self.options.open_above:
            msg = (
                f'command {command.topic}: close_below {self.options.close_below} must be less '
                f'than open_above {self.options.open_above}'
            )
            raise AsyncChunkingError(msg)
        self._topic, self._logger = command.topic, node.get_logger()
        self._not_before_ns = 0
        self._client = ActionClient(node, self.message_type, command.topic)
        self._last: float | None = None
        self._failed: float | None = None
        self._sent_ns = 0

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        value, options = float(self._values(command)[0]), self.options
        if value > options.open_above:
            target = options.opened
        elif value < options.close_below:
            target = options.closed
        else:
            return
        if target == self._last or not self._client.server_is_ready():
            return
        if stamp_ns < self._not_before_ns and target == self._failed:
            return
        self._sent_ns = stamp_ns
        goal = self.message_type.Goal()
        goal.command.position = target
        goal.command.max_effort = options.max_effort
        answer = self._client.send_goal_async(goal)
        answer.add_done_callback(lambda future: self._answered(future, target))
        self._last = target

    def _answered(self, future: Any, target: float) -> None:
        handle = future.result()
        if not handle.accepted:
            self._fail(target, 'was refused')
            return
        handle.get_result_async().add_done_callback(lambda ended: self._ended(ended, target))

    def _ended(self, future: Any, target: float) -> None:
        """Ask again for what was not done, unless something else was asked for meanwhile."""
        status = future.result().status
        if status == _SUCCEEDED:
            self.trouble = ''
        elif target == self._last:
            self._fail(target, f'ended with status {status} ({_ENDS.get(status, "?")})')

    def _fail(self, target: float, what: str) -> None:
        self.trouble = f'{self._topic}: the goal {target:g} {what}; it is sent again'
        self._logger.warning(self.trouble)
        self._failed, self._not_before_ns = target, self._sent_ns + _AGAIN_NS
        self._last = None

    def release(self) -> None:
        """Forget what was asked for: the fingers may be moved by hand."""
        self._last = None
