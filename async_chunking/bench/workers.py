# SPDX-License-Identifier: Apache-2.0
"""Spread units of work over the cores of this machine, or over a Ray cluster: the same rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from async_chunking.bench.rows import Row
from async_chunking.bench.sweep import Unit
from async_chunking.errors import AsyncChunkingError

Play = Callable[[Unit], list[Row]]
"""Plays a unit; picklable, and gives the same rows wherever it runs."""


class WorkersError(AsyncChunkingError):
    """The workers cannot be started."""


def in_processes(
    play: Play, units: Sequence[Unit], processes: int
) -> Iterator[tuple[Unit, list[Row]]]:
    """Yield each unit with its rows as they are done; with one process, in this one.

    Leaving early drops what has not begun.
    """
    processes = min(processes, len(units))
    if processes <= 1:
        _one_thread()
        for unit in units:
            yield unit, play(unit)
        return
    # Spawned, not forked: a fork of a process that has used torch's threads may hang.
    pool = ProcessPoolExecutor(processes, get_context('spawn'), initializer=_one_thread)
    try:
        futures = {pool.submit(play, unit): unit for unit in units}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise WorkersError(
            'a process died while it played, killed for memory or by its environment; what was '
            'played before is kept with --rows. Try --processes 1'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def on_ray(play: Play, units: Sequence[Unit], address: str) -> Iterator[tuple[Unit, list[Row]]]:
    """Yield each unit with its rows as they are done on a Ray cluster.

    Args:
        play: Needs its files at the same place on every machine.
        units: Work.
        address: Cluster to join: 'auto', 'local' for one on this machine, or as Ray takes it.

    Raises:
        WorkersError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise WorkersError(
            "Ray is not installed; `pip install '.[ray]'` in the checkout, or leave --ray out"
        ) from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level='ERROR')
    except (ConnectionError, ValueError) as error:
        raise WorkersError(f'no Ray cluster at {address!r}: {error}') from error
    try:
        remote = ray.remote(num_cpus=1)(_play_in_one_thread)
        waiting = {remote.remote(play, unit): unit for unit in units}
        while waiting:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done), ray.get(done)
    finally:
        ray.shutdown()


def _play_in_one_thread(play: Play, unit: Unit) -> list[Row]:
    _one_thread()
    return play(unit)


def _one_thread() -> None:
    """One thread a process: units are the parallelism, and sums keep their order."""
    import torch

    torch.set_num_threads(1)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))
