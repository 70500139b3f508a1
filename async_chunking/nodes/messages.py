# SPDX-License-Identifier: Apache-2.0
"""Messages of robot drivers: imported when a robot needs them, refused with what to install."""

from __future__ import annotations

import importlib
import os

from async_chunking.errors import AsyncChunkingError

# Package -> where it is from; {apt} stands for the package's name in apt.
_ORIGIN = {
    'control_msgs': 'sudo apt install {apt}',
    'trajectory_msgs': 'sudo apt install {apt}',
    'interbotix_xs_msgs': 'sudo apt install {apt}, or build interbotix_ros_core if apt lacks it',
    'unitree_hg': 'sudo apt install {apt}, or build unitree_ros2 where apt lacks it',
    'unitree_go': 'sudo apt install {apt}, or build unitree_ros2 where apt lacks it',
}


def message_class(name: str) -> type:
    """Return a message or action type.

    Args:
        name: As ROS 2 spells it, such as 'std_msgs/msg/String'.

    Raises:
        AsyncChunkingError: It is not installed; the message names the apt package.
    """
    package, kind, type_name = name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), type_name)
    except (ImportError, AttributeError):
        distribution = os.environ.get('ROS_DISTRO', '<distro>')
        apt = f'ros-{distribution}-{package.replace("_", "-")}'
        remedy = _ORIGIN.get(package, 'sudo apt install {apt}').format(apt=apt)
        msg = f'{name} is not installed: {remedy}'
        raise AsyncChunkingError(msg) from None
