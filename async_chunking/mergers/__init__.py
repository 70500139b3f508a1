# SPDX-License-Identifier: Apache-2.0
"""How a finished chunk joins the stream: one file per merger, numpy only."""

from async_chunking.mergers.base import Merger
from async_chunking.mergers.bspline import BSpline
from async_chunking.mergers.ensemble import Ensemble
from async_chunking.mergers.switch import Switch
from async_chunking.mergers.wait import Wait

MERGERS: dict[str, type[Merger]] = {
    'switch': Switch,
    'wait': Wait,
    'ensemble': Ensemble,
    'bspline': BSpline,
}

__all__ = ['MERGERS', 'BSpline', 'Ensemble', 'Merger', 'Switch', 'Wait']
