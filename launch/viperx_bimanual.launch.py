# SPDX-License-Identifier: Apache-2.0
"""Two ViperX: `ros2 launch async_chunking viperx_bimanual.launch.py strategy:=paint`."""

from async_chunking.bringup.launching import robot_launch


def generate_launch_description():
    """Return the nodes of two ViperX as in ALOHA."""
    return robot_launch('viperx_bimanual')
