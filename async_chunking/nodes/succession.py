# SPDX-License-Identifier: Apache-2.0
"""How one strategy follows another while a robot moves: not before the policy is warm for it.

The executor says on `next_strategy` what it will ask for, the policy says on `ready_strategy` that
it may, or why not. Both are kept for those who come later, so each may be restarted. Until then
the executor goes on with the strategy before; where no policy listens, it does not wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from diagnostic_msgs.msg import KeyValue
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Behaviour
from async_chunking.msg import ActionChunk
from async_chunking.nodes.bounded import Bounded
from async_chunking.nodes.qos import LATCHED
from async_chunking.nodes.refusals import Refusals
from async_chunking.nodes.sender.handle import SenderHandle
from async_chunking.nodes.worker import Worker

_SMALL = 1 << 12  # Most bytes of a message.


class Succession:
    """
    The executor's side: holds a strategy back until the policy is ready.

    A strategy that the policy refuses, now or at requests, gives way to the one before.

    Args:
        node: Publishes and subscribes; has the parameter `strategy`.
        sender: Knows which strategy was served.
        first: Strategy that is in force already.
        use: Is given the behaviour to ask with from now on.

    Attributes:
        refusals: What the policy refused of late.
    """

    def __init__(
        self,
        node: Node,
        sender: SenderHandle,
        first: str,
        use: Callable[[Behaviour], None],
    ) -> None:
        self.refusals = Refusals()
        self._node, self._sender, self._use = node, sender, use
        self._strategy = first
        self._waiting: Behaviour | None = None
        self._next = node.create_publisher(String, 'next_strategy', LATCHED)
        Bounded(node, KeyValue, 'ready_strategy', _SMALL, self._hear, _ignore, LATCHED)
        self._next.publish(String(data=first))

    def follow(self, behaviour: Behaviour) -> None:
        """Use a behaviour as soon as the policy is ready for it."""
        self._waiting = behaviour
        self._next.publish(String(data=behaviour.name))
        if behaviour.name == self._strategy or not self._next.get_subscription_count():
            self.hurry()

    def hurry(self) -> None:
        """Wait no longer."""
        if self._waiting is not None:
            behaviour, self._waiting = self._waiting, None
            self._strategy = behaviour.name
            self._use(behaviour)

    def _hear(self, message: KeyValue) -> None:
        if self._waiting is None or message.key != self._waiting.name:
            return
        if message.value:
            self._take_back(message.key, self._strategy, message.value)
        else:
            self.hurry()

    def on_chunk(self, message: ActionChunk) -> None:
        """Go back from a strategy that the policy cannot serve to the last one that it did."""
        status = self._sender.status
        back = self.refusals.hear(message, self._strategy, status.run_id, status.served)
        if back:
            self._take_back(message.strategy, back, message.refusal)

    def _take_back(self, refused: str, back: str, why: str) -> None:
        (result,) = self._node.set_parameters([Parameter('strategy', value=back)])
        if result.successful:
            self._node.get_logger().error(f'strategy {refused} is taken back: {why}')

    def values(self) -> dict[str, str]:
        """Return what is held back, by name."""
        return {} if self._waiting is None else {'next_strategy': self._waiting.name}


class Preparation:
    """
    The policy's side: warms a strategy up between the requests, one made-up request at a time.

    Args:
        node: Publishes and subscribes.
        worker: Answers requests; what is made up has to wait for them.
        ready: The strategy that is warm already.
        rehearse: Returns the made-up requests of a strategy, each answered when it is asked for
            and giving the seconds that took.
        check: Refuses a strategy whose answers take so long [s].

    Attributes:
        wanted: The strategy that is or shall be asked for.
    """

    def __init__(
        self,
        node: Node,
        worker: Worker,
        ready: str,
        rehearse: Callable[[str], Iterator[float]],
        check: Callable[[str, float], None],
    ) -> None:
        self._worker, self._rehearse, self._check = worker, rehearse, check
        self._warm = {ready}
        self.wanted = ready
        self._ready = node.create_publisher(KeyValue, 'ready_strategy', LATCHED)
        Bounded(node, String, 'next_strategy', _SMALL, self._hear, _ignore, LATCHED)

    def _hear(self, message: String) -> None:
        self.wanted = name = message.data
        if name in self._warm:
            self._tell(name)
        else:
            self._worker.later(lambda: self._rehearsal(name, self._rehearse(name), math.inf))

    def _rehearsal(self, name: str, rehearsals: Iterator[float], quickest: float) -> None:
        """Answer one made-up request; come back for the next."""
        if name != self.wanted:  # Something else is, meanwhile.
            return
        try:
            seconds = next(rehearsals, None)
            if seconds is None:
                self._check(name, quickest)
                self._warm.add(name)
                self._tell(name)
                return
        except AsyncChunkingError as error:
            self._tell(name, str(error))
            return
        except Exception as error:  # The requests may be answered all the same.
            self._tell(name, f'{error!r}')
            return
        self._worker.later(lambda: self._rehearsal(name, rehearsals, min(quickest, seconds)))

    def _tell(self, name: str, refusal: str = '') -> None:
        self._ready.publish(KeyValue(key=name, value=refusal))


def _ignore(reason: str) -> None:
    """Leave what cannot be read; nothing waits for it."""
    del reason
