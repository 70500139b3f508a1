# SPDX-License-Identifier: Apache-2.0
"""The tables of strategies and policies for people: `async-chunking strategies`."""

from __future__ import annotations

from typing import Annotated

import typer

from async_chunking.policies.kinds import KINDS, Offer
from async_chunking.strategies import NAMES, STRATEGIES, constants, resolve
from async_chunking.tables import Table, show

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
        typer.echo('\n'.join(details(name)))
        show(constants_table(name))
    elif policies:
        columns, rows = ('strategy', *OFFERS), tuple(map(policy_row, NAMES))
        show(Table('', columns, rows, words=columns, note=POLICY_LEGEND), markdown)
    else:
        rows = tuple(map(row, NAMES))
        show(Table('', COLUMNS, rows, words=COLUMNS, note=LEGEND), markdown)


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


def details(name: str) -> list[str]:
    """Return what there is to say about one strategy, line by line."""
    lines = [f'{key}: {cell}' for key, cell in zip(COLUMNS[1:], row(name)[1:], strict=True)]
    parts = [STRATEGIES[part.split(':')[0]].summary for part in name.split('+')]
    return [name, '; '.join(parts), *lines]


def constants_table(name: str) -> Table:
    """Return the constants of a strategy's sampler and merger; imports torch."""
    strategy = resolve(name)
    known = {**constants(strategy.load_sampler()), **constants(strategy.load_merger())}
    rows = tuple((key, str(value)) for key, value in known.items())
    columns = ('constant', 'value')
    return Table('', columns, rows, words=columns, note="num_steps 0 takes the policy's own.")
