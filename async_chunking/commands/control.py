# SPDX-License-Identifier: Apache-2.0
"""Commands for a running robot, without `ros2`: `set`, `instruct`, `stop`, `reset`, `status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from async_chunking.bringup.parameters import PARAMETERS
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.options import RUNTIME
from async_chunking.settings import unknown

NODES = ('executor', 'policy', 'delay_monitor')
"""Nodes of every robot, in the order in which `status` shows them."""

Namespace = Annotated[str, typer.Option(help='Namespace of the robot.')]


def changeable() -> dict[str, tuple[str, Any]]:
    """Return what may change while a robot runs: name -> its node and the field's description."""
    return {
        name: (executable.removesuffix('_node'), field)
        for executable, kind in PARAMETERS.items()
        for name, field in kind.model_fields.items()
        if field.json_schema_extra == RUNTIME
    }


def read(name: str, text: str) -> tuple[str, Any]:
    """
    Return the node that has a parameter, and the value that a text stands for.

    Raises:
        AsyncChunkingError: It may not change while the robot runs, or cannot be that.
    """
    known = changeable()
    if name not in known:
        sentence = unknown('parameter that may change while a robot runs,', name, sorted(known))
        raise AsyncChunkingError(sentence)
    node, field = known[name]
    try:
        return node, field.annotation(text)
    except ValueError as error:
        raise AsyncChunkingError(f"{name} = '{text}': {error}") from None


def set_(name: str, value: str, namespace: Namespace = '') -> None:
    """Change what may change while a robot runs: strategy, latency_ms, instruction."""
    node, content = read(name, value)
    from async_chunking.nodes.control import Control

    with Control(namespace) as control:
        control.set(node, name, content)
    when = '; in force as soon as the policy is warm for it' if name == 'strategy' else ''
    typer.echo(f'{node}: {name} is {value}{when}')


def instruct(
    words: Annotated[str, typer.Argument(help='What to do, in words.')], namespace: Namespace = ''
) -> None:
    """Tell a language-conditioned policy what to do from now on."""
    set_('instruction', words, namespace)


def stop(namespace: Namespace = '') -> None:
    """Brake to rest within the limits; `reset` goes on."""
    _trigger('stop', namespace)


def reset(namespace: Namespace = '') -> None:
    """Begin a new run: after a safe stop, after `stop`, or from where the robot is."""
    _trigger('reset', namespace)


def status(namespace: Namespace = '') -> None:
    """Show what each node of a running robot reports, once."""
    from async_chunking.nodes.control import Control

    with Control(namespace) as control:
        sight = control.sight(NODES)
    typer.echo('\n'.join(lines(sight.reports)))


def lines(reports: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return what was seen of a robot: for each node what it says, and below what is not zero."""
    order = {name: number for number, name in enumerate(NODES)}
    text = []
    for node in sorted(reports, key=lambda name: (order.get(name, len(order)), name)):
        values = dict(reports[node])
        text.append(f'{node}: {values.pop("says", "")}')
        text += [f'  {key:<24}{value}' for key, value in values.items() if value not in ('', '0')]
    return text


def _trigger(service: str, namespace: str) -> None:
    from async_chunking.nodes.control import Control

    with Control(namespace) as control:
        typer.echo(f'executor: {control.trigger("executor", service)}')
