# SPDX-License-Identifier: Apache-2.0
"""The observation of a robot: each stream's recent past, found by the time it was received."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data

from async_chunking.errors import StreamError
from async_chunking.nodes.bounded import Bounded
from async_chunking.nodes.observations import measured, streams
from async_chunking.nodes.observations.sample import Sample
from async_chunking.nodes.observations.streams import History
from async_chunking.robot.embodiment import Embodiment, Stream

# A description's `qos` -> what is asked of publishers.
PROFILES = {'sensor_data': qos_profile_sensor_data, 'reliable': QoSProfile(depth=10)}

_RANGE = 'ROS_AUTOMATIC_DISCOVERY_RANGE'


class Observations:
    """Subscribes to streams and remembers them.

    Best effort unless the description says otherwise: so reliable and best-effort drivers are both
    heard. Streams of measured
    joints share their subscriptions, and so do streams that are the same but for their name. What
    is too large for its stream is refused before it is deserialised.

    Args:
        node: Subscribes; its thread fills the histories.
        wanted: Name -> where it comes from.
        robot: Whose joints are measured.
        now_ns: This host's clock.
        on_sample: Called with name and values of every sample.
        polled: Read the newest message of each topic when `poll` is called, instead of every one.

    Attributes:
        faults: Stream -> messages that could not be used.
        reasons: Stream -> why the last one of them could not.
    """

    def __init__(
        self,
        node: Node,
        wanted: Mapping[str, Stream],
        robot: Embodiment,
        now_ns: Callable[[], int],
        on_sample: Callable[[str, Any], None] | None = None,
        polled: bool = False,
    ) -> None:
        self._node = node
        self._topics = {
            name: [source.topic for source in robot.sources]
            if stream.kind == 'measured' else [stream.topic] if stream.topic else []
            for name, stream in wanted.items()
        }  # fmt: skip
        self._polled = polled
        self._listeners: list[Bounded] = []
        self._now_ns = now_ns
        self._on_sample = on_sample
        self._histories = {name: History(stream) for name, stream in wanted.items()}
        self._picks = {name: _pick(stream, robot) for name, stream in wanted.items()}
        self.faults: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        shared: dict[object, list[str]] = {}
        for name, stream in wanted.items():
            key = stream.kind if stream.kind == 'measured' else stream
            shared.setdefault(key, []).append(name)
        for names in shared.values():
            stream = wanted[names[0]]
            if stream.kind == 'measured':
                self._subscribe_measured(robot, names)
            elif stream.topic:
                self._subscribe(robot, stream, names)

    def _subscribe(self, robot: Embodiment, stream: Stream, names: list[str]) -> None:
        reader = streams.make_reader(stream, robot.joint_names)
        kind, limit = streams.message_type(stream.kind), streams.most_bytes(stream)
        profiles = [PROFILES[stream.qos]]
        if stream.kind == 'text':
            # Said once and kept by its publisher, or said again and again: each is heard.
            kept = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
            profiles = [QoSProfile(depth=1, durability=durability) for durability in kept]
        for profile in profiles:
            self._listen(kind, stream.topic, limit, names, lambda m, _: reader(m), profile)

    def _subscribe_measured(self, robot: Embodiment, names: list[str]) -> None:
        joints = measured.Measured(robot.sources, robot.joint_names)
        # The first source comes last, since it makes a measurement of what the others said.
        for number, source in reversed(list(enumerate(robot.sources))):
            read = partial(joints.read, number)
            kind, profile = measured.message_type(source), PROFILES[source.qos]
            self._listen(kind, source.topic, measured.MOST_BYTES, names, read, profile)

    def _listen(
        self,
        kind: type,
        topic: str,
        limit: int,
        names: list[str],
        read: Callable[[Any, int], Any],
        profile: QoSProfile,
    ) -> None:
        if self._polled:
            profile = QoSProfile(
                depth=1, reliability=profile.reliability, durability=profile.durability
            )
        receive = partial(self._receive, names, read)

        def refuse(reason: str) -> None:
            for name in names:
                self._refuse(name, StreamError(reason))

        self._listeners.append(
            Bounded(self._node, kind, topic, limit, receive, refuse, profile, self._polled)
        )

    def poll(self) -> None:
        """Read the newest message of each topic."""
        for listener in self._listeners:
            listener.poll()

    def _receive(self, names: list[str], read: Callable[[Any, int], Any], message: Any) -> None:
        received_ns = self._now_ns()
        try:
            values = read(message, received_ns)
        except StreamError as error:
            for name in names:
                self._refuse(name, error)
            return
        if values is not None:
            for name in names:
                self.put(name, Sample(received_ns, values))

    def put(self, name: str, sample: Sample) -> None:
        """Remember a sample of a stream, or count it if it cannot be used."""
        pick = self._picks[name]
        if pick is not None:
            sample = sample._replace(values=sample.values[pick])
        try:
            self._histories[name].add(sample)
        except StreamError as error:
            self._refuse(name, error)
            return
        if self._on_sample:
            self._on_sample(name, sample.values)

    def _refuse(self, name: str, error: StreamError) -> None:
        self.faults[name] += 1
        self.reasons[name] = str(error)

    def place(self, name: str) -> str:
        """Return the topics of a stream as they are named on the graph."""
        return ', '.join(map(self._node.resolve_topic_name, self._topics[name]))

    def silence(self, name: str) -> str:
        """Return why nothing usable was received of a stream, as far as it is known."""
        if name in self.reasons:
            return self.reasons[name]
        published = map(self._node.count_publishers, self._topics[name])
        if all(published):
            return 'no message, though it is published'
        where = 'nobody publishes it'
        if os.environ.get(_RANGE) == 'LOCALHOST':
            where += f' on this host; for one on another host: {_RANGE}=SUBNET'
        return where

    def newest(self, until_ns: int) -> dict[str, Sample | None]:
        """Return, for each stream, the newest sample that is not newer than a time."""
        return {name: history.newest(until_ns) for name, history in self._histories.items()}

    def newest_of(self, name: str, until_ns: int) -> Sample | None:
        """Return the newest sample of one stream that is not newer than a time."""
        return self._histories[name].newest(until_ns)

    def latest(self, name: str) -> Sample | None:
        """Return the newest sample of one stream."""
        return self._histories[name].latest


def _pick(stream: Stream, robot: Embodiment) -> np.ndarray | None:
    """Return the places of a stream's joints among the robot's, None for all of them."""
    if stream.kind != 'measured' or stream.joints is None:
        return None
    return np.array([robot.joint_names.index(name) for name in stream.joints])
