# SPDX-License-Identifier: Apache-2.0
"""A recording of one session in one line: all its runs pooled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from async_chunking.bags.files import find
from async_chunking.bags.namespaces import robot_namespace
from async_chunking.bags.reading import RunKey, RunReader
from async_chunking.bags.wire_limits import wire_use
from async_chunking.metrics import Tally, pooled
from async_chunking.robot.embodiment import Embodiment


def overview(path: Path, robot: Embodiment, namespace: str | None = None) -> dict[str, Any]:
    """
    Return the figures of all runs in a recording as if they were one, by name.

    Runs in another namespace are of another robot in the same domain, and left out.

    `success` is the share of the episodes that succeeded, None without episodes. `limits` is read
    from what the drivers were told, not from what the executor says of it. `recorded` is the first
    and last recorded tick of each run.

    Args:
        path: File or folder of the recording.
        robot: With the topics that were recorded.
        namespace: Namespace of the robot; None where only one is in the recording.

    Raises:
        BagError: It cannot be read, or several robots could be meant.
    """
    (bag,) = find([path])
    namespace = robot_namespace(bag, {command.topic for command in robot.commands}, namespace)
    reader = RunReader(bag)
    tallies: dict[RunKey, Tally] = {}
    recorded: dict[int, tuple[int, int]] = {}
    for key, run in reader.pieces():
        if key.namespace == namespace:
            tallies.setdefault(key, Tally()).add(run)
            first, last = int(run.tick[0]), int(run.tick[-1])
            recorded[key.run_id] = recorded.get(key.run_id, (first, last))[0], last
    episodes = [episode for key in tallies for episode in reader.episodes[key]]
    figures = pooled(list(tallies.values()), episodes)
    figures['limits'] = wire_use(bag, robot, namespace).figures()
    figures['recorded'] = recorded
    if episodes:
        figures['success'] = sum(episode.success for episode in episodes) / len(episodes)
    return figures
