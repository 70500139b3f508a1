# SPDX-License-Identifier: Apache-2.0
"""How a finished chunk joins the stream: one file per merger, numpy only."""

import importlib
import pkgutil

from async_chunking.mergers.base import Merger


def _in(module: str) -> list[type[Merger]]:
    """Return the mergers that a module of this folder defines."""
    content = vars(importlib.import_module(f'{__name__}.{module}')).values()
    return [
        value
        for value in content
        if isinstance(value, type)
        and issubclass(value, Merger)
        and value.__module__ == f'{__name__}.{module}'
    ]


MERGERS: dict[str, type[Merger]] = {
    info.name: merger
    for info in pkgutil.iter_modules(__path__)
    if info.name != 'base'
    for merger in _in(info.name)
}
"""Every merger, by the name of its file: a new one is found by being there."""

__all__ = ['MERGERS', 'Merger']
