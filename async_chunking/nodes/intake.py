# SPDX-License-Identifier: Apache-2.0
"""What the executor node hears of peers, checked: all that its sender is ever told of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from async_chunking.executor import Admission, Behaviour, ExecutorConfig, Outcome
from async_chunking.msg import ActionChunk, DelayEstimate
from async_chunking.nodes import convert
from async_chunking.nodes.bounded import Bounded
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.qos import LATCHED
from async_chunking.nodes.sender.handle import SenderHandle
from async_chunking.nodes.sender.values import Known
from async_chunking.nodes.sinks.base import StateTopic
from async_chunking.pose import PoseWatch
from async_chunking.robot.embodiment import Embodiment, Stream

MEASURED = 'measured'
_SMALL = 1 << 12  # A message without rows has at most so many bytes,
_TEXTS = 1 << 16  # and the texts of a chunk.
_BEHAVIOURS = 8  # That may still be asked with.


class Intake:
    """Subscribes for the executor node, and tells its sender.

    Args:
        node: Subscribes.
        robot: Robot, for its joints and streams.
        config: Settings of the executor.
        streams: Name -> numeric stream that a corrector may read.
        topics: What drivers tell, one for each command topic; None for nothing.
        now_ns: The clock of ticks.
        stale_s: Older measurements are not trusted [s].
        watch: Says when a measured pose is believed.
        sender: Is told.
        on_chunk: Is given every readable answer of a policy.

    Attributes:
        counters: What was turned away here, by name.
        reasons: Why the last of them was, by name.
        delay: Newest estimate [steps].
    """

    def __init__(
        self,
        node: Node,
        robot: Embodiment,
        config: ExecutorConfig,
        streams: dict[str, Stream],
        topics: Sequence[StateTopic | None],
        now_ns: Callable[[], int],
        stale_s: float,
        watch: PoseWatch,
        sender: SenderHandle,
        on_chunk: Callable[[ActionChunk], None],
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self.delay = 0
        self._config = config
        self._now_ns = now_ns
        self._stale_s = stale_s
        self._watch = watch
        self._sender = sender
        self._on_chunk = on_chunk
        self._admission = Admission(config)
        self._behaviours: dict[str, Behaviour] = {}
        self._told = [math.nan] * len(topics)
        self.forget()
        wanted = {MEASURED: Stream(kind='measured', size=config.action_dim), **streams}
        self.observations = Observations(
            node, wanted, robot, now_ns, on_sample=self._on_sample, polled=True
        )
        rows = 4 * config.most_rows * config.action_dim
        # Raw, since the middleware drops what it cannot read without a word.
        Bounded(
            node, ActionChunk, 'action_chunk', rows + _TEXTS, self._take_chunk, self._unreadable,
            QoSProfile(depth=2),
        )  # fmt: skip
        Bounded(
            node, DelayEstimate, 'delay_estimate', _SMALL, self._take_delay, self._unreadable,
            LATCHED,
        )  # fmt: skip
        self._drivers = [
            self._listen(node, number, topic)
            for number, topic in enumerate(topics)
            if topic is not None
        ]

    def _listen(self, node: Node, number: int, topic: StateTopic) -> Bounded:
        def take(message: Any) -> None:
            self._told[number] = topic.read(message)

        profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        return Bounded(
            node, topic.kind, topic.name, _TEXTS, take, self._unreadable, profile, polled=True
        )

    # --- for the node ---------------------------------------------------------------------------

    def forget(self) -> None:
        """Believe no measurement of before: the robot may have been moved since."""
        self._watch.forget()
        self._observation: dict[str, np.ndarray] = {}

    def believe(self, behaviour: Behaviour) -> None:
        """Refine the chunks that were asked for with this behaviour from now on."""
        self._behaviours.pop(behaviour.name, None)
        self._behaviours[behaviour.name] = behaviour
        for name in list(self._behaviours)[:-_BEHAVIOURS]:
            del self._behaviours[name]

    @property
    def age(self) -> float:
        """Age of the newest joint measurement [s], NaN before the first."""
        sample = self.observations.latest(MEASURED)
        return math.nan if sample is None else (self._now_ns() - sample.received_ns) * 1e-9

    @property
    def pose(self) -> np.ndarray | None:
        """Where the robot is believed to be [D] [rad, m], None if that is not known."""
        return self._watch.pose

    @property
    def doubt(self) -> str:
        """Why no pose is believed; empty if one is."""
        return self._watch.reason

    def poll(self) -> None:
        """Read the newest of everything, and tell the sender."""
        self.observations.poll()
        for topic in self._drivers:
            topic.poll()
        self._forget_stale()
        measured = self.observations.latest(MEASURED)
        self._sender.tell(
            Known(self.pose, measured, self._observation, tuple(self._told), self.delay)
        )

    def _forget_stale(self) -> None:
        """Correct by nothing rather than by what has gone silent."""
        for name in self._observation:
            sample = self.observations.latest(name)
            if sample is None or (self._now_ns() - sample.received_ns) * 1e-9 > self._stale_s:
                self._observation = {}
                return

    # --- what arrives ---------------------------------------------------------------------------

    def _on_sample(self, name: str, values: np.ndarray) -> None:
        if name != MEASURED:
            self._observation[name] = values
            return
        self._watch.add(values, self._now_ns() * 1e-9)

    def _take_chunk(self, message: ActionChunk) -> None:
        self._on_chunk(message)
        # Who does not repeat the strategy answers what is asked for now: the newest.
        wanted = message.strategy or next(reversed(self._behaviours), '')
        behaviour = self._behaviours.get(wanted)
        admitted = self._admission.admit(convert.chunk_value(message), behaviour)
        if admitted.reason:
            self.reasons[admitted.outcome.name.lower()] = admitted.reason
        if behaviour is None:  # Nothing was asked for with this strategy.
            admitted = replace(admitted, strategy='')
        if not self._sender.deliver(admitted):
            self.counters[Outcome.FLOOD.name.lower()] += 1

    def _take_delay(self, message: DelayEstimate) -> None:
        self.delay = min(message.delay, self._config.horizon)

    def _unreadable(self, reason: str) -> None:
        self.counters['unreadable'] += 1
        self.reasons['unreadable'] = reason
