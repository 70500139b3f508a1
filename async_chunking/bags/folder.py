# SPDX-License-Identifier: Apache-2.0
"""Many recordings at once, on all cores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

from async_chunking.bags.copies import Part, continued, copies
from async_chunking.bags.files import Bag
from async_chunking.bags.summary import BagReport, RunReport, summarize_bag
from async_chunking.safety import Limits


def read_all(
    bags: Sequence[Bag], limits: Limits | None = None, workers: int | None = None
) -> Iterator[tuple[int, BagReport]]:
    """
    Yield the index and the report of every recording, as they are finished.

    A recording that cannot be read at all has no runs and says why.

    Args:
        bags: The recordings.
        limits: Limits of the robot, instead of those that were recorded.
        workers: Processes; as many as there are processors if not given.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(bags))
    if workers <= 1:
        for index, bag in enumerate(bags):
            yield index, _report(bag, limits)
        return
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(_report, bag, limits): index for index, bag in enumerate(bags)}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _report(bag: Bag, limits: Limits | None) -> BagReport:
    try:
        return summarize_bag(bag, limits)
    except Exception as error:  # One bad recording must not cost the report of the others.
        return BagReport(bag.path, (), [*bag.problems, f'{bag.path}: cannot be read: {error!r}'])


def without_copies(bags: Sequence[BagReport]) -> list[BagReport]:
    """Return reports in which each run counts once, also where a recording was copied."""
    runs = [run for bag in bags for run in bag.runs]
    parts = [Part(run.path, run.marks, run.key.run_id, *run.sent) for run in runs]
    copied = copies(parts)
    kept = [part for place, part in enumerate(parts) if place not in copied]
    said = {
        id(runs[place]): f'has {shared.share:.0%} of its commands in common with '
        f'{runs[shared.owner].path}{_robot(runs[shared.owner])}, and is left out'
        for place, shared in copied.items()
    }
    said |= {
        id(runs[place]): f'{how} in {other.source}, and counts as two; give them as one '
        'recording, in a folder with its metadata.yaml'
        for place, (how, other) in continued(parts, kept).items()
        if place not in copied and how != 'began'  # One sentence for each pair.
    }
    left = {id(runs[place]) for place in copied}
    return [
        replace(
            bag,
            runs=[run for run in bag.runs if id(run) not in left],
            problems=[
                *bag.problems,
                *(
                    f'{bag.path}: run {run.key.run_id:x}{_robot(run)} {said[id(run)]}'
                    for run in bag.runs
                    if id(run) in said
                ),
            ],
        )
        for bag in bags
    ]


def _robot(run: RunReport) -> str:
    return f' of {run.key.namespace}' if run.key.namespace else ''
