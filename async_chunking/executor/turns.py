# SPDX-License-Identifier: Apache-2.0
"""
Joints that turn without end: an angle and the same angle a turn further are one.

Drivers and policies tell such an angle between -π and π, so that it jumps by a turn where the
joint passes π. Commands do not jump: they go on past π, and what comes in is moved by whole turns
to where it is nearest.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

TURN = 2.0 * np.pi
STATE = 'observation.state'  # Where policies and correctors read the joints.


def apart(one: np.ndarray, other: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """Return one - other [D], the shorter way round for continuous joints [rad, m]."""
    way = one - other
    return np.where(continuous, way - TURN * np.round(way / TURN), way)


def smooth(rows: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """Return rows [H, D] in which no continuous joint jumps by a turn from one to the next."""
    if not continuous.any() or not len(rows):
        return rows
    rows = rows.copy()
    rows[:, continuous] = np.unwrap(rows[:, continuous], axis=0)
    return rows


def moved(rows: np.ndarray, now: np.ndarray, to: np.ndarray, continuous: np.ndarray) -> np.ndarray:
    """
    Return rows moved by whole turns.

    Args:
        rows: [H, D], smooth.
        now: [D] what they have at some moment.
        to: [D] to which that shall be nearest.
        continuous: [D].
    """
    if not continuous.any():
        return rows
    return rows + np.where(continuous, TURN * np.round((to - now) / TURN), 0.0)


def measured(
    action: np.ndarray, observation: Mapping[str, np.ndarray] | None, continuous: np.ndarray
) -> np.ndarray:
    """Return an action [D] in the turn of the measured joints, or of 0 if they are not there."""
    if not continuous.any():
        return action
    near = (observation or {}).get(STATE)
    near = np.zeros_like(action) if near is None or near.shape != action.shape else near
    return moved(action[None], action, near, continuous)[0]
