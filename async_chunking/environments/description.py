# SPDX-License-Identifier: Apache-2.0
"""
An environment of Gymnasium, described by one YAML file; docs/environments.md has an example.

The file is in `described/`, or any path. `NAME:VARIANT` gives the variant to the environment.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from async_chunking.robot.wiring import Name, Positive
from async_chunking.safety import FARTHEST
from async_chunking.settings import Settings, SettingsError, load_yaml, unknown, validated

DESCRIBED = Path(__file__).resolve().parent / 'described'

Columns = Annotated[tuple[int, ...], Field(min_length=1)]


class ActionColumn(Settings):
    """
    One number of an action.

    Attributes:
        name: What it is called.
        rest: What is sent while nothing is planned; None keeps the last one. Only where actions
            are no positions.
        lower: Smallest position.
        upper: Largest position.
        velocity: Largest change per second; None where there is no limit.
        acceleration: Largest change of that per second; None where there is no limit.
    """

    name: Name
    rest: float | None = None
    lower: float = Field(-math.inf, allow_inf_nan=True)
    upper: float = Field(math.inf, allow_inf_nan=True)
    velocity: Positive | None = None
    acceleration: Positive | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        rates = (self.velocity, self.acceleration)
        return rates != (None, None) or math.isfinite(self.lower) or math.isfinite(self.upper)


class Seen(Settings):
    """
    Where one entry of the policy's observation is in that of the environment.

    Attributes:
        key: Key in an observation that is a dictionary, such as 'agent_pos' or 'pixels.top';
            empty for one that is an array.
        columns: Some of its numbers in the order of the policy, or 'a:b' for a to b - 1; None for
            all of them, or for a picture.
    """

    key: str = ''
    columns: Columns | str | None = None

    @model_validator(mode='after')
    def _readable(self) -> Seen:
        if isinstance(self.columns, str):
            parts = self.columns.split(':')
            if len(parts) != 2 or not all(part.isdecimal() for part in parts):
                msg = f"columns is '{self.columns}'; write a list of numbers, or a:b"
                raise ValueError(msg)
        return self

    @property
    def index(self) -> Any:
        """What picks the columns of an array; None for all."""
        if isinstance(self.columns, str):
            return slice(*map(int, self.columns.split(':')))
        return None if self.columns is None else np.array(self.columns)


class EnvironmentFile(Settings):
    """
    All that the bench must know of an environment.

    Attributes:
        id: Name in Gymnasium's registry, after the module that registers it: 'gym_pusht/PushT-v0'
            or 'my_module:MyTask-v0'. Or
        entry: 'module:function' or 'file.py:function' that makes it.
        arguments: Keyword arguments for either.
        variant: Argument that `NAME:VARIANT` sets; empty if there are no variants.
        expert: 'module:function' that makes a demonstrator of a variant: raw observation to
            action. Empty if there is none.
        setup: What to do where its package is missing.
        instruction: What a language-conditioned policy is told.
        control_rate_hz: Steps per second.
        policy_rate_hz: Rows of a chunk per second; None for as many.
        max_s: An episode that takes longer has failed [s]; None for the environment's own end.
        success: Key of `info` that tells it; or 'terminated' where only solved episodes end early.
        execution_horizon: Rows between two requests, unless told otherwise.
        positions: Actions are positions that can be held and limited; 'observation.state' is
            where they are now, in the same order. Else (offsets, velocities, torques) they pass
            the executor unlimited.
        actions: Columns of the action.
        observations: Name that the policy knows -> where it is. Any name that begins with
            'observation.', and 'task' for the instruction is added.
    """

    id: str = ''
    entry: str = ''
    arguments: dict[str, Any] = Field(default_factory=dict)
    variant: str = ''
    expert: str = ''
    setup: str = ''
    instruction: str = ''
    control_rate_hz: Positive
    policy_rate_hz: Positive | None = None
    max_s: Positive | None = None
    success: Name
    execution_horizon: int = Field(default=8, ge=1)
    positions: bool
    actions: tuple[ActionColumn, ...] = Field(min_length=1)
    observations: dict[Name, Seen] = Field(min_length=1)

    @model_validator(mode='after')
    def _consistent(self) -> EnvironmentFile:
        if bool(self.id) == bool(self.entry):
            msg = 'give either id or entry'
            raise ValueError(msg)
        names = [column.name for column in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            msg = f'action {twice[0]} is listed twice'
            raise ValueError(msg)
        for column in self.actions:
            if self.positions and column.rest is not None:
                msg = f'action {column.name} has rest, but positions are kept'
                raise ValueError(msg)
            if not self.positions and column.limited:
                msg = f'action {column.name} has limits, but only positions can be limited'
                raise ValueError(msg)
        for name in self.observations:
            if not name.startswith('observation.'):
                msg = f"observation '{name}' must begin with 'observation.'"
                raise ValueError(msg)
        if self.positions and 'observation.state' not in self.observations:
            msg = "where actions are positions, 'observation.state' must say where they are"
            raise ValueError(msg)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the actions [D]."""
        return tuple(column.name for column in self.actions)

    @property
    def rest(self) -> np.ndarray | None:
        """What is sent at rest [D], NaN for the last one; None where actions are positions."""
        if self.positions:
            return None
        return np.array([math.nan if c.rest is None else c.rest for c in self.actions])

    @property
    def note(self) -> str:
        """What a user should know of the limits; empty if there are some."""
        if not self.positions:
            return 'actions are no positions, so they pass the executor without limits'
        if not any(column.limited for column in self.actions):
            return 'no limits are described, so positions pass the executor without limits'
        return ''


def split(name: str) -> tuple[str, str]:
    """Return an environment's name and its variant, empty if none is named."""
    path, colon, variant = name.rpartition('.yaml:')
    if colon:
        return f'{path}.yaml', variant
    base, _, variant = name.partition(':')
    return base, variant


def described() -> list[str]:
    """Return the names of the files that come with the package."""
    return sorted(path.stem for path in DESCRIBED.glob('*.yaml'))


def is_described(name: str) -> bool:
    """Return whether there is a file that describes an environment of this name."""
    base = split(name)[0]
    if base.endswith('.yaml'):
        return Path(base).is_file()
    return base in (*described(), 'lerobot')


def read_description(name: str, others: tuple[str, ...] = ()) -> EnvironmentFile:
    """
    Return an environment's description.

    Args:
        name: Name of a file in `described/`, or the path of one; a variant may follow. Or
            'lerobot:' and a name of LeRobot's.
        others: Further names to list where there is none such.

    Raises:
        SettingsError: The file is missing, or a value in it cannot be used; names file, key and
            value. Or the environment has no variants, or needs one.
    """
    base, variant = split(name)
    if base == 'lerobot':
        from async_chunking.environments.lerobot import described_by_lerobot

        return validated(EnvironmentFile, described_by_lerobot(variant), Path(name))
    path = Path(base) if base.endswith('.yaml') else DESCRIBED / f'{base}.yaml'
    if not path.is_file():
        names = [*others, *described()]
        raise SettingsError(f'{unknown("environment", base, names)}; or the path of a YAML file')
    description = validated(EnvironmentFile, load_yaml(path), path)
    if bool(variant) != bool(description.variant):
        wanted = (
            f'write {base}:{description.variant.upper()}'
            if description.variant
            else f'write {base}'
        )
        raise SettingsError(f"environment '{name}': {wanted}")
    return description


def limit(value: float | None) -> float:
    """Return a rate limit as a number: none is very far."""
    return FARTHEST if value is None else value
