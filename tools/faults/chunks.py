# SPDX-License-Identifier: Apache-2.0
"""Faults of chunks: what a broken policy, a slow network or a stranger may send.

A fault takes the scene and how long it lasts [s], and returns what it did. Every second chunk is
spoiled where nothing else is said, so that there is a stream to spoil.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

import numpy as np

from tools.faults.done import Done
from tools.faults.mutation import mutate
from tools.faults.scene import FaultScene

_FAR = 10.0  # Outside every limit [rad, m].
_FLOOD_HZ = 50.0


def rows_of(chunk: Any) -> np.ndarray:
    """Return the rows [H, D] of a chunk's message [rad, m]."""
    return np.array(chunk.actions, dtype=np.float32).reshape(chunk.rows, chunk.columns)


def set_rows(chunk: Any, rows: np.ndarray) -> None:
    """Give a chunk's message other rows [H, D] [rad, m]."""
    chunk.rows, chunk.columns = rows.shape
    chunk.actions = array('f', np.ascontiguousarray(rows, dtype=np.float32).tobytes())


def _every_second(scene: FaultScene, seconds: float, spoil: Callable[[Any], None]) -> Done:
    done = Done()
    turns = cycle((True, False))

    def through(chunk: Any) -> Iterable[Any]:
        if not chunk.refusal and next(turns):
            spoil(chunk)
            done.count += 1
        return (chunk,)

    with scene.filtered('action_chunk', through):
        scene.run(seconds)
    return done


def not_finite(scene: FaultScene, seconds: float) -> Done:
    """One number of the chunk is NaN, or all are infinite."""
    values = cycle((np.nan, np.inf))

    def spoil(chunk: Any) -> None:
        rows = rows_of(chunk)
        value = next(values)
        rows[int(scene.rng.integers(len(rows))) if np.isnan(value) else slice(None)] = value
        set_rows(chunk, rows)

    return _every_second(scene, seconds, spoil)


def wrong_size(scene: FaultScene, seconds: float) -> Done:
    """A column is missing, there are no rows or far too many, or the size is not what it says."""

    def spoil(chunk: Any) -> None:
        rows = rows_of(chunk)
        kind = next(kinds)
        if kind == 'lie':
            chunk.rows *= 1000
        else:
            set_rows(chunk, {
                'narrow': rows[:, :-1], 'empty': rows[:0], 'long': np.tile(rows, (10, 1)),
            }[kind])  # fmt: skip

    kinds = cycle(('narrow', 'empty', 'long', 'lie'))
    return _every_second(scene, seconds, spoil)


def past(scene: FaultScene, seconds: float) -> Done:
    """The chunk claims to be for a tick a second ago."""

    def spoil(chunk: Any) -> None:
        chunk.tick -= 50

    return _every_second(scene, seconds, spoil)


def future(scene: FaultScene, seconds: float) -> Done:
    """The chunk claims to be for a tick in ten seconds."""

    def spoil(chunk: Any) -> None:
        chunk.tick += 500

    return _every_second(scene, seconds, spoil)


def over_limits(scene: FaultScene, seconds: float) -> Done:
    """The chunk leads far outside the position limits."""
    return _every_second(scene, seconds, lambda chunk: set_rows(chunk, rows_of(chunk) + _FAR))


def wild(scene: FaultScene, seconds: float) -> Done:
    """Every row is a random pose inside the position limits; only rate limits can help."""
    limits = scene.robot.limits

    def spoil(chunk: Any) -> None:
        set_rows(chunk, scene.rng.uniform(limits.lower, limits.upper, rows_of(chunk).shape))

    return _every_second(scene, seconds, spoil)


def twice(scene: FaultScene, seconds: float) -> Done:
    """Every chunk comes twice."""
    done = Done()

    def through(chunk: Any) -> Iterable[Any]:
        done.count += not chunk.refusal
        return chunk, chunk

    with scene.filtered('action_chunk', through):
        scene.run(seconds)
    return done


def reordered(scene: FaultScene, seconds: float) -> Done:
    """Every second chunk is held back until the next one was sent."""
    done, held = Done(), []

    def through(chunk: Any) -> Iterable[Any]:
        if held and held[0].run_id == chunk.run_id:
            done.count += 1
            return chunk, held.pop()
        held[:] = [chunk]
        return ()

    with scene.filtered('action_chunk', through):
        scene.run(seconds)
    return done


def previous_run(scene: FaultScene, seconds: float) -> Done:
    """A chunk comes again after a new run began."""
    kept: list[Any] = []

    def keep(chunk: Any) -> Iterable[Any]:
        kept[:] = [copy.deepcopy(chunk)]
        return (chunk,)

    with scene.filtered('action_chunk', keep):
        scene.until(lambda: kept, seconds)
        scene.run(0.1)
    scene.new_run()
    done = Done()
    for _ in range(max(int(seconds * 5.0), 1)):
        scene.link.send(kept[0])
        done.count += 1
        scene.run(0.2)
    return done


def second_publisher(scene: FaultScene, seconds: float) -> Done:
    """A stranger answers every request as well, at once, with the pose that it saw last."""
    done, link = Done(), scene.link

    def answer(request: Any) -> None:
        link.answer(request, np.tile(link.log.steps[-1].command, (16, 1)))
        done.count += 1

    link.on_request = answer
    scene.run(seconds)
    link.on_request = None
    return done


def flood(scene: FaultScene, seconds: float) -> Done:
    """Mutated chunks at 50 Hz over the wire, straight into the executor."""
    kept: list[Any] = []

    def keep(chunk: Any) -> Iterable[Any]:
        kept[:] = [chunk]
        return (chunk,)

    done = Done()
    with scene.filtered('action_chunk', keep):
        scene.until(lambda: kept, seconds)
        for _ in range(max(int(seconds * _FLOOD_HZ), 1)):
            scene.link.send(mutate(scene.link.wire(kept[0]), scene.rng))
            done.count += 1
            scene.run(1.0 / _FLOOD_HZ)
    return done
