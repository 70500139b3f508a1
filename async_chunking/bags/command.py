# SPDX-License-Identifier: Apache-2.0
"""`async-chunking report`: recordings in, tables and pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from async_chunking.bags.compare import StrategyReport, by_strategy, compare
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import Bag, find
from async_chunking.bags.folder import read_all, without_copies
from async_chunking.bags.namespaces import normalized
from async_chunking.bags.summary import BagReport
from async_chunking.bags.table import as_data, show, show_runs, write_csv
from async_chunking.bags.window import Window, cut, typical_runs, typical_ticks
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.safety import Limits
from async_chunking.storage import write_json

_FEW = 20  # So many runs are listed one by one without being asked for.


def report(
    recordings: Annotated[
        list[Path], typer.Argument(help='Recordings, or folders of them (MCAP or SQLite).')
    ],
    json: Annotated[Path | None, typer.Option(help='Write all figures to this file.')] = None,
    csv: Annotated[Path | None, typer.Option(help='Write a line per run to this file.')] = None,
    html: Annotated[Path | None, typer.Option(help='Write one page with charts.')] = None,
    png: Annotated[Path | None, typer.Option(help='Write the picture of the boundaries.')] = None,
    robot: Annotated[
        str, typer.Option(help='Take limits from config/ROBOT.yaml or a path, not the recording.')
    ] = '',
    strategies: Annotated[
        str, typer.Option(help='Strategies in the picture, joined by commas.')
    ] = '',
    joints: Annotated[
        str, typer.Option(help='Joints in the picture, joined by commas; else the three busiest.')
    ] = '',
    runs: Annotated[bool, typer.Option('--runs', help='List every run.')] = False,
    namespace: Annotated[
        str | None,
        typer.Option(help='Namespace of the robot; the runs of all others are left out.'),
    ] = None,
    workers: Annotated[int, typer.Option(help='Processes; 0 for one per processor.')] = 0,
) -> None:
    """Turn recordings into the table of the papers (SR, ATR, CON) and pictures of the boundaries.

    Ends with status 0, with 1 if a part of a recording could not be read (the rest is reported),
    with 2 if nothing could.
    """
    console, complaints = Console(), Console(stderr=True)
    described = _described(robot)
    limits = described and described.limits
    bags = _read(find(recordings), limits, workers or None, complaints)
    if namespace is not None:
        bags = _of_robot(bags, normalized(namespace))
    if described:
        _refuse_other_joints(bags, described)
    recorded = [run for bag in bags for run in bag.runs]
    problems = [problem for bag in bags for problem in bag.problems]
    for problem in problems:
        complaints.print(problem, style='yellow', markup=False, highlight=False, soft_wrap=True)
    if not recorded:
        msg = 'no run in any of these recordings'
        raise BagError(msg)
    groups = by_strategy(recorded)
    tests = compare(groups)
    if json:
        write_json(as_data(bags, groups, tests), json)
    if csv:
        write_csv(csv, bags)
    if runs or len(groups) < len(recorded) <= _FEW:
        show_runs(console, recorded)
    show(console, groups, tests)
    if html or png:
        _pictures(html, png, bags, groups, strategies, joints)
    raise typer.Exit(1 if problems else 0)


def _of_robot(bags: Sequence[BagReport], namespace: str) -> list[BagReport]:
    known = {run.key.namespace for bag in bags for run in bag.runs}
    if known and namespace not in known:
        names = ', '.join(sorted(name or '/' for name in known))
        msg = f'no run in namespace {namespace or "/"}; there are {names}'
        raise BagError(msg)
    return [
        replace(bag, runs=[run for run in bag.runs if run.key.namespace == namespace])
        for bag in bags
    ]


def _described(robot: str) -> Embodiment | None:
    return load(robot) if robot else None


def _refuse_other_joints(bags: Sequence[BagReport], robot: Embodiment) -> None:
    """Refuse limits of a robot that a recording is not of: they are taken joint by joint."""
    for run in (run for bag in bags for run in bag.runs):
        names = tuple(run.joint_names)
        if names and names != robot.joint_names:  # Early recordings have no names.
            msg = (
                f'{run.path}: its joints are {", ".join(names)}; robot {robot.name} has '
                f'{", ".join(robot.joint_names)}'
            )
            raise BagError(msg)


def _read(
    bags: Sequence[Bag], limits: Limits | None, workers: int | None, console: Console
) -> list[BagReport]:
    reports = track(
        read_all(bags, limits, workers), 'reading', len(bags), console=console,
        disable=len(bags) == 1 or not console.is_terminal,
    )  # fmt: skip
    return without_copies([bag for _, bag in sorted(reports, key=lambda item: item[0])])


def _pictures(
    html: Path | None,
    png: Path | None,
    bags: Sequence[BagReport],
    groups: Sequence[StrategyReport],
    strategies: str,
    joints: str,
) -> None:
    try:
        from async_chunking.bags import figure, page
    except ImportError as error:
        msg = f"pictures need {error.name}: pip install '.[report]' in the checkout"
        raise BagError(msg) from None
    windows = _windows(groups, strategies)
    if png and not windows:
        msg = f'{png}: not written, because no run has a boundary at which two plans overlap'
        raise BagError(msg)
    columns = _columns(windows, joints) or figure.busiest(windows, 3)
    if png:
        figure.draw(windows, columns, png)
    if html:
        page.write(html, bags, groups, compare(groups), windows, columns)


def draw_boundaries(recordings: Sequence[Path], strategies: Sequence[str], png: Path) -> None:
    """
    Write the picture of the boundaries of some strategies, and nothing else.

    Raises:
        BagError: What draws is not installed, a strategy has no run, or none has a boundary.
    """
    bags = [bag for _, bag in read_all(find(list(recordings)), None, None)]
    groups = by_strategy([run for bag in bags for run in bag.runs])
    _pictures(None, png, bags, groups, ','.join(strategies), '')


def _windows(groups: Sequence[StrategyReport], names: str) -> list[Window]:
    """Return typical boundaries of the strategies asked for, or of the first two."""
    known = {group.strategy: group for group in groups}
    unknown = [name for name in names.split(',') if name and name not in known]
    if unknown:
        msg = f'strategy {unknown[0]} is not in these recordings; they have {", ".join(known)}'
        raise BagError(msg)
    chosen = [known[name] for name in names.split(',') if name]
    runs = typical_runs(chosen or groups[:2])
    return [cut(run, *ticks) for run, ticks in zip(runs, typical_ticks(runs), strict=True)]


def _columns(windows: Sequence[Window], joints: str) -> list[int]:
    names = list(windows[0].report.joint_names) if windows else []
    unknown = [name for name in joints.split(',') if name and name not in names]
    if unknown:
        msg = f'joint {unknown[0]} is not in these recordings; they have {", ".join(names)}'
        raise BagError(msg)
    return [names.index(name) for name in joints.split(',') if name]
