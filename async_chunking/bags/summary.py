# SPDX-License-Identifier: Apache-2.0
"""What one recording says: the figures of each run in it, and what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.bags.copies import marks_of
from async_chunking.bags.files import Bag
from async_chunking.bags.reading import RunKey, RunReader
from async_chunking.metrics import Tally, sent_periods
from async_chunking.metrics.record import Episode
from async_chunking.metrics.seams import Seam
from async_chunking.safety import Limits

PERIOD_BINS = np.linspace(0.0, 3.0, 121)  # In control periods; later ones count in the last bin.


@dataclass(frozen=True)
class RunReport:
    """
    One run of a recording, small enough to keep a thousand.

    Attributes:
        path: File or folder of the recording.
        files: Splits of the recording, in order.
        key: Which run of it.
        figures: As `metrics.summarize` names them.
        episodes: Attempts at the task.
        seams: [n, fields of Seam].
        periods: [120] how many periods between commands fell in each of `PERIOD_BINS`.
        control_period: [s].
        joint_names: [D].
        marks: [T] what tells each command from all others; see `bags.copies`.
        sent: Times at which the first and the last command were sent, on the executor's clock [s].
        first: First recorded tick.
        checkpoint: Hash of the policy's weights, as far as known.
        snapshot: Parameters and versions, as far as recorded.
    """

    path: Path
    files: Sequence[Path]
    key: RunKey
    figures: Mapping[str, Any]
    episodes: Sequence[Episode]
    seams: np.ndarray
    periods: np.ndarray
    control_period: float
    joint_names: Sequence[str]
    marks: np.ndarray
    sent: tuple[float, float]
    first: int
    checkpoint: str
    snapshot: Mapping[str, Any]

    @property
    def strategy(self) -> str:
        """Name of the strategy."""
        return self.key.strategy

    @property
    def trial(self) -> str:
        """Which scene was played, empty if unknown; runs of equal scenes are comparable."""
        return '+'.join(episode.trial for episode in self.episodes)

    def seam(self, name: str) -> np.ndarray:
        """Return one attribute of all seams [n]."""
        return self.seams[:, Seam._fields.index(name)]


@dataclass(frozen=True)
class BagReport:
    """A recording: its runs, and sentences about what could not be read."""

    path: Path
    runs: Sequence[RunReport]
    problems: Sequence[str]


def summarize_bag(bag: Bag, limits: Limits | None = None) -> BagReport:
    """
    Return what a recording says.

    Args:
        bag: The recording.
        limits: Limits of the robot, instead of those that were recorded.
    """
    reader = RunReader(bag)
    tallies: dict[RunKey, Tally] = {}
    periods: dict[RunKey, float] = {}
    marks: dict[RunKey, list[np.ndarray]] = defaultdict(list)
    for key, run in reader.pieces():
        if key not in tallies:
            tallies[key] = Tally(_limits(reader, key, limits)[0])
        tallies[key].add(run)
        periods[key] = run.control_period
        marks[key].append(marks_of(key.run_id, run.emitted, run.command))
    for key, tally in tallies.items():
        _check_limits(reader, key, tally, limits)
    runs = [
        _report(reader, key, tally, periods[key], np.concatenate(marks[key]))
        for key, tally in tallies.items()
    ]
    if not runs:
        bag.problems.append(f'{bag.path}: no ControlStep in it, so no run to report')
    return BagReport(bag.path, runs, bag.problems)


def _limits(reader: RunReader, key: RunKey, given: Limits | None) -> tuple[Limits | None, str]:
    """Return the limits of a run as far as it is read, and why they are not known."""
    ticks = reader.ticks[key]
    names = ticks.joint_names if len(ticks.joint_names) == ticks.size else [''] * ticks.size
    if given is None:
        return reader.snapshots.limits(key.namespace, reader.spans[key], names)
    if len(given) != len(names):
        reason = f'the limits are for {len(given)} joints, the commands have {len(names)}'
        return None, reason
    return given, ''


def _check_limits(reader: RunReader, key: RunKey, tally: Tally, given: Limits | None) -> None:
    """Leave margins out that are not those of the limits in force, and say why."""
    known, reason = _limits(reader, key, given)
    if tally.limits is None and known is not None:
        reason = 'its limits were told after its first ticks'
    elif not reason:
        return
    tally.use = None
    reader.bag.problems.append(
        f'{reader.bag.path}: run {key.run_id:x} ({key.strategy}): {reason}; margins are left out'
    )


def _report(
    reader: RunReader, key: RunKey, tally: Tally, period: float, marks: np.ndarray
) -> RunReport:
    ticks = reader.ticks[key]
    episodes = tuple(reader.episodes[key])
    counter, missed, emitted, _ = tally.clock
    relative = sent_periods(counter, missed, emitted) / period
    return RunReport(
        path=reader.bag.path,
        files=reader.bag.files,
        key=key,
        figures=tally.figures(episodes),
        episodes=episodes,
        seams=np.array(tally.seams, dtype=np.float64).reshape(-1, len(Seam._fields)),
        periods=np.histogram(np.clip(relative, 0.0, PERIOD_BINS[-1]), PERIOD_BINS)[0],
        control_period=period,
        joint_names=ticks.joint_names,
        marks=marks,
        sent=(float(emitted[0]), float(emitted[-1])),
        first=ticks.first,
        checkpoint=reader.exchanges.checkpoints.get(key.run, ''),
        snapshot=reader.snapshots.of(key.namespace, reader.spans[key]),
    )
