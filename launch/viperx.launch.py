# SPDX-License-Identifier: Apache-2.0
"""ViperX 300 S: `ros2 launch async_chunking viperx.launch.py strategy:=paint`."""

from async_chunking.bringup.launching import robot_launch


def generate_launch_description():
    """Return the robot's nodes; `--show-args` lists the arguments."""
    return robot_launch('viperx')
