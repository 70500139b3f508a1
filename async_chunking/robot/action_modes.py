# SPDX-License-Identifier: Apache-2.0
"""
What a policy's numbers mean: positions, offsets from the measured pose, or velocities.

The executor and all that follows it know positions only. A policy that was trained on offsets
(relative actions, as GR00T has them for arms) or velocities (DROID) is translated here, in both
directions, so that samplers condition it on its own kind of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MODES = ('absolute', 'delta', 'velocity')


@dataclass(frozen=True)
class ActionModes:
    """
    The mode of each joint.

    Attributes:
        modes: [D] of `MODES`. delta: row k is the position at k less the measured one. velocity:
            row k is the velocity on the way to the position at k, the first way beginning at the
            measured one [rad/s, m/s].
        period: Between rows [s].
        units: [D] what a 1 of the policy's is [rad, m, rad/s, m/s]; empty: it counts in those.
        continuous: [D] whether each joint turns without end; empty if none does.
        in_order: Whether 'observation.state' has the joints in the order of the actions.
    """

    modes: tuple[str, ...]
    period: float
    units: tuple[float, ...] = ()
    continuous: tuple[bool, ...] = ()
    in_order: bool = True

    @property
    def trivial(self) -> bool:
        """Whether all joints are absolute in our units, so that there is nothing to do."""
        return set(self.modes) <= {'absolute'} and set(self.units) <= {1.0}

    @property
    def needs_pose(self) -> bool:
        """Whether the measured joints are needed to translate."""
        return not self.trivial or any(self.continuous)

    def to_positions(self, actions: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """
        Return the positions [H, D] that a policy's chunk means.

        Args:
            actions: [H, D].
            measured: [D] joints in the observation that the chunk was drawn for.
        """
        positions = np.array(actions, dtype=np.float64) * (self.units or 1.0)
        delta, velocity = self._columns('delta'), self._columns('velocity')
        positions[:, delta] += measured[delta]
        way = np.cumsum(positions[:, velocity], axis=0) * self.period
        positions[:, velocity] = measured[velocity] + way
        return positions

    def to_actions(self, positions: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Return the policy's chunk [H, D] that means positions [H, D]; see `to_positions`."""
        actions = np.array(positions, dtype=np.float64)
        delta, velocity = self._columns('delta'), self._columns('velocity')
        actions[:, delta] -= measured[delta]
        way = np.vstack([measured[velocity], actions[:, velocity]])
        actions[:, velocity] = np.diff(way, axis=0) / self.period
        return actions / (self.units or 1.0)

    def _columns(self, mode: str) -> np.ndarray:
        return np.array([own == mode for own in self.modes], dtype=bool)
