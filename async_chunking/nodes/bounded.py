# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that look at the size of a message before they deserialise it.

To deserialise is to hold the interpreter: seconds for a message of some million names. Raw bytes
that are too many, or that are no message, are refused with a reason instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription

_TAKES = 4  # Per `poll` at most; the middleware keeps one.
_MOST = 1 << 20  # A thousand rows for a hundred joints, and texts [bytes].
_SELDOM_S = 5.0  # Between two words about the same topic [s].


class Unwatched(CallbackGroup):
    """What is in it is never executed by whoever spins the node."""

    def can_execute(self, entity: Any) -> bool:
        """Return no."""
        del entity  # Unused.
        return False


def arrived(subscription: Subscription, most: int) -> Iterator[bytes]:
    """Yield what waits in the middleware for a subscription to raw messages, at most so many."""
    handle = subscription.handle
    with handle:
        for _ in range(most):
            taken = handle.take_message(subscription.msg_type, True)
            if taken is None:
                return
            yield taken[0]


class Bounded:
    """A subscription with a limit.

    Args:
        node: Subscribes.
        kind: Kind of message.
        topic: Name of the topic.
        limit: Most bytes of a message.
        callback: Is given each message, or the newest with `poll`.
        refuse: Is given the reason why bytes were not taken.
        profile: Quality of service.
        polled: Nothing is called before `poll` is; so a flood costs no more than a trickle.
    """

    def __init__(
        self,
        node: Node,
        kind: type,
        topic: str,
        limit: int,
        callback: Callable[[Any], None],
        refuse: Callable[[str], None],
        profile: QoSProfile,
        polled: bool = False,
    ) -> None:
        self._kind, self._topic, self._limit = kind, topic, limit
        self._callback, self._refuse = callback, refuse
        # That a publisher's durability does not match is meant, and nothing to warn of.
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        self._subscription = node.create_subscription(
            kind, topic, self._take, profile, raw=True, event_callbacks=silent,
            callback_group=Unwatched() if polled else None,
        )  # fmt: skip

    def poll(self) -> None:
        """Take the newest message, if there is one."""
        for data in deque(arrived(self._subscription, _TAKES), maxlen=1):
            self._take(data)

    def _take(self, data: bytes) -> None:
        if len(data) > self._limit:
            self._refuse(f'{self._topic}: {len(data)} bytes, at most {self._limit} are read')
            return
        try:
            message = deserialize_message(data, self._kind)
        except Exception:  # rclpy does not say which.
            self._refuse(f'{self._topic}: {len(data)} bytes that are no {self._kind.__name__}')
            return
        self._callback(message)


def listen(
    node: Node, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile
) -> Bounded:
    """Subscribe with a limit that no message of ours reaches; the log names what is refused."""

    def refuse(reason: str) -> None:
        node.get_logger().warning(reason, throttle_duration_sec=_SELDOM_S)

    return Bounded(node, kind, topic, _MOST, callback, refuse, profile)
