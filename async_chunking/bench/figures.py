# SPDX-License-Identifier: Apache-2.0
"""Figures of points: one line a strategy, with its 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from async_chunking.bench.summary import Interval, Point, strategy_order
from async_chunking.strategies import STRATEGIES

_STYLE: dict[Any, Any] = {'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}
_MARKERS = 'osD^v<>PX*hp'
_LINES = ('-', '--', ':')  # Where the colours begin again.


def draw(
    path: Path,
    points: Sequence[Point],
    x: Callable[[Point], float],
    y: Callable[[Point], Interval],
    labels: tuple[str, str],
) -> None:
    """Write a PNG with a line for each strategy; colours and markers belong to the strategy.

    Args:
        path: File to write.
        points: At most one per strategy and x.
        x: Place of a point on the horizontal axis.
        y: Height of a point, with its interval; points without are left out.
        labels: Names of both axes.
    """
    with mpl.rc_context(_STYLE):
        names = {point.strategy for point in points}  # All of them find room in the legend.
        size = (7.2, max(3.6, 0.2 * len(names) + 0.4))
        figure = Figure(figsize=size, dpi=120, layout='constrained')
        axes = figure.subplots()
        _plot(axes, points, x, y)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False)
        _save(figure, path)


def draw_panels(
    path: Path,
    parts: Mapping[str, Sequence[Point]],
    x: Callable[[Point], float],
    y: Callable[[Point], Interval],
    labels: tuple[str, str],
    columns: int = 3,
) -> None:
    """Write a PNG with one such figure for each of the titled parts, side by side; see `draw`."""
    columns = min(columns, len(parts))
    rows = -(-len(parts) // columns)
    with mpl.rc_context(_STYLE):
        size = (max(2.6 * columns, 4.0), 2.3 * rows + 0.4)
        figure = Figure(figsize=size, dpi=120, layout='constrained')
        every = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
        lines = {}
        for axes, (title, points) in zip(every, parts.items(), strict=False):
            _plot(axes, points, x, y)
            axes.set_title(title, fontsize=9)
            handles, names = axes.get_legend_handles_labels()
            lines |= dict(zip(names, handles, strict=True))
        for axes in every[len(parts) :]:
            axes.set_axis_off()
        figure.supxlabel(labels[0], fontsize=9)
        figure.supylabel(labels[1], fontsize=9)
        chosen = sorted(lines, key=strategy_order)
        shown = [lines[name] for name in chosen]
        figure.legend(shown, chosen, loc='outside upper center', ncols=4, frameon=False)
        _save(figure, path)


def _plot(
    axes: Axes,
    points: Sequence[Point],
    x: Callable[[Point], float],
    y: Callable[[Point], Interval],
) -> None:
    names = sorted({point.strategy for point in points}, key=strategy_order)
    for index, name in enumerate(names):
        line = sorted((p for p in points if p.strategy == name), key=x)
        line = [p for p in line if y(p).value == y(p).value]  # Not NaN.
        if line:
            _line(axes, name, [x(p) for p in line], [y(p) for p in line], index / len(names))
    axes.set_ylim(bottom=0.0)
    axes.set_xticks(sorted({x(point) for point in points}))


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nothing that changes from one writing to the next.
    figure.savefig(path, metadata={'Software': None})


def _line(axes: Axes, name: str, x: list[float], y: list[Interval], offset: float) -> None:
    style = _style(name)
    shift = (offset - 0.5) * 0.2  # Intervals beside each other, not on top.
    values = [interval.value for interval in y]
    below = [max(i.value - i.low, 0.0) for i in y]
    above = [max(i.high - i.value, 0.0) for i in y]
    axes.errorbar(
        [value + shift for value in x],
        values,
        [below, above],
        label=name,
        color=mpl.colormaps['tab20'](style % 20),
        linestyle=_LINES[style // 20 % len(_LINES)],
        marker=_MARKERS[style % len(_MARKERS)],
        markersize=4,
        linewidth=1.2,
        elinewidth=0.7,
    )


def _style(name: str) -> int:
    """Return a number that belongs to the strategy, whichever others are in the figure."""
    known = list(STRATEGIES)
    return known.index(name) if name in known else len(known) + sum(name.encode()) % 97
