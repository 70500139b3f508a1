# SPDX-License-Identifier: Apache-2.0
"""A robot's description, loaded from config/<robot>.yaml into one frozen value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from async_chunking.robot.action_modes import MODES, ActionModes
from async_chunking.robot.topics import check_topics
from async_chunking.robot.wiring import (
    SINKS,
    STREAMS,
    WITH_JOINTS,
    Command,
    Name,
    Positive,
    Source,
    Stream,
    check_names,
    check_partition,
    check_timing,
)
from async_chunking.safety import Limits
from async_chunking.settings import Settings, SettingsError, config_file, load_yaml, validated

__all__ = [
    'SINKS', 'STREAMS', 'Command', 'Embodiment', 'Group', 'Joint', 'PolicyDefaults', 'Simulation',
    'Source', 'Stream', 'load',
]  # fmt: skip


class Joint(Settings):
    """A joint and its limits.

    Attributes:
        name: As the driver spells it.
        lower: [rad, m]; left out, or `-.inf`, where there is none.
        upper: [rad, m]; left out, or `.inf`, where there is none.
        velocity: [rad/s, m/s].
        acceleration: [rad/s^2, m/s^2].
        jerk: [rad/s^3, m/s^3]; None where unknown.
        continuous: Turns without end: an angle and the same a turn further are one. It has no
            position limits.
    """

    name: Name
    lower: float = Field(-math.inf, allow_inf_nan=True)
    upper: float = Field(math.inf, allow_inf_nan=True)
    velocity: Positive
    acceleration: Positive
    jerk: Positive | None = None
    continuous: bool = False

    @model_validator(mode='after')
    def _ordered(self) -> Joint:
        if not self.lower < self.upper:
            msg = f'lower {self.lower} must be below upper {self.upper}'
            raise ValueError(msg)
        if self.continuous and math.isfinite(self.upper - self.lower):
            msg = f'a continuous joint has no limits, but lower {self.lower}, upper {self.upper}'
            raise ValueError(msg)
        if not self.continuous and not {'lower', 'upper'} <= self.model_fields_set:
            msg = 'lower and upper are missing; for none, -.inf and .inf, or continuous: true'
            raise ValueError(msg)
        jerk = math.inf if self.jerk is None else self.jerk
        values = (self.lower, self.upper, self.velocity, self.acceleration, jerk)
        Limits(*(np.array([value]) for value in values))
        return self


class Group(Settings):
    """Joints that belong together: an arm, a gripper, a hand.

    Attributes:
        name: Name of the group.
        joints: In command order.
        mode: What the policy's numbers for them mean, see `async_chunking.robot.action_modes`.
        unit: What a 1 of the policy's is, for policies that count in shares of a largest value
            [rad, m, rad/s, m/s].
        source: Where their limits are from.
    """

    name: Name
    joints: tuple[Name, ...] = Field(min_length=1)
    mode: Literal[MODES] = 'absolute'
    unit: Positive = 1.0
    source: Name


class PolicyDefaults(Settings):
    """Which policy drives the robot unless told otherwise.

    Attributes:
        path: Folder of the policy, or the name of one that is shipped.
        policy_rate_hz: Rows of its chunks per second.
        execution_horizon: Rows between two requests.
    """

    path: Name
    policy_rate_hz: Positive
    execution_horizon: int = Field(ge=1)


class Simulation(Settings):
    """The simulated robot, and where its topics differ from the driver's.

    Attributes:
        task: Name of the task in `async_chunking.sim`.
        joint_states: As in `Embodiment`, None for the same.
        observations: As in `Embodiment`, None for the same.
        commands: As in `Embodiment`, None for the same.
    """

    task: Name
    joint_states: Name | tuple[Source, ...] | None = None
    observations: dict[str, Stream] | None = None
    commands: tuple[Command, ...] | None = None


class Embodiment(Settings):
    """A robot: joints, rates, what is observed and how it is commanded.

    Attributes:
        name: Name of the robot.
        control_rate_hz: Commands per second.
        joints: In command order [D].
        groups: Groups of all joints; without any, they are one group of absolute positions.
        joint_states: Topic of the measured joint positions, or several topics of some each.
        observations: Name that the policy knows -> stream.
        commands: Where commands go.
        policy: Defaults.
        simulation: None if the robot has no simulation.
    """

    name: Name
    control_rate_hz: Positive
    joints: tuple[Joint, ...] = Field(min_length=1)
    groups: tuple[Group, ...] = ()
    joint_states: Name | tuple[Source, ...] = 'joint_states'
    observations: dict[str, Stream]
    commands: tuple[Command, ...] = Field(min_length=1)
    policy: PolicyDefaults
    simulation: Simulation | None = None

    @model_validator(mode='after')
    def _consistent(self) -> Embodiment:
        names = self.joint_names
        check_names('joint', names)
        check_partition('commands', (c.joints for c in self.commands), names)
        check_partition('joint_states', (s.joints for s in self.sources), names)
        check_topics(self.sources, self.commands, self.observations)
        for key, stream in self.observations.items():
            unknown = sorted(set(stream.joints or ()) - set(names))
            if unknown:
                msg = f'observations.{key} names {unknown[0]}. Joints: {", ".join(names)}'
                raise ValueError(msg)
            check_names(f'observations.{key}: joint', stream.joints or ())
            if stream.kind in WITH_JOINTS and stream.size != len(stream.joints or names):
                msg = f'observations.{key}: size {stream.size}, but {len(names)} joints'
                raise ValueError(msg)
        if self.groups:
            check_names('group', (group.name for group in self.groups))
            check_partition('groups', (g.joints for g in self.groups), names)
        for command in self.commands:
            check_timing(command, self.control_rate_hz)
        if self.policy.policy_rate_hz > self.control_rate_hz:
            msg = (
                f'policy.policy_rate_hz {self.policy.policy_rate_hz} must be at most '
                f'control_rate_hz {self.control_rate_hz}'
            )
            raise ValueError(msg)
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the joints are measured."""
        if isinstance(self.joint_states, str):
            return (Source(topic=self.joint_states, joints=self.joint_names),)
        return self.joint_states

    @property
    def action_modes(self) -> ActionModes:
        """What the numbers of a policy mean."""
        modes = {name: group.mode for group in self.groups for name in group.joints}
        ordered = tuple(modes.get(name, 'absolute') for name in self.joint_names)
        units = {name: group.unit for group in self.groups for name in group.joints}
        scales = tuple(units.get(name, 1.0) for name in self.joint_names)
        state = self.observations.get('observation.state')
        in_order = state is None or state.joints in (None, self.joint_names)
        period = 1.0 / self.policy.policy_rate_hz
        return ActionModes(ordered, period, scales, self.continuous, in_order)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names in command order [D]."""
        return tuple(joint.name for joint in self.joints)

    @property
    def continuous(self) -> tuple[bool, ...]:
        """Whether each joint turns without end [D]."""
        return tuple(joint.continuous for joint in self.joints)

    @property
    def limits(self) -> Limits:
        """Limits of all joints; an unknown jerk is infinite."""
        return Limits(
            *(
                np.array([getattr(joint, name) for joint in self.joints])
                for name in ('lower', 'upper', 'velocity', 'acceleration')
            ),
            jerk=np.array([joint.jerk or np.inf for joint in self.joints]),
        )


def load(robot: str, sim: bool = False) -> Embodiment:
    """Return the description of a robot.

    A file that begins with `extends: NAME` changes the robot NAME: groups of settings are merged,
    null removes one, everything else, lists too, is replaced.

    Args:
        robot: Name of a file in config/ without its ending, or the path of any YAML file.
        sim: With the topics of the simulated robot instead of the driver's.

    Raises:
        SettingsError: The file is missing, or a value in it cannot be used; the message names
            file, key and value.
    """
    path: Path = config_file('config', robot)
    values = _extended(path)
    if sim and isinstance(values, dict) and isinstance(values.get('simulation'), dict):
        keys = ('joint_states', 'observations', 'commands')
        values |= {k: v for k, v in values['simulation'].items() if k in keys}
    return validated(Embodiment, values, path)


def _extended(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """Return what a file holds, on top of the file that it extends."""
    values = load_yaml(path)
    if not isinstance(values, dict) or 'extends' not in values:
        return values
    base = config_file('config', str(values.pop('extends')))
    if base in (path, *above):
        msg = f'{path}: extends goes round in a circle: {base}'
        raise SettingsError(msg)
    return _merged(_extended(base, (path, *above)), values)


def _merged(base: Any, changes: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    merged = base | {key: _merged(base.get(key), value) for key, value in changes.items()}
    return {key: value for key, value in merged.items() if value is not None}
