# SPDX-License-Identifier: Apache-2.0
"""The tables of strategies and policies for people: `async-chunking strategies`."""

from __future__ import annotations

from typing import Annotated

import rich
import typer
from rich import box
from rich.console import Group
from rich.table import Table

from async_chunking.policies.kinds import KINDS, Offer
from async_chunking.strategies import NAMES, STRATEGIES, constants, resolve

AXES = ('sampler', 'merger', 'corrector')
COLUMNS = ('strategy', 'sets', 'policy calls', 'needs', 'paper')
LEGEND = (
    'n = solver steps, N = samples, k = iterations, back = backward passes. Parts joined by + set '
    'one axis each: sampler (how a chunk is drawn), merger (how it joins the stream), corrector. '
    'Constants follow a name: paint:grid=departure:num_steps=10; '
    '`async-chunking strategies paint` lists them.'
)
OFFERS: dict[str, Offer] = {
    name: offer for kind in KINDS.values() for name, offer in kind.columns.items()
}
POLICY_LEGEND = (
    'yes: every such policy; + X: if the policy comes with X; –: refused, with the reason. '
    'Columns by kind: '
    + '; '.join(f'policy:={name}: {", ".join(kind.columns)}' for name, kind in KINDS.items())
)


def strategies(
    name: Annotated[
        str, typer.Argument(help='A name, or a combination, to show with its constants.')
    ] = '',
    markdown: Annotated[bool, typer.Option(help='Print a Markdown table, for documents.')] = False,
    policies: Annotated[bool, typer.Option(help='Show which policies each can run on.')] = False,
) -> None:
    """Show every strategy: which axes it sets, what it costs, what it needs of the policy."""
    if name:
        rich.print(details(name))
        return
    columns = ('strategy', *OFFERS) if policies else COLUMNS
    lines = [policy_row(name) if policies else row(name) for name in NAMES]
    if markdown:
        for line in (columns, ['---'] * len(columns), *lines):
            typer.echo(f'| {" | ".join(line)} |')
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column != 'needs' and not policies)
    for line in lines:
        table.add_row(*line)
    rich.print(Group(table, POLICY_LEGEND if policies else LEGEND))


def policy_row(name: str) -> tuple[str, ...]:
    """Return whether a strategy runs on the policies of each column of `OFFERS`."""
    needs = (STRATEGIES.get(name) or resolve(name)).needs
    return name, *(_verdict(needs, offer) for offer in OFFERS.values())


def _verdict(needs: frozenset[str], offer: Offer) -> str:
    if needs <= offer.always:
        return 'yes'
    if not needs <= offer.always | offer.may:
        return '–'
    return '+ ' + ', '.join(sorted(need.split(':')[-1] for need in needs - offer.always))


def row(name: str) -> tuple[str, ...]:
    """Return the cells of a strategy or a '+' combination, in the order of `COLUMNS`."""
    strategy = STRATEGIES.get(name) or resolve(name)
    sampler = strategy.sampler
    default = STRATEGIES['naive']
    axes = [axis for axis in AXES if getattr(strategy, axis) != getattr(default, axis)]
    calls = sampler.calls + (f' + {sampler.backward} back' if sampler.backward != '0' else '')
    needs = strategy.needs - {'velocity'} or strategy.needs
    paper = strategy.paper or sampler.paper
    return name, ', '.join(axes) or '–', calls, ', '.join(sorted(needs)) or '–', paper


def details(name: str) -> Group:
    """Return what there is to say about one strategy; imports torch."""
    strategy = resolve(name)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column('constant')
    table.add_column('value')
    for part in (strategy.load_sampler(), strategy.load_merger()):
        for key, value in constants(part).items():
            table.add_row(key, str(value))
    lines = [f'{key}: {cell}' for key, cell in zip(COLUMNS[1:], row(name)[1:], strict=True)]
    parts = [STRATEGIES[part.split(':')[0]].summary for part in name.split('+')]
    return Group(name, '; '.join(parts), *lines, table, "num_steps 0 takes the policy's own.")
