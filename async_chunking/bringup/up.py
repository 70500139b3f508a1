# SPDX-License-Identifier: Apache-2.0
"""`async-chunking up`: start a robot, watch it, and say how well it went."""

from __future__ import annotations

import math
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from async_chunking.bags.overview import overview
from async_chunking.bringup.arguments import Arguments
from async_chunking.bringup.describe import Bringup, describe, parse
from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.processes import Processes
from async_chunking.bringup.start_failure import start_failure
from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import config_names
from async_chunking.storage import write_json
from async_chunking.tables import Table
from async_chunking.tables import show as show_table

if TYPE_CHECKING:
    from async_chunking.nodes.watch import Sight

_LAST = ('recorder',)  # Ends after the others, so that it hears all they say.


class RunError(AsyncChunkingError):
    """The robot did not start, or a process that it needs ended."""


def up(
    robot: Annotated[
        str,
        typer.Argument(help=f'One of {", ".join(config_names())}, or the path of a YAML file.'),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar='NAME:=VALUE...',
            help=f'{", ".join(Arguments.model_fields)}; see `async-chunking arguments`.',
        ),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option('--json', help='Write the figures here.')
    ] = None,
) -> None:
    """Start a robot, watch it until Ctrl-C or `duration`, and print how well it went."""
    given = parse(words or [])
    with Interrupts() as stopped:
        figures = run(robot, given, Console(stderr=True), stopped)
    show([figures] if figures else [], figures, json_path)
    if figures.get('lost'):
        msg = f'{figures["lost"]}: the figures tell of what was recorded before'
        raise RunError(msg)


up.context_settings = {'ignore_unknown_options': True}  # Refused with how they are written here.


def run(
    robot: str,
    given: Mapping[str, Any],
    console: Console,
    stopped: Callable[[], bool],
    quiet: bool = False,
) -> dict[str, Any]:
    """
    Run a robot until it is interrupted, or its duration or its episodes are over.

    Args:
        robot: Name of a file in config/, or the path of one.
        given: Fields of `bringup.Arguments`. Without `record` the recording is thrown away.
        console: Shows the progress.
        stopped: Whether to end now, from `Interrupts`.
        quiet: Keep what the nodes print off the terminal; it is shown if they fail.

    Returns:
        The figures of everything that was recorded, by name, `latency_ms` as given, `lost`,
        which node ended too early though the robot went on, `restarts`, how often each that died
        was started again, and `unrecorded_ticks` at the ends of runs; empty if it was stopped
        before the first command, or is the policy's side of two hosts.

    Raises:
        AsyncChunkingError: Something cannot work.
        RunError: A process that is needed ended, or nothing moved in time.
    """
    with tempfile.TemporaryDirectory(prefix='async_chunking_') as folder:
        bag = Path(given.get('record') or Path(folder, 'bag')).expanduser().resolve()
        bringup = describe(robot, {**given, 'record': str(bag)})
        if not given.get('record'):
            bringup = replace(bringup, nodes=tuple(map(_unannounced, bringup.nodes)))
        with Path(folder, 'log').open('w+b') as log:
            try:
                output = log.fileno() if quiet else None
                sight, lost, restarts = _watch(bringup, console, stopped, output)
            except RunError as error:
                log.seek(0)
                tail = log.read().decode(errors='replace')[-3000:]
                msg = f'{error}\n{tail}'.rstrip()
                raise RunError(msg) from None
        figures = (
            overview(bag, bringup.robot, bringup.arguments.namespace)
            if sight.ticks and bag.exists()
            else {}
        )
        if lost:
            console.print(f'{lost}; the robot went on')
        for name, count in restarts.items():
            console.print(f'{name} ended {count} times by itself and was started again')
        if 'ticks' not in figures:  # None, or none that was recorded before it was stopped.
            return {}
        unrecorded = unrecorded_ticks(sight.spans, figures['recorded'])
        if unrecorded:
            console.print(f'{unrecorded} ticks at the ends of runs are not in the recording')
        given = {'latency_ms': bringup.arguments.latency_ms, 'lost': lost, 'restarts': restarts}
        return {**given, 'unrecorded_ticks': unrecorded, **figures}


def _unannounced(node: NodeSpec) -> NodeSpec:
    """Return a node; a recorder as one that does not tell of a folder which is thrown away."""
    if node.name != 'recorder':
        return node
    return replace(node, parameters={**node.parameters, 'temporary': True})


def unrecorded_ticks(
    seen: Mapping[int, tuple[int, int]], recorded: Mapping[int, tuple[int, int]]
) -> int:
    """Return how many ticks, from the first chunk on, a recording lacks at the ends of its runs.

    Args:
        seen: Run -> first and last tick that was seen.
        recorded: Run -> first and last tick that was recorded.
    """
    count = 0
    for run, (first, last) in seen.items():
        begin, end = recorded.get(run, (last + 1, last))
        count += min(max(0, begin - first), last + 1 - first) + max(0, last - end)
    return count


