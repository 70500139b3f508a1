# SPDX-License-Identifier: Apache-2.0
"""What a corrector is: what is added to each action as observations arrive."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Corrector:
    """
    Adjusts the planned action of every tick; the base class is no correction.

    A corrector is a value (its weights never change), runs in the command thread and must stay far
    below a millisecond; numpy only.
    """

    def reads(self) -> tuple[tuple[str, int], ...]:
        """Return names and sizes of what it needs of the observation."""
        return ()

    def correct(
        self,
        action: np.ndarray,
        row: float,
        horizon: int,
        observation: Mapping[str, np.ndarray] | None,
    ) -> np.ndarray:
        """
        Return the action [D] to execute.

        Args:
            action: [D] planned for this tick [rad, m].
            row: Fractional row of the chunk that it comes from.
            horizon: Rows of that chunk.
            observation: Newest one, name -> array; None before the first.
        """
        del row, horizon, observation  # Unused.
        return action
