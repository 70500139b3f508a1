# SPDX-License-Identifier: Apache-2.0
"""Learning curves of the experts: solved against steps, kept as one small file, and drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from async_chunking.storage import write_files
from tools.kinetix.data import MissingStageError
from tools.kinetix.levels import LEVELS

Curves = Mapping[str, Sequence[Sequence[float]]]
CURVES = 'curves.json'
POINTS = 60  # Kept of a curve.


def read_curves(folder: Path) -> dict[str, list[list[float]]]:
    """
    Return the curve of each expert in a folder, or those that `write_curves` kept there.

    A curve has rows of steps, seconds and solve rate.

    Raises:
        MissingStageError: There is neither.
    """
    kept = folder / CURVES
    curves = json.loads(kept.read_text()) if kept.exists() else {}
    for level in LEVELS:
        path = folder / f'{level}.expert.json'
        if path.exists():
            curve = json.loads(path.read_text())['curve']
            stride = -(-len(curve) // POINTS)
            curves[level] = curve[::-1][::stride][::-1]
    if not curves:
        msg = f"no expert and no {CURVES} in {folder}: run the stage 'expert' first"
        raise MissingStageError(msg)
    return curves


def write_curves(curves: Curves, path: Path) -> None:
    """Write curves as JSON, a level a line."""
    lines = (f'{json.dumps(level)}: {json.dumps(curve)}' for level, curve in curves.items())
    write_files({path: ('{\n' + ',\n'.join(lines) + '\n}\n').encode()})


def draw_curves(curves: Curves, path: Path) -> None:
    """Write a PNG with the solve rate of each level against the steps of its training."""
    with mpl.rc_context({'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}):
        figure = Figure(figsize=(7.2, 3.6), dpi=120, layout='constrained')
        axes = figure.subplots()
        for level, curve in curves.items():
            axes.plot([row[0] / 1e6 for row in curve], [row[2] for row in curve], label=level)
        axes.set_xlabel('steps of PPO [million]')
        axes.set_ylabel('solved, of the last 512 episodes')
        axes.set_xscale('log')
        axes.set_ylim(0.0, 1.0)
        axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
