# SPDX-License-Identifier: Apache-2.0
"""Where commands go: one file per kind of message; `robot.wiring.SINKS` is the table of them."""

from __future__ import annotations

import importlib

from async_chunking.nodes.sinks.base import Sink
from async_chunking.robot.wiring import SINKS


def sink_class(kind: str) -> type[Sink]:
    """Return the class of a kind of sink; imported now, since its messages may be missing."""
    module, _, name = SINKS[kind].partition(':')
    return getattr(importlib.import_module(f'async_chunking.nodes.sinks.{module}'), name)


__all__ = ['Sink', 'sink_class']
