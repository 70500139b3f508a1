# SPDX-License-Identifier: Apache-2.0
"""The commands that say what would be started: `async-chunking arguments` and `describe`.

People read tables and parameter files. With `--json` they are what `ros2 launch` asks: it runs in
a Python that need not have what the nodes need, so theirs describes the robot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import yaml

from async_chunking.bags.topics import recorded_topics
from async_chunking.bringup.describe import Arguments, Bringup, parse
from async_chunking.bringup.describe import describe as describe_robot
from async_chunking.bringup.nodes import full_name
from async_chunking.tables import NOTHING, Table, show

COLUMNS = ('argument', 'default', 'what it is')
_BOOLEANS = ('true', 'false', 'True', 'False')


def arguments(
    markdown: Annotated[bool, typer.Option(help='Print a Markdown table, for documents.')] = False,
    as_json: Annotated[bool, typer.Option('--json', help='Print them for a program.')] = False,
) -> None:
    """Show what `up ROBOT` and the launch files take as NAME:=VALUE."""
    if as_json:
        typer.echo(json.dumps(declared()))
        return
    rows = tuple((a['name'], a['default'] or NOTHING, a['description']) for a in declared())
    show(Table('', COLUMNS, rows, words=COLUMNS, wrapped=COLUMNS[-1]), markdown)


def describe(
    robot: Annotated[str, typer.Argument(help='Name of a file in config/, or the path of one.')],
    words: Annotated[list[str] | None, typer.Argument(metavar='NAME:=VALUE...')] = None,
    as_json: Annotated[bool, typer.Option('--json', help='Print all for a program.')] = False,
) -> None:
    """Print the nodes of a robot as a ROS parameter file, and start nothing."""
    bringup = describe_robot(robot, parse(words or []))
    if as_json:
        typer.echo(json.dumps(content(bringup)))
    else:
        space = bringup.arguments.namespace
        nodes = {
            full_name(space, node.name): {'ros__parameters': dict(node.parameters)}
            for node in bringup.nodes
        }
        typer.echo(yaml.safe_dump(nodes, sort_keys=False, allow_unicode=True), nl=False)


def declared() -> list[dict[str, Any]]:
    """Return name, default as one would type it, description and choices of each argument."""
    return [
        {
            'name': name,
            'default': _text(field.default),
            'description': field.description or '',
            'choices': list(_choices(field.annotation)),
        }
        for name, field in Arguments.model_fields.items()
    ]


def content(bringup: Bringup) -> dict[str, Any]:
    """Return what a program needs in order to start a robot."""
    return {
        'nodes': [asdict(node) for node in bringup.nodes],
        'arguments': bringup.arguments.model_dump(mode='json'),
        'recorded': recorded_topics(bringup.robot),
    }


def _text(default: object) -> str:
    """Return a default as one would type it; empty leaves the choice to the robot."""
    if default is None:
        return ''
    return str(default).lower() if isinstance(default, bool) else str(default)


def _choices(annotation: Any) -> Iterator[str]:
    """Yield every value that an argument can have, if they can be listed."""
    if annotation is bool:
        yield from _BOOLEANS
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif bool in (kinds := get_args(annotation)):
        for kind in kinds:  # None: it is left to the robot.
            yield from ('',) if kind is NoneType else _choices(kind)
