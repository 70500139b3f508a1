# SPDX-License-Identifier: Apache-2.0
"""`python -m tools reference`: parameters, messages and YAML keys as Markdown, from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from async_chunking.bringup.parameters import PARAMETERS, NodeParameters
from async_chunking.robot import embodiment, wiring
from async_chunking.settings import Settings

MESSAGES = Path(__file__).resolve().parents[2] / 'msg'
_LONG = 60  # A default that is longer is left out of a table.


def reference(
    part: Annotated[
        Literal['parameters', 'messages', 'yaml'], typer.Argument(help='What to print.')
    ],
) -> None:
    """Print a part of the interface reference as Markdown."""
    lines = {'parameters': parameters, 'messages': messages, 'yaml': keys}[part]()
    typer.echo('\n'.join(lines))


def parameters() -> Iterator[str]:
    """Yield a table of parameters for each node."""
    yield '### Every node\n'
    yield from _fields(NodeParameters, NodeParameters.model_fields)
    for executable, model in PARAMETERS.items():
        own = {
            name: field
            for name, field in model.model_fields.items()
            if name not in NodeParameters.model_fields
        }
        yield f'\n### {executable}\n'
        yield from _fields(model, own)


def keys() -> Iterator[str]:
    """Yield a table of keys for each mapping of a robot's YAML file."""
    models = {
        cls
        for module in (wiring, embodiment)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Settings) and cls is not Settings and cls.__module__ == module.__name__
    }
    order = sorted(models, key=lambda cls: (cls is not embodiment.Embodiment, cls.__name__))
    for number, model in enumerate(order):
        yield f'{chr(10) if number else ""}### {model.__name__}\n'
        yield f'{(inspect.getdoc(model) or "").splitlines()[0]}\n'
        yield from _fields(model, model.model_fields)


def messages() -> Iterator[str]:
    """Yield a table of fields for each message."""
    for number, path in enumerate(sorted(MESSAGES.glob('*.msg'))):
        yield f'{chr(10) if number else ""}### {path.stem}\n'
        head, *blocks = path.read_text().strip().split('\n\n')
        yield _joined(head.splitlines()) + '\n'
        yield '| field | type | meaning [unit] |\n| --- | --- | --- |'
        for block in blocks:
            lines = block.splitlines()
            above = _joined([line for line in lines if line.startswith('#')])
            for line in lines:
                field, _, beside = line.partition('#')
                if field.strip():
                    kind, _, name = field.strip().partition(' ')
                    yield f'| `{name.strip()}` | `{kind}` | {_cell(beside.strip() or above)} |'


def _fields(model: type[Settings], fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield '| name | type | default | range | meaning |\n| --- | --- | --- | --- | --- |'
    described = _attributes(model)
    for name, field in fields.items():
        meaning = field.description or described.get(name, '')
        if (field.json_schema_extra or {}) == {'runtime': True}:
            meaning += '; may be set while the node runs'
        cells = (f'`{name}`', _kind(field.annotation), _default(field), _range(field), meaning)
        yield f'| {" | ".join(map(_cell, cells))} |'


def _attributes(model: type) -> dict[str, str]:
    """Return what a class's docstring says of its attributes."""
    described: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        _, _, text = inspect.cleandoc(cls.__doc__ or '').partition('Attributes:\n')
        entries = re.findall(r'^    (\w+): (.*(?:\n {8}.*)*)', text, flags=re.MULTILINE)
        described |= {name: _joined(words.splitlines()) for name, words in entries}
    return described


def _kind(annotation: Any) -> str:
    """Return a type in words that a YAML file knows."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inside[0])
    if origin is Literal:
        return ', '.join(f'`{value}`' if value != '' else '`""`' for value in inside)
    if origin in {tuple, list}:
        return f'list of {_kind(inside[0])}'
    if origin is dict:
        return f'name → {_kind(inside[1])}'
    if inside:  # A union; None is what leaving it out means.
        return ' or '.join(_kind(one) for one in inside if one is not type(None))
    return {'str': 'text', 'int': 'whole number', 'float': 'number', 'bool': 'bool'}.get(
        annotation.__name__, annotation.__name__
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return '–' if field.default_factory else 'required'
    value = field.default
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'`{text}`' if text and value is not None and len(text) < _LONG else '–'


def _range(field: FieldInfo) -> str:
    signs = {'ge': '≥', 'gt': '>', 'le': '≤', 'lt': '<', 'min_length': 'length ≥'}
    return (
        ', '.join(
            f'{sign} {getattr(rule, name):g}'
            for rule in field.metadata
            for name, sign in signs.items()
            if getattr(rule, name, None) is not None
        )
        or '–'
    )


def _joined(lines: list[str]) -> str:
    return ' '.join(line.lstrip('# ').strip() for line in lines if line.strip('# '))


def _cell(text: str) -> str:
    return text.replace('|', '\\|').strip() or '–'
