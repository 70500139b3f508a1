# SPDX-License-Identifier: Apache-2.0
"""Whether what was recorded is evidence: of one robot, each once, complete, within its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from async_chunking.bags.clock import Clock
from async_chunking.bags.copies import Part, continued, copies, marks_of, sequences
from async_chunking.bags.files import Bag
from async_chunking.bags.wire import Series
from async_chunking.bags.wire_messages import Wanted
from async_chunking.dataset.recorded import Key, Topics
from async_chunking.dataset.writing import DatasetError, Demonstration
from async_chunking.executor.turns import TURN
from async_chunking.robot.embodiment import Embodiment, Stream
from async_chunking.robot.wiring import WITH_JOINTS

_IN_A_ROW = 8  # Commands; what was seen at so many is never the same by chance.
_PLAYED = 10  # Different ones of such, at least, are in what was played again.
_AGAIN = 0.3  # Share of a demonstration that comes in it a second time, if it was.
_FAR = 3.0  # Times its velocity limit, which nobody moves a joint with.
_LEAST = 0.1  # A joint is never taken for so little outside its range [rad, m].
_HUGE = 1e6  # No unit of a position makes more of it.


class Made(NamedTuple):
    """
    A demonstration, and what it is of.

    Attributes:
        demonstration: Frames of it.
        namespace: Namespace of the robot.
        sent: What was commanded, and when.
        seen: What was observed, command by command, at whatever time.
    """

    demonstration: Demonstration
    namespace: str
    sent: Part
    seen: Part


@dataclass(frozen=True)
class Marks:
    """
    What tells the commands of a recording from all others.

    Attributes:
        stamps: [n] when each was recorded [ns].
        sent: [n] by what was commanded, and when.
        seen: [n] by what was observed then; commanded, if nothing was.
        runs: [n] of which run each is; 0 for none.
        emitted: [n] when each was sent, on a clock that nobody sets [s].
    """

    stamps: np.ndarray
    sent: np.ndarray
    seen: np.ndarray
    runs: np.ndarray
    emitted: np.ndarray

    @classmethod
    def of(cls, topics: Topics, commands: Series, clock: Clock) -> Marks:
        """Return the marks of the commands of a recording."""
        stamps, none = commands.stamps, np.zeros(len(commands.stamps), np.int64)
        others = [series for key, series in topics.items() if key[0] != 'command']
        newest = [np.searchsorted(s.stamps, stamps, side='right') - 1 for s in others]
        values = [s.values[at] for s, at in zip(others, newest, strict=True)]
        seen = marks_of(0, none, np.column_stack(values or [commands.values]))
        if not len(clock.places) or not clock.emitted.any():
            sent = marks_of(0, stamps, commands.values)
            return cls(stamps, sent, seen, none, stamps * 1e-9)
        told = np.searchsorted(clock.places, commands.places)
        run, emitted = clock.runs[told], clock.emitted[told]
        return cls(stamps, marks_of(run, emitted, commands.values), seen, run, emitted * 1e-9)

    def whole(self, source: Path) -> Part:
        """Return what was sent in the whole recording."""
        return self._part(source, np.arange(len(self.stamps)))

    def _part(self, source: Path, at: np.ndarray) -> Part:
        begin, end = self.emitted[at[[0, -1]]].tolist()
        return Part(source, self.sent[at], int(self.runs[at[-1]]), begin, end)

    def parts(self, source: Path, start: int, stop: int) -> tuple[Part, Part]:
        """
        Return what was sent, and what was seen, from `start` to `stop` [ns].

        Raises:
            DatasetError: The same comes again in it, to the last bit.
        """
        at = np.flatnonzero((self.stamps >= start) & (self.stamps <= stop))
        seen = sequences(self.seen[at], _IN_A_ROW)
        _, counts = np.unique(seen, return_counts=True)
        again = int((counts - 1).sum())
        played = (counts > 1).sum() >= _PLAYED and again > _AGAIN * len(seen)
        if played and not self.runs[at].any():
            msg = (
                f'{source}: what was seen at {again} of its {len(at)} commands was seen before, '
                'to the last bit: a recording was played again and again and recorded; give the '
                'first one'
            )
            raise DatasetError(msg)
        return self._part(source, at), Part(source, seen)


def check_one_robot(made: Sequence[Made]) -> None:
    """
    Refuse demonstrations of two robots.

    Raises:
        DatasetError: Names both namespaces.
    """
    sources = {one.namespace: one.sent.source for one in made}
    if len(sources) > 1:
        said = ' and '.join(f'{name or "/"} in {sources[name]}' for name in sorted(sources)[:2])
        msg = f'the robot is {said}; say which is meant with --namespace, or make two data sets'
        raise DatasetError(msg)


def repeated(made: Sequence[Made], recordings: Sequence[Part]) -> dict[int, str]:
    """Return the demonstrations that are none of their own, or a piece, each with the reason."""
    sent = [one.sent for one in made]
    pieces = {
        place: f'{sent[place].source}: its run {how} in {other.source}, and it is left out; give '
        'both as one recording, in a folder with its metadata.yaml'
        for place, (how, other) in continued(sent, recordings).items()
    }
    alike = {
        place: ('what it saw', shared)
        for place, shared in copies([one.seen for one in made], _PLAYED).items()
        if not (sent[place].run and sent[shared.owner].run)  # Two runs, which a simulation made.
    }
    alike |= {place: ('its commands', shared) for place, shared in copies(sent).items()}
    return pieces | {
        place: f'{sent[place].source}: a demonstration has {shared.share:.0%} of {what} in '
        f'common with one of {sent[shared.owner].source}, and is left out'
        for place, (what, shared) in alike.items()
    }


def complete(bag: Bag, wanted: Mapping[Key, Wanted], topics: Topics) -> Topics:
    """
    Return what was recorded without messages that lack a number; they are named.

    Args:
        bag: The recording; its `problems` grow.
        wanted: What was read.
        topics: What was found of it.

    Raises:
        DatasetError: All messages of a topic do; names the joints.
    """
    return {key: _complete(bag, wanted[key], series) for key, series in topics.items()}


def _complete(bag: Bag, what: Wanted, series: Series) -> Series:
    there = np.isfinite(series.values)
    whole = there.all(axis=1)
    if whole.all():
        return series
    size = series.values.shape[1]
    names = what.names if len(what.names) == size else [f'number {i}' for i in range(size)]
    never = [name for name, column in zip(names, there.T, strict=True) if not column.any()]
    if never:
        msg = f'{bag.path}: {what.topic} lacks {", ".join(never)}; is it of another robot?'
        raise DatasetError(msg)
    lacking = ', '.join(n for n, column in zip(names, there.T, strict=True) if not column.all())
    if not whole.any():
        msg = (
            f'{bag.path}: no message of {what.topic} has all of {", ".join(names)}; '
            f'{lacking} are not in each: describe those of each message as a source of its own'
        )
        raise DatasetError(msg)
    bag.problems.append(
        f'{bag.path}: {int((~whole).sum())} of {whole.size} messages of {what.topic} have no '
        f'number for {lacking}; they are left out'
    )
    kept = np.flatnonzero(whole)
    return Series(*(column[kept] for column in series))


def _in_our_units(stream: Stream, robot: Embodiment) -> bool:
    """Return whether a stream holds positions of joints [rad, m], and not a driver's numbers."""
    scaled = {source.topic for source in robot.sources if source.scales}
    return stream.kind in WITH_JOINTS and stream.topic not in scaled