def _watch(
    bringup: Bringup, console: Console, stopped: Callable[[], bool], output: int | None
) -> tuple[Sight, str, dict[str, int]]:
    """Run until it is over; return what was seen, which node ended, and restarts."""
    from async_chunking.nodes.watch import Watch

    arguments = bringup.arguments
    watch = Watch(arguments.namespace)
    try:
        with (
            Processes(bringup.nodes, arguments.namespace, arguments.log_level, output) as nodes,
            _progress(console) as progress,
        ):
            waits = any(node.parameters.get('activate') is False for node in bringup.nodes)
            if waits:
                console.print('the executor waits: ros2 lifecycle set /executor activate, or')
                console.print('start with autostart:=true to let the robot move at once')
            task = progress.add_task('starting', total=None)
            begin, deadline, told = math.inf, time.monotonic() + arguments.start_timeout_s, False
            while not stopped():
                sight = watch.look(0.1)
                told = told or _tell_that_policy_is_ready(arguments, sight, console)
                now = time.monotonic()
                if ended := nodes.look_after():
                    raise RunError(ended)
                if sight.executed and begin == math.inf:
                    begin = now
                    progress.update(task, total=arguments.duration or None)
                if begin == math.inf and now > deadline and not (arguments.only or waits):
                    waited = arguments.start_timeout_s
                    raise RunError(start_failure(waited, sight.troubles, sight.ticks, os.environ))
                if begin < math.inf:
                    text = f'{arguments.strategy}: {_state(sight)}'
                    progress.update(task, completed=now - begin, description=text)
                    if _is_over(arguments, sight, now - begin):
                        break
            nodes.look_after()
            nodes.stop([node.name for node in bringup.nodes if node.name not in _LAST])
        again = {name: count for name, count in nodes.restarts.items() if count}
        return watch.sight, nodes.lost, again
    finally:
        watch.close()


def _progress(console: Console) -> Progress:
    columns = (
        SpinnerColumn(), TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    return Progress(*columns, console=console, transient=True)


def _tell_that_policy_is_ready(arguments: Arguments, sight: Sight, console: Console) -> bool:
    """Say it on the policy's host, where nothing else is seen of a robot; return whether said."""
    ready = sight.reports.get('policy', {}).get('says') == 'active'
    if arguments.only == 'policy' and ready:
        console.print(
            f'the policy is ready: {arguments.strategy}; start the robot with only:=robot'
        )
        return True
    return False


def _state(sight: Sight) -> str:
    """Return what is seen of a robot, in a few words."""
    solved = sum(bool(episode['success']) for episode in sight.episodes)
    phase = sight.phase.name.lower() if sight.phase is not None else ''
    return f'{phase}, {solved}/{len(sight.episodes)} solved'


def _is_over(arguments: Arguments, sight: Sight, seconds: float) -> bool:
    """Return whether the robot has moved for as long, or played as much, as was asked for."""
    if arguments.duration and seconds >= arguments.duration:
        return True
    return bool(arguments.episodes) and len(sight.episodes) >= arguments.episodes


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into a question, `stopped()`, while the context lasts."""

    def __enter__(self) -> Callable[[], bool]:
        self._count = 0
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._before = {number: signal.signal(number, self._take) for number in numbers}
        return lambda: self._count > 0

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame  # Unused.
        self._count += 1


_CAPTION = 'delay: median/max; period between commands: median/p99/max'

COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    'strategy': lambda f: str(f['strategy']),
    'latency [ms]': lambda f: str(f['latency_ms']),
    'solved': lambda f: f'{f["successes"]}/{f["episodes"]}' if f['episodes'] else '–',
    'CON [mrad]': lambda f: _number(f['consistency_rad'], 1e3),
    'seam jump [mrad]': lambda f: _number(f['seam_jump_rad'], 1e3),
    'jerk [rad/s³]': lambda f: _number(f['command_jerk_rad_s3'], digits=0),
    'delay [steps]': lambda f: '/'.join(_number(v, digits=0) for v in f['delay_steps'].values()),
    'period [ms]': lambda f: '/'.join(_number(v) for v in f['period_ms'].values()),
    'ticks': lambda f: str(f['ticks']),
    'missed': lambda f: str(f['missed_ticks']),
    'starved': lambda f: str(f['starved_ticks']),
    'late': lambda f: str(f['late_chunks']),
    'rejected': lambda f: str(f['rejected_chunks']),
}


def table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row for each run's figures."""
    rows = tuple(tuple(cell(figures) for cell in COLUMNS.values()) for figures in runs)
    return Table('', tuple(COLUMNS), rows, note=_CAPTION)


def show(
    runs: Sequence[Mapping[str, Any]],
    content: Any,
    json_path: Path | None,
    as_markdown: bool = False,
) -> None:
    """Print the table of some runs, and write figures as JSON."""
    console = Console()
    if not runs:
        console.print('no command was recorded here: there is nothing to show')
    else:
        show_table(table(runs), as_markdown, console)
    if runs and json_path is not None:
        write_json(content, json_path)


def _number(value: float, scale: float = 1.0, digits: int = 1) -> str:
    return f'{value * scale:.{digits}f}' if math.isfinite(value) else '–'
