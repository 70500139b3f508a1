# SPDX-License-Identifier: Apache-2.0
"""
The constants of a sampler, read from its source: processes that never load torch know them too.

A sampler is a frozen dataclass under `async_chunking.samplers`. Its constants are the fields whose
default is a number, a truth value or a word, with those of its bases. The type says what a field
can be: `Literal['exp', 'linear']` one of these words, `Annotated[int, Field(ge=1)]` 1 or more,
else any word, or a number from 0 to `MOST`. A type may have a name, in this file or in another of
the folder.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_FOLDER = Path(__file__).parent.parent / 'samplers'
_PACKAGE = 'async_chunking.samplers'

MOST = 10_000
"""The most that a constant can be that is a number: steps and samples cost time and memory."""

Value = bool | int | float | str


class Constant(NamedTuple):
    """
    What a strategy's name can set.

    Attributes:
        default: Value if none is set; any other has the same type.
        choices: The words that it can be; empty for any.
        least: The least number that it can be.
    """

    default: Value
    choices: tuple[str, ...] = ()
    least: int = 0

    @property
    def allowed(self) -> str:
        """What it can be, to complete "must be ..."."""
        words = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a word'}
        kind = type(self.default)
        span = f' from {self.least} to {MOST}' if kind in (int, float) else ''
        return ', '.join(self.choices) or words[kind] + span

    def allows(self, value: Any) -> bool:
        """Return whether it can have this value."""
        if isinstance(self.default, str):
            return value in self.choices or not self.choices
        return isinstance(value, bool) or self.least <= value <= MOST

    def read(self, text: str) -> Value:
        """
        Return a value that is given as text.

        Raises:
            ValueError: It cannot be that; the message says what it can be.
        """
        kind = type(self.default)
        try:
            value = {'true': True, 'false': False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ValueError(self.allowed) from None
        if not self.allows(value):
            raise ValueError(self.allowed)
        return value


def declared(entry: str) -> Mapping[str, Constant]:
    """
    Return the constants of a sampler, in the order of its fields; its module is not run.

    Args:
        entry: 'module:Class' or 'module:function' under `async_chunking.samplers`; a function's
            constants are those of the class that it returns.
    """
    module, _, name = entry.partition(':')
    return _declared(module, name)


def declared_by(sampler: type) -> Mapping[str, Constant]:
    """Return the constants that a class has from the samplers of this package."""
    for cls in sampler.__mro__:
        package, _, module = cls.__module__.rpartition('.')
        if package == _PACKAGE:
            return _declared(module, cls.__name__)
    return {}


@functools.lru_cache(maxsize=256)
def _declared(module: str, name: str) -> Mapping[str, Constant]:
    module, node = _find(module, name)
    if isinstance(node, ast.FunctionDef):
        return _declared(module, ast.unparse(node.returns)) if node.returns else {}
    if not isinstance(node, ast.ClassDef):
        return {}
    constants: dict[str, Constant] = {}
    for base in node.bases:
        constants |= _declared(module, ast.unparse(base))
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            constant = _constant(module, field)
            if constant is not None:
                constants[field.target.id] = constant
    return constants


def _constant(module: str, field: ast.AnnAssign) -> Constant | None:
    try:
        default = ast.literal_eval(field.value) if field.value else None
    except ValueError:
        return None
    if not isinstance(default, Value):
        return None
    kind: ast.AST | None = field.annotation
    if isinstance(kind, ast.Name):
        module, node = _find(module, kind.id)
        kind = node.value if isinstance(node, ast.Assign) else None
    if not isinstance(kind, ast.Subscript):
        return Constant(default)
    if ast.unparse(kind.value) == 'Literal':
        words = ast.literal_eval(kind.slice)
        return Constant(default, words if isinstance(words, tuple) else (words,))
    least = [word.value for word in ast.walk(kind) if isinstance(word, ast.keyword)]
    return Constant(default, least=ast.literal_eval(least[0]) if least else 0)


def _find(module: str, name: str) -> tuple[str, ast.AST | None]:
    """Return what a name stands for at the top of a module, and the module that says it."""
    node = _names(module).get(name)
    if isinstance(node, ast.ImportFrom):
        package, _, origin = (node.module or '').rpartition('.')
        return _find(origin, name) if package == _PACKAGE else (module, None)
    return module, node


@functools.lru_cache(maxsize=64)
def _names(module: str) -> Mapping[str, ast.AST]:
    tree = ast.parse((_FOLDER / f'{module}.py').read_text(encoding='utf-8'))
    return {name: node for node in tree.body for name in _bound(node)}


def _bound(node: ast.stmt) -> Iterable[str]:
    """Return the names that a statement binds."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return (node.name,)
    if isinstance(node, ast.ImportFrom):
        return (alias.name for alias in node.names)
    if isinstance(node, ast.Assign):
        return (target.id for target in node.targets if isinstance(target, ast.Name))
    return ()
