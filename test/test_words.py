# SPDX-License-Identifier: Apache-2.0
"""The words of the package: one name for one class, and docstrings that say the noun."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / 'async_chunking'


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module by its path in the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding='utf-8'))
        for path in sorted(PACKAGE.rglob('*.py'))
    }


def test_each_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
