# SPDX-License-Identifier: Apache-2.0
"""What a robot's observations need beside its joints, made up where nobody publishes it."""

from __future__ import annotations

import io
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray

from async_chunking.nodes.observations.streams import message_type
from async_chunking.robot.embodiment import Embodiment, Stream

_DEPTH = QoSProfile(depth=10)


class StandIns:
    """Publishes still values on the topics of streams, each until somebody else publishes there.

    Args:
        node: Publishes.
        streams: Name -> stream with a topic.
        robot: Whose joints a stream of joints holds; they stand at zero.

    Attributes:
        made_up: Topic -> what is published there.
    """

    def __init__(self, node: Node, streams: Mapping[str, Stream], robot: Embodiment) -> None:
        self._node = node
        self._messages: dict[str, tuple[Any, Any]] = {}
        self.made_up: dict[str, str] = {}
        for stream in streams.values():
            if stream.topic not in self._messages:
                publisher = node.create_publisher(message_type(stream.kind), stream.topic, _DEPTH)
                self._messages[stream.topic] = publisher, _still(stream, robot)
                what = 'black pictures' if stream.is_image else 'zeros'
                self.made_up[stream.topic] = what

    def publish(self) -> None:
        """Publish on every topic that is nobody else's."""
        stamp = self._node.get_clock().now().to_msg()
        for topic, (publisher, message) in self._messages.items():
            if self._node.count_publishers(topic) > 1:
                continue
            if hasattr(message, 'header'):
                message.header.stamp = stamp
            publisher.publish(message)


def _still(stream: Stream, robot: Embodiment) -> Any:
    """Return the message that is published again and again."""
    if stream.kind == 'joint_state':
        names = list(stream.joints or robot.joint_names)
        return JointState(name=names, position=array('d', bytes(8 * len(names))))
    if not stream.is_image:
        return Float64MultiArray(data=array('d', bytes(8 * (stream.size or 0))))
    height, width = stream.height or 0, stream.width or 0
    if stream.kind == 'image':
        data = array('B', bytes(3 * height * width))
        return Image(height=height, width=width, encoding='rgb8', step=3 * width, data=data)
    from PIL import Image as Pillow  # Only who has cameras needs it.

    packed = io.BytesIO()
    Pillow.fromarray(np.zeros((height, width, 3), dtype=np.uint8)).save(packed, 'jpeg')
    return CompressedImage(format='jpeg', data=array('B', packed.getvalue()))
