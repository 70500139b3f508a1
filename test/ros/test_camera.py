# SPDX-License-Identifier: Apache-2.0
"""The simulation's camera, as a peer on the network sees it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('rclpy')

from async_chunking.bringup.describe import describe
from async_chunking.bringup.processes import Processes


def test_pictures_are_published(node, spin_until, tmp_path):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    picture = [sys.executable, '-m', 'async_chunking.sim.picture', 'viperx_slalom']
    words = [*picture, str(tmp_path / 'a.png'), '--seconds', '0', '--size', '32', '24']
    if subprocess.run(words, capture_output=True, check=False, timeout=300).returncode:
        pytest.skip('no off-screen rendering here')
    described = describe('viperx', {'camera_hz': '5', 'log_level': 'warn'})
    nodes = tuple(n for n in described.nodes if n.executable == 'sim_node')
    images: list[Image] = []
    node.create_subscription(Image, 'front/image_raw', images.append, qos_profile_sensor_data)
    with Processes(nodes, '', 'warn'):
        spin_until(lambda: len(images) >= 2, 'two pictures')
    image = images[-1]
    assert (image.width, image.height, image.encoding, image.step) == (320, 240, 'rgb8', 960)
    pixels = np.frombuffer(image.data, dtype=np.uint8).reshape(240, 320, 3)
    assert pixels.std() > 20.0
