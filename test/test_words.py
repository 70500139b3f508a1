# SPDX-License-Identifier: Apache-2.0
"""The words of the repository: one name for one class, docstrings that say the noun, units."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOUSES = ('async_chunking', 'tools', 'test')


def sources(*houses: str) -> dict[str, str]:
    """Return the text of every module by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8')
        for house in houses
        for path in sorted((ROOT / house).rglob('*.py'))
    }


def modules(*houses: str) -> dict[str, ast.Module]:
    """Return the syntax tree of every module by its path."""
    return {path: ast.parse(text) for path, text in sources(*houses).items()}


def test_each_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path, tree in modules(*HOUSES).items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    assert len(places) > 100
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


BARE = r'(Of|Its|See there|When)\b'


def test_a_docstring_begins_with_a_noun_or_a_verb() -> None:
    """`seed: Of the noise` leaves to the reader what `seed: Seed of the noise` says."""
    entry = re.compile(rf"\s+[\w*`', ]+: {BARE}")
    bare = []
    for path, tree in modules('async_chunking', 'tools').items():
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=False) or ''
                begin = [text.strip()] if re.match(BARE, text.strip()) else []
                bare += [(path, line) for line in (*begin, *filter(entry.match, text.split('\n')))]
    assert bare == []


def test_a_help_text_begins_with_a_noun_or_a_verb() -> None:
    bare = []
    for path, tree in modules('async_chunking', 'tools').items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ('help', 'description'):
                value = node.value
                if isinstance(value, ast.Constant) and re.match(BARE, str(value.value)):
                    bare.append((path, value.value))
    assert bare == []


def test_a_constant_duration_ends_in_its_unit() -> None:
    without = [
        (path, line)
        for path, text in sources('async_chunking', 'tools').items()
        for line in text.split('\n')
        if re.match(r'_?[A-Z][A-Z_]* *(: \w+ *)?= .*#.*\[s[\],]', line)
        and not re.match(r'\w+_(S|HZ)\b', line)
    ]
    assert without == []


def test_no_local_is_called_found() -> None:
    """A noun says what was found."""
    named = [
        path
        for path, tree in modules('async_chunking', 'tools').items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == 'found'
    ]
    assert named == []
