# SPDX-License-Identifier: Apache-2.0
"""`async-chunking watch`: a running robot's plans and seams, live."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from async_chunking.bringup.up import Interrupts
from async_chunking.errors import AsyncChunkingError
from async_chunking.live.trace import LiveSeam, LiveStep, Trace
from async_chunking.live.words import Words
from async_chunking.storage import require_new

_PATIENCE_S = 20.0  # For the first tick, where there is an end [s].


def watch(
    save: Annotated[
        Path | None, typer.Option(help='Write a file for Rerun, .rrd, and open no viewer.')
    ] = None,
    connect: Annotated[
        str, typer.Option(help="A viewer's address: rerun+http://127.0.0.1:9876/proxy.")
    ] = '',
    text: Annotated[bool, typer.Option(help='A line a seam, and no plot.')] = False,
    seconds: Annotated[
        float, typer.Option(help='End after so long [s]; 0 is Ctrl-C.', min=0.0)
    ] = 0.0,
    namespace: Annotated[str, typer.Option(help='Namespace of the robot.')] = '',
) -> None:
    """Plot old plan, new chunk and executed stream of a running robot, real or simulated."""
    if save is not None:
        require_new(save)
    views: list[Any] = [_Lines(typer.echo)] if text or save else []
    if not text or save or connect:
        from async_chunking.live.rerun import RerunPlot

        views.append(RerunPlot(save, connect))
    typer.echo('listening until Ctrl-C' if not seconds else 'listening', err=True)
    seen = look(namespace, views, seconds)
    if not seen:
        msg = f'no robot was heard in namespace /{namespace.strip("/")}; start one with `up`'
        raise AsyncChunkingError(msg)
    if save is not None:
        typer.echo(f'{save}: {seen} ticks; look at it with: rerun {save}')


class _Lines:
    """Prints the run in words."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._words, self._say = Words(), say

    def step(self, step: LiveStep) -> None:
        if line := self._words.step(step):
            self._say(line)

    def seam(self, seam: LiveSeam) -> None:
        self._say(self._words.seam(seam))

    def close(self) -> None:
        pass


def look(namespace: str, views: list[Any], seconds: float) -> int:
    """
    Show a robot until it is interrupted or the time is over.

    Args:
        namespace: Namespace of the robot.
        views: Each has `step`, `seam` and `close`.
        seconds: From the first tick on, for which more is waited; 0 is no end [s].

    Returns:
        How many ticks were seen.
    """
    from async_chunking.nodes.tap import Tap

    trace, seen, begin = Trace(), 0, 0.0
    give_up = time.monotonic() + max(seconds, _PATIENCE_S) if seconds else math.inf

    def on_step(step: LiveStep) -> None:
        nonlocal seen
        seen += 1
        for view in views:
            view.step(step)
        if seam := trace.step(step):
            for view in views:
                view.seam(seam)

    try:
        with Interrupts() as stopped, Tap(namespace, on_step, trace.request, trace.chunk) as tap:
            while not stopped() and time.monotonic() < give_up:
                tap.listen(0.1)
                if seen and not begin:
                    begin = time.monotonic()
                    give_up = begin + seconds if seconds else math.inf
    finally:
        for view in views:
            view.close()
    return seen
