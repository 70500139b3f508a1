# SPDX-License-Identifier: Apache-2.0
"""The table of strategies for people: the command `async-chunking strategies`."""

from __future__ import annotations

from typing import Annotated

import rich
import typer
from rich import box
from rich.console import Group
from rich.table import Table

from async_chunking.strategies import SAMPLERS, STRATEGIES, resolve

AXES = ('sampler', 'merger', 'corrector')
COLUMNS = ('strategy', 'sets', 'policy calls', 'needs', 'paper')
LEGEND = (
    'n = solver steps, N = samples, k = iterations, back = backward passes. Parts joined by + set '
    'one axis each: sampler (how a chunk is drawn), merger (how it joins the stream), corrector.'
)


def strategies(
    markdown: Annotated[bool, typer.Option(help='Print a Markdown table, for documents.')] = False,
) -> None:
    """Show every strategy: which axes it sets, what it costs, what it needs of the policy."""
    names = [*STRATEGIES, *(name for name in SAMPLERS if '+' in name)]
    lines = [row(name) for name in names]
    if markdown:
        for line in (COLUMNS, ['---'] * len(COLUMNS), *lines):
            typer.echo(f'| {" | ".join(line)} |')
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, no_wrap=column != 'needs')
    for line in lines:
        table.add_row(*line)
    rich.print(Group(table, LEGEND))


def row(name: str) -> tuple[str, ...]:
    """Return the cells of a strategy or a '+' combination, in the order of `COLUMNS`."""
    strategy = STRATEGIES.get(name) or resolve(name)
    sampler = SAMPLERS[strategy.sampler]
    default = STRATEGIES['naive']
    axes = [axis for axis in AXES if getattr(strategy, axis) != getattr(default, axis)]
    calls = sampler.calls + (f' + {sampler.backward} back' if sampler.backward != '0' else '')
    needs = strategy.needs - {'velocity'} or strategy.needs
    paper = strategy.paper or sampler.paper
    return name, ', '.join(axes) or '–', calls, ', '.join(sorted(needs)) or '–', paper
