# SPDX-License-Identifier: Apache-2.0
"""ros2 launch async_chunking franka.launch.py strategy:=naive; --show-args lists the rest."""

from async_chunking.bringup.launching import robot_launch


def generate_launch_description():
    """Return the nodes of a Franka."""
    return robot_launch('franka')
