# SPDX-License-Identifier: Apache-2.0
"""A camera on the simulation: pictures and their geometry, from a thread of its own."""

from __future__ import annotations

import threading
import time
from array import array

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from async_chunking.sim.task import Task

TOPIC = 'front/image_raw'
INFO_TOPIC = 'front/camera_info'
FRAME = 'front_optical'
WIDTH, HEIGHT = 320, 240


class Camera:
    """Publishes pictures until it is stopped; rendering may be slower than asked for.

    Args:
        node: Publishes.
        task: What is seen.
        rate_hz: Pictures per second.
    """

    def __init__(self, node: Node, task: Task, rate_hz: float) -> None:
        self._node = node
        self._task = task
        self._period = 1.0 / rate_hz
        self._publisher = node.create_publisher(Image, TOPIC, qos_profile_sensor_data)
        self._infos = node.create_publisher(CameraInfo, INFO_TOPIC, qos_profile_sensor_data)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='camera', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        from async_chunking.sim.picture import Painter

        try:
            painter = Painter(self._task, WIDTH, HEIGHT, shadows=False)
        except Exception as error:  # Whatever the graphics library says; the robot goes on.
            self._node.get_logger().error(f'no pictures: {error!r}')
            return
        message = Image(
            height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH, is_bigendian=0
        )
        message.header.frame_id = FRAME
        info = camera_info(painter.focal_length)
        due = time.monotonic()
        while not self._stopped.wait(max(due - time.monotonic(), 0.0)):
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.data = array('B', painter.paint().tobytes())
            info.header = message.header
            self._publisher.publish(message)
            self._infos.publish(info)
            due = max(due + self._period, time.monotonic())
        painter.close()


def camera_info(focal_length: float) -> CameraInfo:
    """Return the geometry of a pinhole camera whose axis meets the middle of the picture."""
    x, y = WIDTH / 2.0, HEIGHT / 2.0
    return CameraInfo(
        height=HEIGHT, width=WIDTH, distortion_model='plumb_bob', d=[0.0] * 5,
        k=[focal_length, 0.0, x, 0.0, focal_length, y, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal_length, 0.0, x, 0.0, 0.0, focal_length, y, 0.0, 0.0, 0.0, 1.0, 0.0],
    )  # fmt: skip
