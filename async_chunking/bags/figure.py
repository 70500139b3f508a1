# SPDX-License-Identifier: Apache-2.0
"""The headline figure: chunks over the executed stream, strategies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from async_chunking.bags.window import Window, WindowChunk

INK = '#1b1f24'
MISMATCH = '#d1495b'
CHUNKS = (
    '#2a9d8f',
    '#e9a13b',
    '#4f7cac',
)  # Neighbouring chunks differ; safe for colour blindness.
_STYLE: dict[Any, Any] = {
    'font.size': 9.0, 'axes.spines.top': False, 'axes.spines.right': False,
    'axes.edgecolor': '#8a9099', 'xtick.color': '#5a6069', 'ytick.color': '#5a6069',
    'axes.labelcolor': '#3a4048', 'axes.grid': True, 'grid.color': '#eceff2',
    'axes.axisbelow': True,
}  # fmt: skip


def busiest(windows: Sequence[Window], count: int) -> list[int]:
    """Return the `count` joints [columns] that move most, in their own order."""
    if not windows:
        return []
    size = min(w.run.command.shape[1] for w in windows)
    motion = sum(np.ptp(w.run.command[:, :size], axis=0) for w in windows)
    return sorted(np.argsort(-motion)[:count].tolist())


def draw(windows: Sequence[Window], joints: Sequence[int], path: Path) -> None:
    """Write the figure."""
    with mpl.rc_context(_STYLE):
        drawn(windows, joints).savefig(path, dpi=160)


def drawn(windows: Sequence[Window], joints: Sequence[int]) -> Figure:
    """Return the figure: a row for each joint, a column for each strategy."""
    with mpl.rc_context(_STYLE):
        size = (1.2 + 5.2 * len(windows), 1.25 + 1.75 * len(joints))
        figure = Figure(figsize=size, layout='constrained')
        axes = figure.subplots(len(joints), len(windows), sharex='col', squeeze=False)
        for column, window in enumerate(windows):
            for row, joint in enumerate(joints):
                panel(axes[row][column], window, joint)
            axes[0][column].set_title(title(window), loc='left', fontsize=10, color=INK)
            axes[-1][column].set_xlabel('time since the run began [s]')
        for row, joint in enumerate(joints):
            axes[row][0].set_ylabel(joint_label(windows[0], joint))
            for panel_axes, ends in zip(axes[row], value_ranges(windows, joint), strict=True):
                panel_axes.set_ylim(*ends)
        columns = 5 if len(windows) > 1 else 2  # More are cut at the edge of one panel.
        figure.legend(handles=_legend(), loc='outside upper center', ncols=columns, frameon=False)
        return figure


def value_ranges(windows: Sequence[Window], joint: int) -> list[tuple[float, float]]:
    """
    Return for each window the range that shows everything of a joint inside it [rad, m].

    All are equally wide, so that heights can be compared; each has its own middle, since runs
    that are elsewhere would make each other flat.
    """
    ends = [_extremes(window, joint) for window in windows]
    half = 0.58 * max(1e-3, *(high - low for low, high in ends))
    return [(0.5 * (low + high) - half, 0.5 * (low + high) + half) for low, high in ends]


def _extremes(window: Window, joint: int) -> tuple[float, float]:
    """Return the least and the largest of a joint's commands and chunks inside a window."""
    begin, end = window.times[[0, -1]]
    values = [window.run.command[:, joint]]
    for boundary in window.boundaries:
        inside = (boundary.times >= begin) & (boundary.times <= end)
        values.append(boundary.actions[inside, joint])
    joined = np.concatenate(values)
    return float(joined.min()), float(joined.max())


def panel(axes: Axes, window: Window, joint: int) -> None:
    """Draw one joint of one run."""
    times = window.times
    for index, boundary in enumerate(window.boundaries):
        _chunk(axes, boundary, joint, CHUNKS[index % len(CHUNKS)])
    command = window.run.command[:, joint]
    axes.plot(times, command, color='white', lw=3.4, zorder=4)
    axes.plot(times, command, color=INK, lw=1.5, zorder=5)
    planned = window.run.planned[:, joint]
    for boundary in window.boundaries:
        index = int(np.argmin(np.abs(times - boundary.taken)))
        axes.plot(times[index], planned[index], 'o', ms=4.2, mfc='white', mec=INK, zorder=6)
    axes.set_xlim(times[0], times[-1])


def _chunk(axes: Axes, boundary: WindowChunk, joint: int, color: str) -> None:
    times, values = boundary.times, boundary.actions[:, joint]
    axes.axvspan(boundary.asked, boundary.taken, color='#f3f5f7', lw=0, zorder=0)
    axes.axvline(boundary.taken, color='#b8bec6', lw=0.8, zorder=1)
    axes.plot(times, values, color=color, lw=1.0, alpha=0.55, zorder=2)
    axes.plot(times, values, '.', color=color, ms=2.6, alpha=0.8, zorder=2)
    executed = (times >= boundary.taken - 1e-9) & (times <= boundary.left + 1e-9)
    axes.plot(times[executed], values[executed], color=color, lw=3.2, alpha=0.9, zorder=3)
    count = min(len(boundary.old), len(values))
    axes.fill_between(
        times[:count], values[:count], boundary.old[:count, joint],
        color=MISMATCH, alpha=0.28, lw=0, zorder=2,
    )  # fmt: skip


def title(window: Window) -> str:
    """Return the strategy and the figures of its run."""
    figures = window.report.figures
    return (
        f'{window.report.strategy}    CON {figures["consistency_rad"]:.4f} rad    '
        f'mean jump {figures["seam_jump_rad"]:.4f} rad    '
        f'delay {figures["delay_steps"]["p50"]:.0f} steps'
    )


def joint_label(window: Window, joint: int) -> str:
    """Return the name of a joint with its unit."""
    names = window.report.joint_names
    return f'{names[joint] if joint < len(names) else f"joint {joint}"} [rad]'


def _legend() -> list[Line2D | Patch]:
    chunk = CHUNKS[0]
    return [
        Line2D([], [], color=INK, lw=1.6, label='commands as sent'),
        Line2D([], [], color=chunk, lw=3.2, label='chunk, played part'),
        Line2D([], [], color=chunk, lw=1.0, marker='.', ms=4, alpha=0.7, label='the rest of it'),
        Patch(color=MISMATCH, alpha=0.3, lw=0, label='disagreement with the old plan'),
        Patch(color='#e6e9ed', label='request to takeover'),
    ]
