# SPDX-License-Identifier: Apache-2.0
"""Where ROS 2 is, and the environment that its processes need.

Nodes find only those of this host, unless the user says otherwise. Apart from that the environment
of a sourced ROS 2 installation is right already and is left alone. In a virtual
environment that holds ROS 2 as wheels nobody sources anything: the virtual environment itself is
the ROS prefix, and the messages lie in the checkout's install folder. `make setup` lets every
Python of the virtual environment call `activate` when it starts, and gives the libraries run
paths to each other; so rclpy works in scripts, tests and notebooks as it is.

Only the standard library is imported here, and little of it: every start pays for it.
"""

from __future__ import annotations

import os
import sys

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BUILT = os.path.join(_CHECKOUT, 'install', 'async_chunking')
# With these a user says which hosts shall find each other.
_DISCOVERY = (
    'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY', 'ROS_STATIC_PEERS',
    'ROS_DISCOVERY_SERVER',
)  # fmt: skip


def activate() -> None:
    """Give this process, and those it starts, the variables of `environment`."""
    os.environ.update(environment())


def environment() -> dict[str, str]:
    """Return the environment to start a ROS 2 process with.

    Returns:
        The variables of this process, and what ROS 2 needs on top of them. Where ROS 2 was
        sourced that is no more than who may find the nodes; where it is not present, nothing.
    """
    variables = dict(os.environ)
    where = origin()
    if where != 'none' and not any(name in variables for name in _DISCOVERY):
        variables['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if where == 'wheels':
        old = _split(variables.get('AMENT_PREFIX_PATH'))
        own = [path for path in (_BUILT, sys.prefix) if os.path.isdir(path) and path not in old]
        variables['AMENT_PREFIX_PATH'] = os.pathsep.join(own + old)
        variables.setdefault('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
        name = _read(os.path.join(sys.prefix, 'share', 'ros_distro'))  # `make setup` writes it.
        if name:
            variables['ROS_DISTRO'] = name
    return variables


def origin() -> str:
    """Return where ROS 2 is found: 'sourced', 'wheels' or 'none'."""
    prefixes = _split(os.environ.get('AMENT_PREFIX_PATH'))
    if prefixes and sys.prefix not in prefixes:
        return 'sourced'
    index = os.path.join(sys.prefix, 'share', 'ament_index', 'resource_index', 'packages')
    return 'wheels' if os.path.exists(os.path.join(index, 'rclpy')) else 'none'


def _read(path: str) -> str:
    try:
        with open(path, encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def _split(paths: str | None) -> list[str]:
    return [path for path in (paths or '').split(os.pathsep) if path]
