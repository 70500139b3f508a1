# SPDX-License-Identifier: Apache-2.0
"""Charts that can be zoomed (plotly): the headline figure, and what the boundaries were like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from async_chunking.bags.compare import StrategyReport
from async_chunking.bags.figure import CHUNKS, INK, MISMATCH, joint_label, title, value_ranges
from async_chunking.bags.summary import PERIOD_BINS, RunReport
from async_chunking.bags.window import Window, WindowChunk
from async_chunking.metrics.seams import Seam

PALETTE = ('#4f7cac', '#d1495b', '#2a9d8f', '#e9a13b', '#7a5195', '#6b705c')
CAUSES = {'waiting': '#e9a13b', 'inference': '#4f7cac', 'transport': '#9aa5b1'}
_MAX_POINTS = 20_000  # Per strategy; a browser draws more only slowly.


def _styled(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template='plotly_white', height=height, margin={'l': 60, 'r': 20, 't': 50, 'b': 50},
        font={'family': 'system-ui, sans-serif', 'size': 12, 'color': '#3a4048'},
        legend={'orientation': 'h', 'y': -0.18},
    )  # fmt: skip
    return figure


def headline(windows: Sequence[Window], joints: Sequence[int]) -> go.Figure:
    """Return chunks over the executed stream: a row for each joint, a column for each strategy."""
    shared: dict[str, Any] = {'shared_xaxes': 'columns'}
    figure = make_subplots(
        len(joints), len(windows), **shared,
        column_titles=[title(window) for window in windows],
        horizontal_spacing=0.05, vertical_spacing=0.15 / len(joints),
    )  # fmt: skip
    for column, window in enumerate(windows, start=1):
        for row, joint in enumerate(joints, start=1):
            first = row == column == 1
            for index, boundary in enumerate(window.boundaries):
                color = CHUNKS[index % len(CHUNKS)]
                for trace in _chunk(boundary, joint, color, first and not index):
                    figure.add_trace(trace, row, column)
            stream = go.Scatter(
                x=window.times, y=window.run.command[:, joint], name='commands as sent',
                line={'color': INK, 'width': 2.2}, showlegend=first,
            )  # fmt: skip
            figure.add_trace(stream, row, column)
            for boundary in window.boundaries:
                place: dict[str, Any] = {'row': row, 'col': column}
                figure.add_vrect(
                    boundary.asked, boundary.taken, **place, line_width=0, fillcolor='#c9d0d8',
                    opacity=0.22, layer='below',
                )  # fmt: skip
        figure.update_xaxes(range=[window.times[0], window.times[-1]], col=column)
        figure.update_xaxes(title='time since the run began [s]', row=len(joints), col=column)
    for row, joint in enumerate(joints, start=1):
        for column, ends in enumerate(value_ranges(windows, joint), start=1):
            figure.update_yaxes(range=ends, row=row, col=column)
        figure.update_yaxes(title=joint_label(windows[0], joint), row=row, col=1)
    return _styled(figure, 120 + 190 * len(joints))


def _chunk(boundary: WindowChunk, joint: int, color: str, named: bool) -> list[go.Scatter]:
    times, values = boundary.times, boundary.actions[:, joint]
    count = min(len(boundary.old), len(values))
    around = np.concatenate((times[:count], times[:count][::-1]))
    between = np.concatenate((values[:count], boundary.old[:count, joint][::-1]))
    played = (times >= boundary.taken - 1e-9) & (times <= boundary.left + 1e-9)
    return [
        go.Scatter(x=around, y=between, fill='toself', fillcolor=MISMATCH, opacity=0.3,
                   line={'width': 0}, mode='lines', hoverinfo='skip', showlegend=named,
                   name='disagreement with the old plan'),
        go.Scatter(x=times, y=values, mode='lines+markers', marker={'size': 3}, opacity=0.6,
                   line={'color': color, 'width': 1}, showlegend=named, name='a chunk'),
        go.Scatter(x=times[played], y=values[played], line={'color': color, 'width': 5},
                   mode='lines', opacity=0.8, showlegend=named, name='its played part'),
    ]  # fmt: skip


def mismatch_over_time(strategies: Sequence[StrategyReport]) -> go.Figure:
    """Return CON of every boundary against the time in its run."""
    figure = go.Figure()
    for strategy, color in zip(strategies, _colors(strategies), strict=True):
        time = np.concatenate([r.seam('tick') * r.control_period for r in strategy.runs])
        value = np.concatenate([r.seam('mismatch_absolute') for r in strategy.runs])
        every = max(len(time) // _MAX_POINTS, 1)
        figure.add_trace(go.Scattergl(
            x=time[::every], y=value[::every], mode='markers', name=strategy.strategy,
            marker={'color': color, 'size': 5, 'opacity': 0.55},
        ))  # fmt: skip
    figure.update_xaxes(title='time since the run began [s]')
    figure.update_yaxes(title='mean |new - old| of a boundary [rad]', rangemode='tozero')
    return _styled(figure, 380)


def delay_by_cause(strategies: Sequence[StrategyReport]) -> go.Figure:
    """Return how often each delay occurred; bars are split by the mean share of each cause."""
    figure = make_subplots(
        1, len(strategies), shared_yaxes=True, column_titles=[s.strategy for s in strategies]
    )
    for column, strategy in enumerate(strategies, start=1):
        seams = _seams(strategy.runs)
        width = strategy.runs[0].control_period * 1e3
        total = seams['total'] * 1e3
        place = np.round(total / width).astype(int)
        bins = np.unique(place)
        counts = np.array([(place == b).sum() for b in bins])
        shares = {cause: _share(seams[cause] * 1e3 / total, place, bins) for cause in CAUSES}
        shares['unknown'] = 1.0 - np.sum(list(shares.values()), axis=0)
        for cause, share in shares.items():
            if share.max(initial=0.0) < 1e-6:
                continue
            figure.add_trace(go.Bar(
                x=bins * width, y=counts * share, width=0.9 * width, name=cause,
                marker={'color': CAUSES.get(cause, '#d9dee3')}, showlegend=column == 1,
            ), 1, column)  # fmt: skip
        figure.update_xaxes(title='request to takeover [ms]', row=1, col=column)
    figure.update_yaxes(title='takeovers', row=1, col=1)
    figure.update_layout(barmode='stack')
    return _styled(figure, 380)


def _share(part: np.ndarray, place: np.ndarray, bins: np.ndarray) -> np.ndarray:
    known = np.where(np.isfinite(part), np.clip(part, 0.0, 1.0), 0.0)
    return np.array([known[place == b].mean() for b in bins])


def conditioned_and_measured(strategies: Sequence[StrategyReport]) -> go.Figure:
    """Return how often each pair of conditioned and measured delay occurred."""
    figure = go.Figure()
    most = 1
    for strategy, color in zip(strategies, _colors(strategies), strict=True):
        seams = _seams(strategy.runs)
        pairs = np.stack((seams['conditioned_delay'], seams['delay']), axis=1)
        places, counts = np.unique(pairs, axis=0, return_counts=True)
        most = max(most, int(places.max(initial=0.0)))
        figure.add_trace(go.Scatter(
            x=places[:, 0], y=places[:, 1], mode='markers', name=strategy.strategy,
            text=[f'{count} takeovers' for count in counts],
            marker={'color': color, 'opacity': 0.6,
                    'size': 6.0 + 34.0 * np.sqrt(counts / counts.sum())},
        ))  # fmt: skip
    figure.add_trace(go.Scatter(
        x=[0, most + 1], y=[0, most + 1], mode='lines', name='as conditioned',
        line={'color': '#9aa5b1', 'dash': 'dot', 'width': 1},
    ))  # fmt: skip
    figure.update_xaxes(title='conditioned on [steps]')
    figure.update_yaxes(title='measured [steps]')
    return _styled(figure, 420)


def periods(strategies: Sequence[StrategyReport]) -> go.Figure:
    """Return how often each time between two commands occurred."""
    figure = go.Figure()
    for strategy, color in zip(strategies, _colors(strategies), strict=True):
        counts = np.sum([run.periods for run in strategy.runs], axis=0)
        middle = (PERIOD_BINS[:-1] + PERIOD_BINS[1:]) / 2.0
        figure.add_trace(go.Scatter(
            x=middle * strategy.runs[0].control_period * 1e3, y=np.where(counts, counts, np.nan),
            mode='lines+markers', line={'color': color, 'shape': 'hvh'}, name=strategy.strategy,
        ))  # fmt: skip
    figure.update_xaxes(title='time between two commands [ms]; the last bin holds all longer ones')
    figure.update_yaxes(title='how often', type='log')
    return _styled(figure, 380)


def _seams(runs: Sequence[RunReport]) -> dict[str, np.ndarray]:
    joined = np.concatenate([run.seams for run in runs])
    return dict(zip(Seam._fields, joined.T, strict=True))


def _colors(strategies: Sequence[StrategyReport]) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(len(strategies))]
