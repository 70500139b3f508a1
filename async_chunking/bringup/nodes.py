# SPDX-License-Identifier: Apache-2.0
"""A node to be started, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NodeSpec:
    """One process.

    Attributes:
        executable: Executable of the package, `<name>_node`.
        name: Name of the node.
        parameters: All that differ from the defaults.
        respawn: Start it again when it dies.
        essential: The run ends when it dies and is not started again.
        remappings: Topic -> what it is called instead.
        python: That runs it; empty for the same as everything else.
    """

    executable: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    respawn: bool = False
    essential: bool = True
    remappings: Mapping[str, str] = field(default_factory=dict)
    python: str = ''


def full_name(namespace: str, name: str) -> str:
    """Return a name in a robot's namespace, beginning with '/'; one that does so stays."""
    space = namespace.strip('/')
    return name if name.startswith('/') else f'/{space}/{name}' if space else f'/{name}'
