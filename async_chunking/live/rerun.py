# SPDX-License-Identifier: Apache-2.0
"""A run in Rerun: for each joint the executed stream, the old plan and the new chunk at seams."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError
from async_chunking.live.trace import LANES, Curve, LiveSeam, LiveStep

_TIMELINE = 'run'
_TOGETHER = 10  # Ticks that are sent at once.
# Line -> colour, as in the moving picture and in RViz; and width [points].
_LINES = {
    'executed': ((30, 35, 42), 2.0),
    'measured': ((150, 155, 165), 1.0),
    **{f'old_plan_{lane}': ((232, 160, 58), 1.5) for lane in range(LANES)},
    **{f'new_chunk_{lane}': ((40, 157, 143), 1.5) for lane in range(LANES)},
}
_TAKEOVER = (208, 74, 92)


class RerunPlot:
    """
    Logs to a file, to a viewer that it starts, or to one that listens.

    Args:
        save: File to write, .rrd.
        connect: Address of a viewer, such as rerun+http://127.0.0.1:9876/proxy; with neither a
            viewer is started.

    Raises:
        AsyncChunkingError: Rerun is not installed.
    """

    def __init__(self, save: Path | None = None, connect: str = '') -> None:
        try:
            rerun: Any = import_module('rerun')
        except ImportError:
            msg = (
                "the plot is Rerun's: pip install '.[watch]' in the checkout; or watch --text, "
                'which needs nothing'
            )
            raise AsyncChunkingError(msg) from None
        self._rerun = rerun
        self._stream: Any = rerun.RecordingStream('async_chunking')
        if save is not None:
            self._stream.save(save)
        elif connect:
            self._stream.connect_grpc(connect)
        else:
            self._stream.spawn()
        self._names: tuple[str, ...] = ()
        self._begin = 0.0
        self._steps: list[LiveStep] = []

    def step(self, step: LiveStep) -> None:
        """Draw a tick."""
        if step.joint_names != self._names:
            self._flush()
            self._lay_out(step)
        self._steps.append(step)
        if len(self._steps) >= _TOGETHER:
            self._flush()

    def seam(self, seam: LiveSeam) -> None:
        """Draw a takeover: its tick, the plan that was given up, and the chunk."""
        step = seam.step
        times = np.array([step.time_s])
        self._draw('takeover', Curve(times, step.command[None]))
        self._draw(f'old_plan_{seam.lane}', seam.old, apart=True)
        self._draw(f'new_chunk_{seam.lane}', seam.new, apart=True)
        for name, value in (
            ('jump_mrad', 1e3 * seam.jump),
            ('CON_mrad', 1e3 * seam.consistency),
            ('delay_rows', step.delay),
        ):
            if np.isfinite(value):
                self._send(('seam', name), times, np.array([float(value)]))

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._stream.flush()
        self._stream.disconnect()

    def _lay_out(self, step: LiveStep) -> None:
        rerun, blueprint = self._rerun, self._rerun.blueprint
        if not self._names:
            self._begin = step.time_s
        self._names = step.joint_names
        for joint in self._names:
            for line, (color, width) in _LINES.items():
                style = rerun.SeriesLines(colors=[color], widths=[width], names=[_title(line)])
                self._stream.log(_path(rerun, joint, line), style, static=True)
            dots = rerun.SeriesPoints(
                colors=[_TAKEOVER], markers=['circle'], marker_sizes=[4.0], names=['takeover']
            )
            self._stream.log(_path(rerun, joint, 'takeover'), dots, static=True)
        views = [
            blueprint.TimeSeriesView(origin=_path(rerun, name), name=name)
            for name in (*self._names, 'seam')
        ]
        self._stream.send_blueprint(blueprint.Blueprint(blueprint.Grid(*views)))

    def _flush(self) -> None:
        if self._steps:
            times = np.array([step.time_s for step in self._steps])
            for line, field in (('executed', 'command'), ('measured', 'measured')):
                values = np.array([getattr(step, field) for step in self._steps])
                self._draw(line, Curve(times, values))
        self._steps = []

    def _draw(self, line: str, curve: Curve, apart: bool = False) -> None:
        """Draw a line for each joint; one that stands apart does not go on in the next."""
        for joint, values in zip(self._names, curve.values.T, strict=True):
            known = np.isfinite(values)
            self._send((joint, line), curve.times[known], values[known])
            if apart and known.any():
                self._stream.set_time(_TIMELINE, duration=curve.times[-1] - self._begin + 1e-3)
                cleared = self._rerun.Clear(recursive=False)
                self._stream.log(_path(self._rerun, joint, line), cleared)

    def _send(self, path: Sequence[str], times: np.ndarray, values: np.ndarray) -> None:
        rerun = self._rerun
        if len(times):
            index = rerun.TimeColumn(_TIMELINE, duration=times - self._begin)
            columns = rerun.Scalars.columns(scalars=values)
            self._stream.send_columns(_path(rerun, *path), indexes=[index], columns=columns)


def _path(rerun: Any, *parts: str) -> str:
    """Return where in Rerun's tree something is; any character may be in a joint's name."""
    return rerun.new_entity_path(list(parts))


def _title(line: str) -> str:
    return line.rstrip('_0123456789').replace('_', ' ')
