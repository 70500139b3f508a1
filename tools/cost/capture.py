# SPDX-License-Identifier: Apache-2.0
"""Timers, and on CUDA the capture of a whole draw, so that Python's share of it vanishes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from tools.cost.measure import Task, Timer

CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}


def timer(clock: Callable[[], float], device: torch.device) -> Timer:
    """
    Return what runs a task once and says how long it took [ms].

    Args:
        clock: In seconds.
        device: Is waited for where it works in the background.
    """

    def wait() -> None:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    def timed(task: Task) -> float:
        wait()
        begin = clock()
        task()
        wait()
        return 1000 * (clock() - begin)

    return timed


def captured(task: Task, generator: torch.Generator) -> Task:
    """
    Return what replays a task as one CUDA graph.

    Args:
        task: Launches work on the current device; shapes and addresses must not change.
        generator: What it draws from, on the device.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # What is made once, by libraries and by caches, is made outside.
            task()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        task()
    return graph.replay