def jumps(features: Mapping[str, np.ndarray], robot: Embodiment, path: Path) -> list[str]:
    """Return where joints go farther in a frame than they can, a sentence for each feature."""
    said, period = [], 1.0 / robot.policy.policy_rate_hz
    for name, values in features.items():
        stream = robot.observations.get(name)
        if stream is not None and not _in_our_units(stream, robot):
            continue
        names = (stream.joints if stream else ()) or robot.joint_names
        at = [robot.joint_names.index(joint) for joint in names]
        steps = np.diff(values, axis=0)
        turned = steps - TURN * np.round(steps / TURN)
        steps = np.abs(np.where(np.array(robot.continuous)[at], turned, steps))
        far = np.argwhere(steps > _FAR * period * robot.limits.velocity[at])
        if len(far):
            frame, joint = far[0]
            step, when = f'{steps[frame, joint]:.2g}', f'{frame * period:.2f} s'
            frames = len({*far[:, 0]})
            said.append(
                f'{path}: {name} of {names[joint]} goes by {step} in a frame at {when}, more than '
                f'{_FAR:g} times what its velocity limit allows, as in {frames} frames: '
                'several recordings in one, or noise?'
            )
    return said


def check_range(
    features: Mapping[str, np.ndarray], robot: Embodiment, period: float, path: Path
) -> None:
    """
    Refuse positions that the robot cannot have: noise, or another unit.

    Outside its limits a joint may be by as much as they are apart.

    Args:
        features: Name -> [T, dim], those of a demonstration.
        robot: Whose they are.
        period: Time between two frames [s].
        path: Recording, for the message.

    Raises:
        DatasetError: Names the feature, the joint, the value and when.
    """
    for name, values in features.items():
        stream = robot.observations.get(name)
        low, high = np.full(values.shape[1], -_HUGE), np.full(values.shape[1], _HUGE)
        names: Sequence[str] = [f'number {i}' for i in range(values.shape[1])]
        if stream is None or _in_our_units(stream, robot):
            names = (stream.joints if stream else ()) or robot.joint_names
            at = [robot.joint_names.index(joint) for joint in names]
            lower, upper = robot.limits.lower[at], robot.limits.upper[at]
            wide = np.maximum(np.where(np.isfinite(upper - lower), upper - lower, 0.0), _LEAST)
            low, high = np.maximum(lower - wide, low), np.minimum(upper + wide, high)
        wrong = np.argwhere(~((values >= low) & (values <= high)))
        if len(wrong):
            frame, column = wrong[0]
            msg = (
                f'{path}: {name} of {names[column]} is {values[frame, column]:g} at '
                f'{frame * period:.2f} s, {len({*wrong[:, 0]})} frames are beyond '
                f'{low[column]:g} to {high[column]:g}; left out'
            )
            raise DatasetError(msg)
