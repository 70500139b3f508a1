# SPDX-License-Identifier: Apache-2.0
"""The arguments of `up` and of the launch files, for people: `async-chunking arguments`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import rich
import typer
from rich import box
from rich.table import Table

from async_chunking.bringup.describe import Arguments

COLUMNS = ('argument', 'default', 'what it is')


def arguments(
    markdown: Annotated[bool, typer.Option(help='Print a Markdown table, for documents.')] = False,
) -> None:
    """Show what `up ROBOT` and the launch files take as NAME:=VALUE."""
    if markdown:
        for line in (COLUMNS, ['---'] * len(COLUMNS), *rows()):
            typer.echo(f'| {" | ".join(line)} |')
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column != COLUMNS[-1])
    for line in rows():
        table.add_row(*line)
    rich.print(table)


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield name, default as one would type it, and description of each argument."""
    for name, field in Arguments.model_fields.items():
        default = field.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        yield name, '–' if default in ('', None) else shown, field.description or ''
