# SPDX-License-Identifier: Apache-2.0
"""Settings from YAML: read safely, checked by a model, refused with file, key and choices."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from async_chunking.errors import AsyncChunkingError
from async_chunking.storage import read_file

_OLDEST = (2, 5)  # Of pydantic; Ubuntu 24.04 has 1.10.
if tuple(map(int, pydantic.VERSION.split('.')[:2])) < _OLDEST:
    msg = (
        f'pydantic {pydantic.VERSION} ({Path(pydantic.__file__).parent}) is older than '
        f'{".".join(map(str, _OLDEST))}: install what docs/ros2.md names'
    )
    raise AsyncChunkingError(msg)


class SettingsError(AsyncChunkingError):
    """A settings file or a value in it cannot be used."""


class Settings(pydantic.BaseModel):
    """A group of settings: immutable, every key known, every number finite, and a number."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra='forbid', allow_inf_nan=False, arbitrary_types_allowed=True
    )

    @pydantic.field_validator('*', mode='before')
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Refuse what would be taken for 1 or 0, where numbers alone are meant."""
        kinds = _kinds(cls.model_fields[info.field_name or ''].annotation)
        if kinds & {int, float} and kinds <= {int, float, str, type(None)} and _has_truth(value):
            msg = 'true and false are no numbers'
            raise ValueError(msg)
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return what a type is made of: float of tuple[float, ...] | None, and NoneType."""
    parts = [part for part in get_args(annotation) if part is not ...]
    return {kind for part in parts for kind in _kinds(part)} if parts else {annotation}


def _has_truth(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return any(map(_has_truth, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bool)


Model = TypeVar('Model', bound=Settings)


_LONGEST = 1 << 22  # File [bytes].
_MOST = 100_000  # Values in it, those that aliases repeat counted each time.


class _Loader(yaml.SafeLoader):
    """Reads plain values, takes each key once, and merges no more keys than there may be."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if id(node) not in self._checked:  # Once merged, a key may replace another.
            self._checked.add(id(node))
            known: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != '<<':
                    if (key.tag, key.value) in known:
                        reason = f'the key {key.value} is there twice'
                        raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
                    known.add((key.tag, key.value))
        super().flatten_mapping(node)
        if len(node.value) > _MOST:
            raise yaml.constructor.ConstructorError(None, None, 'too much is merged', None)


def parse_yaml(text: str) -> Any:
    """Return what YAML holds.

    Raises:
        yaml.YAMLError: It is not YAML, is nested too deep, or its aliases make too much of it.
    """
    try:
        content = _Loader(text).get_single_data()
        left = [content]
        for _ in range(_MOST):
            if not left:
                return content
            value = left.pop()
            if isinstance(value, dict):
                left += value.values()
            elif isinstance(value, list):
                left += value
    except RecursionError:
        msg = 'nested too deep'
        raise yaml.YAMLError(msg) from None
    msg = f'more than {_MOST} values'
    raise yaml.YAMLError(msg)


def load_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        SettingsError: The file is missing, too long or not YAML; the message names the line.
    """
    try:
        return parse_yaml(read_file(path, _LONGEST).decode())
    except OSError as error:
        msg = f'{path}: {error.strerror}'
        raise SettingsError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, 'problem_mark', None)
        place = f', line {mark.line + 1}' if mark else ''
        msg = f'{path}{place}: this is not YAML: {getattr(error, "problem", error)}'
        raise SettingsError(msg) from None


def validated(model: type[Model], values: Any, source: object) -> Model:
    """Return the model made of `values`.

    Args:
        model: What is expected.
        values: A mapping, as read from YAML or the command line.
        source: Where they come from; begins every message.

    Raises:
        SettingsError: One line for each value that cannot be used: source, key, value, remedy.
    """
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        lines = (f'{source}: {_sentence(model, detail)}' for detail in error.errors())
        raise SettingsError('\n'.join(lines)) from None


def unknown(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return the sentence that refuses a name, with the nearest choice and all of them."""
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ''
    return f"unknown {kind} '{name}'.{hint} Choices: {', '.join(choices)}"


def config_file(folder: str, name: str) -> Path:
    """Return a file of `config/`, given its name without ending, or any path as it is.

    Raises:
        SettingsError: There is none; the message lists those there are.
    """
    if name.endswith(('.yaml', '.yml')) or os.sep in name:
        return Path(name)
    places = [place / folder for place in _shares()]
    for place in places:
        if (place / f'{name}.yaml').is_file():
            return place / f'{name}.yaml'
    raise SettingsError(unknown('robot', name, config_names(folder)))


def config_names(folder: str = 'config') -> list[str]:
    """Return the names of the files in `config/`, without ending."""
    places = (place / folder for place in _shares())
    return sorted({path.stem for place in places for path in place.glob('*.yaml')})


def _shares() -> list[Path]:
    """Return where config/ may lie: the checkout, then every ROS prefix, then where pip put it."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    installed = [Path(p, 'share', 'async_chunking') for p in (*prefixes, sys.prefix) if p]
    return [Path(__file__).resolve().parent.parent, *installed]


def _sentence(model: type[pydantic.BaseModel], detail: Mapping[str, Any]) -> str:
    path = [str(part) for part in detail['loc']]
    key = '.'.join(path) or '(whole file)'
    if detail['type'] == 'extra_forbidden':
        return unknown('key', key, ('.'.join([*path[:-1], k]) for k in _keys_at(model, path[:-1])))
    if detail['type'] == 'missing':
        return f'{key} is missing'
    reason = detail['msg'].removeprefix('Value error, ')
    shown = repr(detail['input'])
    return f'{key} = {shown if len(shown) < 80 else shown[:77] + "..."}: {reason}'


def _keys_at(model: Any, path: list[str]) -> list[str]:
    """Return the keys that the model allows at a place, stepping over indices and dict keys."""
    for part in path:
        fields = getattr(model, 'model_fields', {})
        if part in fields:
            model = _model_in(fields[part].annotation)
    return list(getattr(model, 'model_fields', {}))


def _model_in(annotation: Any) -> Any:
    """Return the first pydantic model inside a type such as tuple[Model, ...] or Model | None."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    for argument in getattr(annotation, '__args__', ()):
        inner = _model_in(argument)
        if inner is not None:
            return inner
    return None
