# SPDX-License-Identifier: Apache-2.0
"""Records a robot's topics as they are on the wire, with a snapshot of what it was running."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from std_msgs.msg import String

from async_chunking.bags.recording import Recording
from async_chunking.bags.topics import recorded_topics
from async_chunking.bringup.parameters import RecorderParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.bounded import arrived
from async_chunking.nodes.process import run
from async_chunking.nodes.qos import LATCHED
from async_chunking.nodes.snapshot import Snapshot

_DISCOVERY_S = 0.1  # How often new topics are looked for [s].
_NICENESS = 10
_DEPTH = 1000  # Messages of a topic that may wait to be received.


class RecorderNode(RobotNode):
    """Subscribes to every recorded topic that has a publisher, and writes what comes.

    With an empty `path` nothing is written here: only the snapshot is published, for another
    recorder. Disk trouble ends this process, and no other.
    """

    Parameters = RecorderParameters

    def __init__(self) -> None:
        super().__init__('recorder')
        self._recording: Recording | None = None
        self._heard: set[str] = set()
        self._problems: dict[str, str] = {}

    def configure(self) -> None:
        """Open the recording; it begins at once, so that nothing of the run is lost."""
        parameters = self.parameters
        if parameters.path:
            self._recording = Recording(Path(parameters.path).expanduser())
        names = recorded_topics(self.embodiment, parameters.images) + tuple(
            parameters.extra.split()
        )
        self._wanted = [self.resolve_topic_name(name) for name in names]
        self._text = self.create_publisher(String, 'snapshot', LATCHED)
        self._snapshot = Snapshot(
            self, self.embodiment, lambda t: self._text.publish(String(data=t))
        )
        self._diagnostics = diagnostics.Diagnostics(self, self.embodiment.name)
        self.create_timer(_DISCOVERY_S, self._look)
        self.create_timer(1.0, self._diagnose)
        self._look()

    def deactivate(self) -> None:
        """Finish the files."""
        self._close()

    def end(self) -> None:
        """Finish the files, also of a recording that was never activated."""
        self._close()
        super().end()

    def _close(self) -> None:
        self._drain()
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()
            self._tell(recording)

    def _drain(self) -> None:
        """Write what has arrived, but waits since this process had no turn."""
        for subscription in self.subscriptions if self._recording is not None else ():
            topic = subscription.topic_name
            for data in arrived(subscription, _DEPTH if topic in self._heard else 0):
                self._receive(topic, data)

    def _tell(self, recording: Recording) -> None:
        if recording.failure:
            self.get_logger().error(recording.failure)
        elif not self.parameters.temporary:
            self.get_logger().info(f'{recording.count} messages in {recording.path}')

    # --- topics ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Subscribe to wanted topics that appeared."""
        self._snapshot.look()
        if self._recording is None:
            return
        known = dict(self.get_topic_names_and_types())
        for topic in self._wanted:
            if topic in known and topic not in self._heard and self.count_publishers(topic):
                self._heard.add(topic)
                self._subscribe(self._recording, topic, known[topic][0])

    def _subscribe(self, recording: Recording, topic: str, kind: str) -> None:
        try:
            package, _, name = kind.split('/')
            message_type = getattr(import_module(f'{package}.msg'), name)
            recording.add(topic, kind, self._offered(topic))
        except (ImportError, AttributeError, AsyncChunkingError) as error:
            self._problems[topic] = str(error)
            self.get_logger().warning(f'{topic} is not recorded: {kind} is not installed: {error}')
            return
        callback: Callable[[bytes], None] = partial(self._receive, topic)
        self.create_subscription(message_type, topic, callback, self._qos(topic), raw=True)

    def _qos(self, topic: str) -> QoSProfile:
        """Return what all publishers of a topic offer."""
        offered = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
        reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
        latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
        return QoSProfile(
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=(
                DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
            ),
        )

    def _offered(self, topic: str) -> list[Qos]:
        """Return what the publishers of a topic offer, for those who play the recording."""
        profiles = [info.qos_profile for info in self.get_publishers_info_by_topic(topic)]
        return [
            Qos(
                QosHistory(profile.history.value), profile.depth,
                QosReliability(profile.reliability.value), QosDurability(profile.durability.value),
                _time(profile.deadline), _time(profile.lifespan),
                QosLiveliness(profile.liveliness.value),
                _time(profile.liveliness_lease_duration),
                profile.avoid_ros_namespace_conventions,
            )
            for profile in profiles
        ]  # fmt: skip

    def _receive(self, topic: str, data: bytes) -> None:
        if self._recording is not None:
            self._recording.put(topic, self.get_clock().now().nanoseconds, data)

    # --- state ----------------------------------------------------------------------------------

    def _diagnose(self) -> None:
        recording = self._recording
        if recording is None:
            self._diagnostics.publish(diagnostics.OK, 'not recording', {})
            return
        self.failure = recording.failure
        counts: dict[str, Any] = {
            'messages': recording.count, 'dropped': recording.dropped,
            'topics': len(self._heard), 'unreadable_topics': len(self._problems),
        }  # fmt: skip
        level = diagnostics.OK
        if recording.failure:
            level = diagnostics.ERROR
        elif recording.dropped or self._problems:
            level = diagnostics.WARN
        self._diagnostics.publish(level, recording.failure or 'recording', counts)


def _time(duration: Duration) -> QosTime:
    return QosTime(*divmod(duration.nanoseconds, 1_000_000_000))


def main() -> int:
    """Run the node, after everything else that wants the processor."""
    os.nice(_NICENESS)
    return run(RecorderNode)


if __name__ == '__main__':
    raise SystemExit(main())
