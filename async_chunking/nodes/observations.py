# SPDX-License-Identifier: Apache-2.0
"""The observation of a robot: each stream's recent past, found by the time it was received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from async_chunking.embodiment import Embodiment, Stream
from async_chunking.nodes.measured import Measured, message_type
from async_chunking.nodes.streams import KINDS, History, Sample, StreamError


class Observations:
    """Subscribes to streams and remembers them.

    Best effort, so that reliable and best-effort drivers are both heard. Streams that share a
    topic and a kind share a subscription.

    Args:
        node: Subscribes; its thread fills the histories.
        streams: Name -> where it comes from.
        robot: Whose joints are measured.
        now_ns: This host's clock.
        on_sample: Called with name and values of every sample.

    Attributes:
        faults: Stream -> messages that could not be used.
        last_fault: The reason why the newest of them was not used.
    """

    def __init__(
        self,
        node: Node,
        streams: Mapping[str, Stream],
        robot: Embodiment,
        now_ns: Callable[[], int],
        on_sample: Callable[[str, np.ndarray], None] | None = None,
    ) -> None:
        self._now_ns = now_ns
        self._on_sample = on_sample
        self._histories = {name: History(stream.size) for name, stream in streams.items()}
        self.faults: Counter[str] = Counter()
        self.last_fault = ''
        topics: dict[tuple[str, str], list[str]] = {}
        for name, stream in streams.items():
            topics.setdefault((stream.topic, stream.kind), []).append(name)
        for (topic, kind), names in topics.items():
            if kind == 'measured':
                self._subscribe_measured(node, robot, names)
                continue
            stream_type, make_reader = KINDS[kind]
            reader = make_reader(robot.joint_names)
            callback = partial(self._receive, names, lambda m, _, reader=reader: reader(m))
            node.create_subscription(stream_type, topic, callback, qos_profile_sensor_data)

    def _subscribe_measured(self, node: Node, robot: Embodiment, names: list[str]) -> None:
        measured = Measured(robot.sources, robot.joint_names)
        for number, source in enumerate(robot.sources):
            callback = partial(self._receive, names, partial(measured.read, number))
            node.create_subscription(
                message_type(source), source.topic, callback, qos_profile_sensor_data
            )

    def _receive(
        self, names: list[str], read: Callable[[Any, int], np.ndarray | None], message: Any
    ) -> None:
        received_ns = self._now_ns()
        try:
            values = read(message, received_ns)
            if values is None:
                return
            sample = Sample(received_ns, values)
            for name in names:
                self._histories[name].add(sample)
                if self._on_sample:
                    self._on_sample(name, sample.values)
        except StreamError as error:
            self.faults[names[0]] += 1
            self.last_fault = f'{names[0]}: {error}'

    def newest(self, until_ns: int) -> dict[str, Sample | None]:
        """Return, for each stream, the newest sample that is not newer than a time."""
        return {name: history.newest(until_ns) for name, history in self._histories.items()}

    def latest(self, name: str) -> Sample | None:
        """Return the newest sample of one stream."""
        return self._histories[name].latest
