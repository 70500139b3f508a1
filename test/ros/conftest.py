# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests with real ROS 2 processes, which are skipped where ROS 2 is missing."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import util

import pytest

MISSING = [name for name in ('rclpy', 'async_chunking.msg') if util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, and skip it with the reason if it cannot run."""
    for item in items:
        if 'test/ros/' in item.path.as_posix():
            item.add_marker('ros')
            if MISSING:
                item.add_marker(pytest.mark.skip(reason=f'no {MISSING[0]} here: `make setup`'))


@pytest.fixture(autouse=True)
def _no_node_is_left() -> Iterator[None]:
    """Let the nodes of a test go with it.

    Nodes are in reference cycles, and whatever is not collected stays on the network: beyond 32
    participants on a host Fast DDS finds no more.
    """
    yield
    gc.collect()


@pytest.fixture
def node() -> Iterator:
    """Return a node of this process, in a context of its own."""
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('test', context=context)
    yield node
    node.destroy_node()
    context.shutdown()


@pytest.fixture
def spin_until(node) -> Iterator[Callable]:
    """Return a function that spins the node until a predicate holds."""
    from rclpy.executors import SingleThreadedExecutor

    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def spin_until(predicate: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > deadline:
                pytest.fail(f'after {seconds} s still not: {what}')
            executor.spin_once(timeout_sec=0.05)

    yield spin_until
    executor.shutdown()


@pytest.fixture
def start(ros_domain_id) -> Iterator[Callable[..., subprocess.Popen]]:
    """Return a function that starts `python *arguments`; all are stopped when the test ends."""
    started: list[subprocess.Popen] = []

    def start(*arguments: object) -> subprocess.Popen:
        command = [sys.executable, *map(str, arguments)]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
    for process in started:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
