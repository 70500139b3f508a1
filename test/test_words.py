# SPDX-License-Identifier: Apache-2.0
"""The words of the package: one name for one class, and docstrings that say the noun."""

from __future__ import annotations

import ast
import re
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


BARE = r'(Of|Its|See there|When)\b'


def test_a_docstring_begins_with_a_noun_or_a_verb() -> None:
    """`seed: Of the noise` leaves to the reader what `seed: Seed of the noise` says."""
    entry = re.compile(rf"\s+[\w*`', ]+: {BARE}")
    bare = []
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=False) or ''
                begin = [text.strip()] if re.match(BARE, text.strip()) else []
                bare += [(path, line) for line in (*begin, *filter(entry.match, text.split('\n')))]
    assert bare == []


def test_a_help_text_begins_with_a_noun_or_a_verb() -> None:
    bare = []
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ('help', 'description'):
                value = node.value
                if isinstance(value, ast.Constant) and re.match(BARE, str(value.value)):
                    bare.append((path, value.value))
    assert bare == []
