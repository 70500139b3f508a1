# SPDX-License-Identifier: Apache-2.0
"""What a sink is: it puts some of the joints' commands on a topic, in the words of one driver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile

from async_chunking.nodes.bounded import listen
from async_chunking.robot.embodiment import Command
from async_chunking.settings import Settings, validated

_HEARD = QoSProfile(depth=10)


class StateTopic(NamedTuple):
    """A topic of a driver, and the one number that is read from its messages."""

    name: str
    kind: type
    read: Callable[[Any], float]


class Sink(ABC):
    """A command topic.

    Args:
        node: Publishes.
        command: From the robot's description.
        joint_names: Joints of the whole robot, in command order [D].
        period_s: Between two commands [s].

    Attributes:
        index: [J] columns of its joints in a command.
        publisher: What sends; the goals of an action have none.
        trouble: What the driver did not do, in a sentence; empty while all is well.

    Raises:
        SettingsError: The description has options that this kind of sink does not know.
    """

    Options: ClassVar[type[Settings]] = Settings  # What can be set for this kind of sink.
    message_type: ClassVar[type]
    asks: ClassVar[bool] = False  # It waits for answers, so it runs in the node, on changes only.
    qos: ClassVar[QoSProfile] = QoSProfile(depth=1)

    def __init__(
        self, node: Node, command: Command, joint_names: tuple[str, ...], period_s: float
    ) -> None:
        self.trouble = ''
        self._period_s = period_s
        self.options: Any = validated(
            self.Options, command.options, f'options of command {command.topic}'
        )
        self.index = np.array([joint_names.index(name) for name in command.joints])
        self._gain, self._bias = command.affine
        self._open(node, command)

    def _open(self, node: Node, command: Command) -> None:
        """Create what sends."""
        self.publisher: Any = node.create_publisher(self.message_type, command.topic, self.qos)

    def _values(self, command: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return this sink's part of a command [D] in the driver's order and units."""
        values = np.take(command, self.index, out=out)
        values *= self._gain
        values += self._bias
        return values

    @classmethod
    def listens(cls, command: Command) -> StateTopic | None:
        """Return what must be heard of the driver; the node listens, the sender is told."""
        del command  # Unused.
        return None

    @abstractmethod
    def send(self, command: np.ndarray, stamp_ns: int) -> None:
        """Publish the command [D] [rad, m]; runs in the sender, so no waste here."""

    def hear(self, value: float) -> None:  # noqa: B027
        """Take what the driver tells on the topic of `listens`."""

    def release(self) -> None:  # noqa: B027
        """Let go of the robot, which is at rest; called once, after the last command."""

    @classmethod
    def simulate(cls, node: Node, command: Command, take: Callable[[np.ndarray], None]) -> None:
        """Hear what a driver would; `take` is given positions [J] in the driver's units."""

        def heard(message: Any) -> None:
            positions = cls.positions(message, command)
            if positions is not None:
                take(positions)

        listen(node, cls.message_type, command.topic, heard, _HEARD)

    @staticmethod
    @abstractmethod
    def positions(message: Any, command: Command) -> np.ndarray | None:
        """Return what a driver reads, in its units; None from a message for other joints."""


def named(listed: Sequence[str], values: Sequence[float], command: Command) -> np.ndarray | None:
    """Return the numbers of a command's joints in a message that names joints."""
    if len(listed) != len(values):
        return np.empty(0)
    places = dict(zip(listed, values, strict=True))
    if not places.keys() & set(command.driver_names):
        return None
    return np.array([places.get(name, np.nan) for name in command.driver_names])


def by_motor(entries: Sequence[Any], motors: Sequence[int]) -> np.ndarray:
    """Return the positions in some places of a message; of none if it is too short for them."""
    if len(entries) <= max(motors):
        return np.empty(0)
    return np.array([entries[motor].q for motor in motors], dtype=np.float64)
