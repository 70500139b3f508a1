# SPDX-License-Identifier: Apache-2.0
"""
Where a policy is benched: what is driven, by which joints, how often, within which limits.

`open_arena` is the one door: the simulated tasks of the package by name, every environment that
has a description by the name or path of that file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from async_chunking.environments.description import (
    EnvironmentFile,
    described,
    limit,
    read_description,
    split,
)
from async_chunking.environments.gym import RAISED, GymEnvironment, GymError
from async_chunking.robot.action_modes import ActionModes
from async_chunking.robot.embodiment import Embodiment, Group, Joint, PolicyDefaults, load
from async_chunking.robot.wiring import Command, Stream
from async_chunking.settings import SettingsError, unknown
from async_chunking.sim import TASKS, make_task
from async_chunking.storage import sha256


@dataclass(frozen=True)
class Arena:
    """
    An environment with what the executor and the policy must know of it.

    Attributes:
        name: As the user named it.
        robot: Joints, limits, what is observed; of an environment, made from its description.
        control_rate_hz: Steps per second.
        make: Makes one more of it; is an `Environment` of the bench, with `failure`.
        rest: What is sent while nothing is planned [D], NaN for the last one; None where actions
            are positions.
        note: What a user should know of the limits; empty if there is nothing to say.
        unit: Unit of the actions.
        digest: What tells this description from another of the same name; empty for tasks of the
            package.
    """

    name: str
    robot: Embodiment
    control_rate_hz: float
    make: Callable[[], Any]
    rest: np.ndarray | None = None
    note: str = ''
    unit: str = 'rad'
    digest: str = ''

    @property
    def modes(self) -> ActionModes:
        """What the actions mean."""
        return self.robot.action_modes


def arena_names() -> list[str]:
    """Return the names of all that can be opened without writing a file."""
    return [*TASKS, *described()]


def is_task(name: str) -> bool:
    """Return whether it is a simulated task of the package."""
    return name in TASKS


def open_arena(name: str) -> Arena:
    """
    Return what is called `name`.

    Raises:
        SettingsError: There is none such, or its description cannot be used.
        GymError: It cannot be made, is not what the description says, or does not begin the same
            episode twice from one seed.
    """
    if name in TASKS:
        task = make_task(name)
        robot = load(task.embodiment, sim=True)
        return Arena(name, robot, task.control_rate_hz, lambda: make_task(name))
    base, variant = split(name)
    if base in TASKS:
        raise SettingsError(unknown('environment', name, arena_names()))
    description = read_description(name, tuple(TASKS))
    first = GymEnvironment(name, description, variant)
    seen = _check(first)
    made = [first]
    return Arena(
        name,
        _robot(name, description, seen),
        description.control_rate_hz,
        lambda: made.pop() if made else GymEnvironment(name, description, variant),
        description.rest,
        description.note,
        'of the action',
        sha256(description.model_dump_json().encode())[:16],
    )


def _check(environment: GymEnvironment) -> dict[str, Any]:
    """Play a step of it; return what was observed at the beginning."""
    description = environment.description
    seen = environment.reset(np.random.default_rng(0))
    state = seen['observation.state']
    if description.positions and len(state) != len(description.actions):
        msg = f'{environment.name}: observation.state has {len(state)} numbers; it must have the '
        raise GymError(
            msg + f'positions of the {len(description.actions)} actions, in their order'
        )
    rest = state if description.rest is None else np.nan_to_num(description.rest)
    environment.step(rest)
    if environment.failure.startswith(RAISED):
        msg = f'{environment.name}: its first step failed: {environment.failure}'
        raise GymError(msg)
    again = environment.reset(np.random.default_rng(0))
    for name, values in seen.items():
        if isinstance(values, np.ndarray) and not np.array_equal(values, again[name]):
            msg = f'{environment.name}: reset(seed=…) gives another {name} the second time, so '
            msg += 'strategies would not meet the same episodes; give an `entry` that makes one '
            raise GymError(msg + 'which begins the same episode from the same seed')
    return seen


def _robot(name: str, description: EnvironmentFile, seen: dict[str, Any]) -> Embodiment:
    """Return the description as that of a robot."""
    joints = tuple(
        Joint(
            name=column.name,
            lower=column.lower,
            upper=column.upper,
            velocity=limit(column.velocity),
            acceleration=limit(column.acceleration),
        )
        for column in description.actions
    )
    mode = 'absolute' if description.positions else 'delta'
    group = Group(name='actions', joints=description.names, mode=mode, source=name)
    rate = description.policy_rate_hz or description.control_rate_hz
    return Embodiment(
        name=name,
        control_rate_hz=description.control_rate_hz,
        joints=joints,
        groups=(group,),
        joint_states='state',
        observations={key: _stream(key, values) for key, values in seen.items()},
        commands=(Command(topic='action', joints=description.names, sink='float64_multi_array'),),
        policy=PolicyDefaults(
            path=shipped_name(name),
            policy_rate_hz=rate,
            execution_horizon=description.execution_horizon,
        ),
    )


def shipped_name(name: str) -> str:
    """Return the folder's name of an environment's policy: without what no file may be called."""
    return name.replace(':', '_')


def _stream(name: str, values: Any) -> Stream:
    if isinstance(values, str):
        return Stream(topic=name, kind='text')
    if values.ndim == 3:
        height, width = values.shape[:2]
        return Stream(topic=name, kind='image', height=height, width=width)
    return Stream(topic=name, kind='float64_multi_array', size=len(values))
