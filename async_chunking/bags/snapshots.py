# SPDX-License-Identifier: Apache-2.0
"""What was told of robots, and when: a run is judged by the description in force when it ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from async_chunking.bags.definitions import BagError
from async_chunking.safety import Limits

_LIMITS = 'limits'


class Span(NamedTuple):
    """Where a run lies among the messages of a recording: its first and its last tick."""

    first: int
    last: int


class Snapshots:
    """The snapshots of each robot, in the order in which they were recorded."""

    def __init__(self) -> None:
        self._told: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)

    def add(self, namespace: str, place: int, content: Mapping[str, Any]) -> None:
        """Remember a snapshot and its place among the messages; what it does not tell stays."""
        told = self._told[namespace]
        told.append((place, {**(told[-1][1] if told else {}), **content}))

    def of(self, namespace: str, span: Span) -> Mapping[str, Any]:
        """Return the last snapshot that was told until a run ended; empty if there was none."""
        return self._in_force(namespace, span)[-1]

    def limits(
        self, namespace: str, span: Span, joint_names: Sequence[str]
    ) -> tuple[Limits | None, str]:
        """
        Return the limits that were in force during a run, and why they are not known.

        Args:
            namespace: Namespace of the robot.
            span: First and last time of the run.
            joint_names: [D] joints of its commands.

        Returns:
            Limits [D], in the order of the joints; None if nothing was told, with a reason where
            something was.
        """
        force = [content for content in self._in_force(namespace, span) if _LIMITS in content]
        if not force:
            later = any(_LIMITS in content for _, content in self._told[namespace])
            return None, 'it ended before the limits were told' if later else ''
        told = [(content[_LIMITS], content.get('joint_names')) for content in force]
        if any(other != told[0] for other in told):
            return None, 'the limits were changed while it ran'
        try:
            return _ordered(recorded_limits(force[-1]), told[0][1], joint_names), ''
        except BagError as error:
            return None, str(error)

    def _in_force(self, namespace: str, span: Span) -> list[Mapping[str, Any]]:
        told = self._told[namespace]
        before = [content for place, content in told if place < span.first]
        during = [content for place, content in told if span.first <= place <= span.last]
        return [*before[-1:], *during] or [{}]


def _ordered(limits: Limits | None, told: Any, joint_names: Sequence[str]) -> Limits | None:
    """Return limits in the order of a run's joints, as far as their names are told."""
    if limits is None:
        return None
    if len(limits) != len(joint_names):
        msg = f'the limits are for {len(limits)} joints, the commands have {len(joint_names)}'
        raise BagError(msg)
    if told is None or not any(joint_names):
        return limits
    if not isinstance(told, list) or sorted(map(str, told)) != sorted(joint_names):
        msg = f'the limits are of {told}, the commands of {", ".join(joint_names)}'
        raise BagError(msg)
    order = [told.index(name) for name in joint_names]
    values = (limits.lower, limits.upper, limits.velocity, limits.acceleration, limits.jerk)
    return Limits(*(value[order] for value in values))


def recorded_limits(snapshot: Mapping[str, Any]) -> Limits | None:
    """
    Return the robot's limits in a snapshot, None without.

    Raises:
        BagError: They are not limits.
    """
    values = snapshot.get(_LIMITS)
    if values is None:
        return None
    try:
        bounds = {
            name: np.array([_number(name, number) for number in numbers])
            for name, numbers in values.items()
        }
        return Limits(**bounds)
    except (TypeError, ValueError, AttributeError) as error:
        msg = f'the limits in the snapshot cannot be used: {error}'
        raise BagError(msg) from None


def _number(name: str, told: Any) -> float:
    """Return a limit; one that is not told is infinitely far."""
    if told is None:
        return -np.inf if name == 'lower' else np.inf
    if isinstance(told, bool) or not isinstance(told, int | float):
        msg = f'{name} has {told!r}, which is no number'
        raise TypeError(msg)
    return told
