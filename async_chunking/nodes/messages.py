# SPDX-License-Identifier: Apache-2.0
"""Messages of robot drivers: imported when a robot needs them, refused with what to install."""

from __future__ import annotations

import importlib
import os

from async_chunking.errors import AsyncChunkingError

# Package -> where it is from, if no ROS 2 distribution has it.
_ORIGIN = {
    'interbotix_xs_msgs': 'build interbotix_ros_core (github.com/Interbotix) in your workspace',
    'unitree_hg': 'build unitree_ros2 (github.com/unitreerobotics) in your workspace',
    'unitree_go': 'build unitree_ros2 (github.com/unitreerobotics) in your workspace',
}


def message_class(name: str) -> type:
    """Return a message or action type.

    Args:
        name: As ROS 2 spells it, such as 'std_msgs/msg/String'.

    Raises:
        AsyncChunkingError: It is not installed; the message says where it is from.
    """
    package, kind, type_name = name.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.{kind}'), type_name)
    except (ImportError, AttributeError):
        distribution = os.environ.get('ROS_DISTRO', '<distro>')
        apt = f'ros-{distribution}-{package.replace("_", "-")}'
        remedy = _ORIGIN.get(package, f'sudo apt install {apt}')
        msg = f'{name} is not installed: {remedy}'
        raise AsyncChunkingError(msg) from None
