# SPDX-License-Identifier: Apache-2.0
"""The process of a node: begins, spins, and ends in an orderly way whatever ends it."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import rclpy
from rclpy.exceptions import InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from async_chunking import ros_environment
from async_chunking.errors import COULD_NOT_START
from async_chunking.nodes.base import RobotNode
from async_chunking.start import PARENT_VARIABLE, leave_reason

_PR_SET_PDEATHSIG = 1


def _set_aside() -> None:
    """Set what lives aside from the garbage collector.

    What was imported and warmed up is hundreds of thousands of objects: to look through them stops
    a policy for a fifth of a second, some time after the start. A process of several nodes must
    not do so, since a node that is destroyed later would stay on the network for ever.
    """
    gc.collect()
    gc.freeze()


def run(make: Callable[[], RobotNode]) -> NoReturn:
    """Run a node until it is told to end, then end the process; with its status if it failed.

    SIGINT, SIGTERM and SIGHUP (the terminal is closed) do not shut ROS down at once, so that a
    robot can be brought to rest first.
    """
    if PARENT_VARIABLE in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(os.environ[PARENT_VARIABLE]):  # It died before that.
            sys.exit(0)
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopped.append(number))
    ros_environment.activate()  # Only this host finds it, unless the user says otherwise.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except InvalidParameterValueException as error:  # Its range is rclpy's to check.
        leave_reason(str(error))
        get_logger('rclpy').fatal(str(error))
        os._exit(COULD_NOT_START)
    node.interrupted = lambda: bool(stopped)
    node.activated = _set_aside
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter('autostart').value:
        node.begin()
    while not stopped and not node.failure:
        try:
            executor.spin_once(timeout_sec=0.1)
        except Exception:  # Whatever a peer sent, the command stream goes on.
            node.get_logger().error(traceback.format_exc())
    if node.failure:
        leave_reason(node.failure)
        if node.status != COULD_NOT_START:  # Else it was logged where it was raised.
            node.get_logger().fatal(node.failure)
    node.end()
    executor.shutdown()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking torch apart, as Python would, takes seconds.
    os._exit(node.status if node.failure else 0)
