# SPDX-License-Identifier: Apache-2.0
"""Faults of joint_states; see `tools.faults.chunks` for what a fault is."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from tools.faults.done import Done
from tools.faults.scene import FaultScene

_TOPIC = 'joint_states'
_SHUFFLED = 10  # Messages that change places; at 100 Hz a tenth of a second.
_JUMP = 1.0  # [rad, m].
_EVERY = 5


def stop(scene: FaultScene, seconds: float) -> Done:
    """No more joint_states."""
    done, sentences = Done(), scene.link.log.sentences['executor']
    before = len(sentences)

    def through(message: Any) -> Iterable[Any]:
        del message  # Lost.
        done.count += 1
        return ()

    with scene.filtered(_TOPIC, through):
        scene.run(seconds)
    done.checks = {'silence named in /diagnostics': any('silent' in s for s in sentences[before:])}
    return done


def freeze(scene: FaultScene, seconds: float) -> Done:
    """The joint_states go on, with the same positions for ever."""
    done, first = Done(), []

    def through(message: Any) -> Iterable[Any]:
        first[:] = first or [copy.deepcopy(message)]
        message.position = first[0].position
        done.count += 1
        return (message,)

    with scene.filtered(_TOPIC, through):
        scene.run(seconds)
    return done


def reorder(scene: FaultScene, seconds: float) -> Done:
    """Ten messages at a time, in random order."""
    done, waiting = Done(), []

    def through(message: Any) -> Iterable[Any]:
        waiting.append(message)
        done.count += 1
        if len(waiting) < _SHUFFLED:
            return ()
        sent = [waiting[i] for i in scene.rng.permutation(_SHUFFLED)]
        waiting.clear()
        return sent

    with scene.filtered(_TOPIC, through):
        scene.run(seconds)
    return done


def jump(scene: FaultScene, seconds: float) -> Done:
    """Every fifth message is off by one radian in every joint."""
    done = Done()
    seen = 0

    def through(message: Any) -> Iterable[Any]:
        nonlocal seen
        seen += 1
        if seen % _EVERY == 0:
            for joint in range(len(message.position)):
                message.position[joint] += _JUMP
            done.count += 1
        return (message,)

    with scene.filtered(_TOPIC, through):
        scene.run(seconds)
    return done


def broken(scene: FaultScene, seconds: float) -> Done:
    """Every fifth message lacks a joint, or holds NaN."""
    done = Done()
    seen = 0

    def through(message: Any) -> Iterable[Any]:
        nonlocal seen
        seen += 1
        if seen % (2 * _EVERY) == 0:
            message.name = list(message.name)[:-1]
        elif seen % _EVERY == 0:
            message.position[0] = float('nan')
        done.count += seen % _EVERY == 0
        return (message,)

    with scene.filtered(_TOPIC, through):
        scene.run(seconds)
    return done
