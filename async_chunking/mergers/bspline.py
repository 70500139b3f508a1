# SPDX-License-Identifier: Apache-2.0
"""
B-spline refit: smooth the finished chunk with a least-squares spline, then switch to it.

The refit baseline that PAINT compares with (the refit part of ABPolicy alone). Its degree, knots
and seam rule are not published: cubic, clamped, uniform knots and no seam constraint are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from async_chunking.mergers.base import Merger


@dataclass(frozen=True)
class BSpline(Merger):
    """
    Refit each action dimension over the horizon; the rows stay where they were in time.

    Attributes:
        degree: Degree of the spline.
        control_points: Per dimension; fewer is smoother. Cut to the rows of a short chunk.
    """

    degree: int = 3
    control_points: int = 8

    def prepare(self, rows: np.ndarray) -> np.ndarray:
        """Return the refitted rows [H, D]; chunks too short for the degree pass unchanged."""
        from scipy.interpolate import make_lsq_spline  # Takes a third of a second to load.

        count = len(rows)
        points = min(self.control_points, count)
        if points <= self.degree:
            return rows
        time = np.arange(count, dtype=np.float64)
        inner = np.linspace(0.0, count - 1.0, points - self.degree + 1)[1:-1]
        knots = np.r_[[0.0] * (self.degree + 1), inner, [count - 1.0] * (self.degree + 1)]
        return make_lsq_spline(time, rows, knots, k=self.degree)(time)
