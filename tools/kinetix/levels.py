# SPDX-License-Identifier: Apache-2.0
"""Read a Kinetix level, without the slots for bodies and joints that it does not use.

Every level file has room for 12 polygons, 4 circles, 6 joints and 2 thrusters. Leaving out the
empty slots leaves the motion as it is, makes the physics up to three times as fast, and shortens
the observation from 679 to 207 numbers and more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from async_chunking.errors import AsyncChunkingError

ENVIRONMENT_VARIABLE = 'ASYNC_CHUNKING_KINETIX_LEVELS'
LEVELS = (
    'h17_unicycle',
    'mjc_swimmer',
    'hard_lunar_lander',
    'mjc_walker',
    'mjc_half_cheetah',
    'catapult',
    'trampoline',
    'car_launch',
    'chain_lander',
    'cartpole_thrust',
    'grasp_easy',
    'catcher_v3',
)
"""The 12 levels of the benchmark, about the easiest first."""

ACTION_DIM = 6
MOTORS = 4  # The first actions; the others are thrusters.
MAX_STEPS = 256
ACTION_NOISE = 0.1
STEP_RATE_HZ = 30.0  # Two physics frames of 1/60 s to a step.

# The engine breaks with fewer slots than these.
MINIMUM = {'polygon': 5, 'circle': 2, 'joint': 1, 'thruster': 1}


class LevelError(AsyncChunkingError):
    """A level is unknown, or its file is missing or not a level."""


def level_path(name: str, directory: str | Path | None = None) -> Path:
    """
    Return the file of a level.

    Args:
        name: One of `LEVELS`.
        directory: Where the level files are; by default what the environment variable names.

    Raises:
        LevelError: No such level, no directory, or no such file.
    """
    if name not in LEVELS:
        msg = f"unknown level '{name}'; choices: {', '.join(LEVELS)}"
        raise LevelError(msg)
    directory = directory or os.environ.get(ENVIRONMENT_VARIABLE)
    if not directory:
        msg = f'no directory of level files: give --levels DIR or set {ENVIRONMENT_VARIABLE}'
        raise LevelError(msg)
    path = Path(directory) / f'{name}.json'
    if not path.is_file():
        msg = f"level '{name}': there is no file {path}; get worlds/l of the RTC benchmark"
        raise LevelError(msg)
    return path


def read_level(path: Path, crop: bool = True) -> dict:
    """
    Return the content of a level file.

    Args:
        path: A level file of kinetix-env.
        crop: Leave out the slots that are not in use.

    Raises:
        LevelError: The file is not a level.
    """
    try:
        level = json.loads(path.read_text())
        return cropped(level) if crop else level
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        msg = f'{path} is not a Kinetix level: {error!r}'
        raise LevelError(msg) from error


def cropped(level: dict) -> dict:
    """Return a level that has just the slots in use; shapes keep their order."""
    state, static = level['env_state'], level['static_env_params']
    kept = {kind: used(state[kind], MINIMUM[kind]) for kind in MINIMUM}
    # One index runs over polygons and then circles.
    polygons = len(state['polygon'])
    shapes = kept['polygon'] + [polygons + index for index in kept['circle']]
    new_index = {old: new for new, old in enumerate(shapes)}
    new = {kind: [dict(state[kind][index]) for index in kept[kind]] for kind in MINIMUM}
    for joint in new['joint']:
        joint |= {key: new_index.get(joint[key], 0) for key in ('a_index', 'b_index')}
    for thruster in new['thruster']:
        thruster['object_index'] = new_index.get(thruster['object_index'], 0)
    sizes = {f'num_{kind}s': len(kept[kind]) for kind in MINIMUM}
    return level | {'env_state': state | new, 'static_env_params': static | sizes}


def used(slots: Sequence[dict], minimum: int) -> list[int]:
    """Return the indices of the active slots, and of as many others as make up the minimum."""
    active = [index for index, slot in enumerate(slots) if slot['active']]
    spare = [index for index, slot in enumerate(slots) if not slot['active']]
    return sorted(active + spare[: max(0, minimum - len(active))])
