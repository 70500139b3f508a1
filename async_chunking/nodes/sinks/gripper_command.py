# SPDX-License-Identifier: Apache-2.0
"""control_msgs/GripperCommand: an action that takes a second, so it is sent on change only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.action import ActionClient, ActionServer
from rclpy.node import Node

from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.messages import message_class
from async_chunking.nodes.sinks.base import Sink
from async_chunking.robot.embodiment import Command
from async_chunking.robot.options import GripperCommandOptions

_SUCCEEDED = 4  # As action_msgs/GoalStatus numbers how goals end.
_ENDS = {5: 'canceled', 6: 'aborted'}
_ANSWER_NS = 2_000_000_000  # From a goal to its acceptance [ns],
_END_NS = 15_000_000_000  # and to its end [ns].
_AGAIN_NS = 500_000_000  # From a goal that was not reached to the next try [ns].


class GripperCommandSink(Sink):
    """Opens or closes a gripper when its command crosses a threshold; between the two it stays."""

    Options = GripperCommandOptions
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
        self._client = ActionClient(node, self.message_type, command.topic)
        self._last: float | None = None  # Goal that was sent, None if it is to be sent again.
        self._failed: float | None = None
        self._number = 0  # Of that goal: what comes of another is of no account.
        self._due_ns: int | None = None  # Time by which something must come of it.
        self._sent_ns = self._not_before_ns = 0

    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """See `Sink.send`."""
        value, options = float(self._values(command)[0]), self.options
        if value > options.open_above:
            target = options.opened
        elif value < options.close_below:
            target = options.closed
        else:
            return
        ready = self._client.server_is_ready()
        if target == self._last:
            self._wait(stamp_ns, ready)
        elif not ready:
            self.trouble = f'{self._topic}: nobody serves it; the goal {target:g} waits for that'
        elif target != self._failed or stamp_ns >= self._not_before_ns:
            self._ask(target, stamp_ns)

    def _ask(self, target: float, stamp_ns: int) -> None:
        goal = self.message_type.Goal()
        goal.command.position = target
        goal.command.max_effort = self.options.max_effort
        self._number += 1
        self._last, self._sent_ns, self._due_ns = target, stamp_ns, stamp_ns + _ANSWER_NS
        number = self._number
        answer = self._client.send_goal_async(goal)
        answer.add_done_callback(lambda future: self._answered(future, number))

    def _wait(self, stamp_ns: int, ready: bool) -> None:
        """Give up a goal of which nothing comes any more."""
        if self._due_ns is not None and not ready:
            self._fail(self._number, 'was sent, and then its server was gone')
        elif self._due_ns is not None and stamp_ns >= self._due_ns:
            self._fail(self._number, f'had no end within {(stamp_ns - self._sent_ns) / 1e9:.0f} s')

    def _answered(self, future: Any, number: int) -> None:
        handle = _result(future)
        if handle is None or not handle.accepted:
            self._fail(number, 'was not answered' if handle is None else 'was refused')
            return
        if number == self._number:
            self._due_ns = self._sent_ns + _END_NS
        handle.get_result_async().add_done_callback(lambda ended: self._ended(ended, number))

    def _ended(self, future: Any, number: int) -> None:
        """Ask again for what was not done, unless something else was asked for meanwhile."""
        answer = _result(future)
        if answer is None:
            self._fail(number, 'was accepted, and how it ended was lost')
        elif answer.status != _SUCCEEDED:
            end = _ENDS.get(answer.status, '?')
            self._fail(number, f'ended with status {answer.status} ({end})')
        elif number == self._number:
            self.trouble, self._due_ns = '', None

    def _fail(self, number: int, what: str) -> None:
        if number != self._number or self._last is None:
            return
        self.trouble = f'{self._topic}: the goal {self._last:g} {what}; it is sent again'
        self._logger.warning(self.trouble)
        self._failed, self._not_before_ns = self._last, self._sent_ns + _AGAIN_NS
        self._last = self._due_ns = None

    def release(self) -> None:
        """Forget what was asked for: the fingers may be moved by hand."""
        self._last = self._due_ns = None

    @classmethod
    def simulate(cls, node: Node, command: Command, take: Callable[[np.ndarray], None]) -> None:
        """Serve the action; every goal is reached at once."""

        def execute(goal: Any) -> Any:
            take(cls.positions(goal.request, command))
            goal.succeed()
            position = goal.request.command.position
            return cls.message_type.Result(position=position, reached_goal=True)

        ActionServer(node, cls.message_type, command.topic, execute)

    @staticmethod
    def positions(message: Any, command: Command) -> np.ndarray:
        """See `Sink.positions`."""
        del command  # A gripper is one joint.
        return np.array([message.command.position])


def _result(future: Any) -> Any:
    """Return what a future holds, None if the connection broke."""
    try:
        return future.result()
    except Exception:  # Whatever the middleware raises, the robot goes on.
        return None
