# SPDX-License-Identifier: Apache-2.0
"""ROS parameter files: which of a file's values are meant for which node, as in rcl.

One file may serve a whole system: several robots, and nodes of other packages. `/left/executor`,
`/*/executor`, `/**` and the nested form (`left: {executor: {ros__parameters: ...}}`) mean what
they mean to rcl; a name without a leading slash is also looked for in the robot's own namespace.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from async_chunking.bringup.nodes import NodeSpec, full_name
from async_chunking.bringup.parameters import PARAMETERS, STANDARD
from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import load_yaml, unknown, validated

_VALUES = 'ros__parameters'
_NAMES = tuple(executable.removesuffix('_node') for executable in PARAMETERS)
_ALIKE = 0.8  # A node's name that is this near to one of ours is a slip, not another package's.


@dataclass(frozen=True)
class ParameterSection:
    """One node, or several, of a parameter file.

    Attributes:
        name: As the file says it, nested keys joined by '/'.
        values: Parameter -> value, nested keys joined by '.'.
    """

    name: str
    values: Mapping[str, Any]

    @property
    def wild(self) -> bool:
        """Whether it is for whichever nodes have such parameters."""
        return '*' in self.name

    def means(self, node: str, namespace: str) -> bool:
        """Whether it is for a node of a robot in this namespace."""
        tokens = self.name.strip('/').split('/')
        wild = {'**': '(?:/[^/]+)*', '*': '/[^/]+'}
        pattern = ''.join(wild.get(token, f'/{re.escape(token)}') for token in tokens)
        names = [full_name(namespace, node)]
        if not self.name.startswith('/'):
            names.append(f'/{node}')
        return any(re.fullmatch(pattern, name) for name in names)


def overridden(nodes: Sequence[NodeSpec], namespace: str, path: str) -> tuple[NodeSpec, ...]:
    """Return the nodes with the values of a parameter file laid over their own.

    Args:
        nodes: Nodes of one robot.
        namespace: Namespace of the robot.
        path: Parameter file; empty for none.

    Raises:
        AsyncChunkingError: The file is none, one of these nodes has no such parameter or not such
            a value, or a node's name is a slip.
    """
    if not path:
        return tuple(nodes)
    sections = read(Path(path).expanduser())
    for section in sections:
        _refuse_slip(section, path)
    return tuple(_changed(node, namespace, sections, path) for node in nodes)


def read(path: Path) -> list[ParameterSection]:
    """Return the sections of a parameter file, in its order.

    Raises:
        AsyncChunkingError: It is not YAML, or holds no parameters of nodes.
    """
    content = load_yaml(path)
    if not isinstance(content, dict):
        msg = f'{path}: expected node names with {_VALUES} below them'
        raise AsyncChunkingError(msg)
    return list(_sections(path, '', content))


def _sections(path: Path, name: str, content: Mapping[Any, Any]) -> Iterator[ParameterSection]:
    for key, body in content.items():
        if not isinstance(body, dict):
            place = f'{name}/{key}' if name else key
            msg = f'{path}: {place} = {body!r}: expected {_VALUES} with parameters below it'
            raise AsyncChunkingError(msg)
        if key == _VALUES:
            yield ParameterSection(name, dict(_flat('', body)))
        else:
            yield from _sections(
                path, f'{name}/{str(key).lstrip("/")}' if name else str(key), body
            )


def _flat(prefix: str, content: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(f'{prefix}{key}.', value)
        else:
            yield f'{prefix}{key}', value


def _refuse_slip(section: ParameterSection, path: str) -> None:
    name = section.name.rsplit('/', 1)[-1]
    if name not in _NAMES and difflib.get_close_matches(name, _NAMES, 1, _ALIKE):
        raise AsyncChunkingError(f'{path}: {unknown("node", name, _NAMES)}')


def _changed(
    node: NodeSpec, namespace: str, sections: Sequence[ParameterSection], path: str
) -> NodeSpec:
    """Return a node with what is meant for it; its own name stands above patterns."""
    model = PARAMETERS[node.executable]
    known = model.model_fields
    values = dict(node.parameters)
    mine = [section for section in sections if section.means(node.name, namespace)]
    for section in sorted(mine, key=lambda section: not section.wild):
        for key, value in section.values.items():
            if key in known or key.startswith(STANDARD):
                values[key] = value
            elif not section.wild:
                msg = f'{path}: {section.name}: {unknown("parameter", key, known)}'
                raise AsyncChunkingError(msg)
    validated(model, {k: v for k, v in values.items() if k in known}, f'{path}: {node.name}')
    return replace(node, parameters=values)
