# SPDX-License-Identifier: Apache-2.0
"""
Strategies: name -> sampler, merger, corrector, what each needs, its cost, its paper.

A strategy is a point in a small product: how a chunk is drawn (sampler, in the policy node), how
it joins the stream (merger) and what is added to each action (corrector, both in the executor).
`strategy:=paint` names one; `strategy:=paint+a2c2` combines what two of them change;
`strategy:=paint:grid=departure:num_steps=10` sets constants of one. `table.py` is the table.
Numpy tier: samplers are named here and imported only where they run.
"""

from async_chunking.strategies.names import resolve
from async_chunking.strategies.needs import CORRECTORS, NEEDS, RECIPES
from async_chunking.strategies.strategy import PLAIN, SamplerEntry, Strategy, constants
from async_chunking.strategies.table import (
    AUTO,
    COMBINATIONS,
    DEFAULTS,
    NAMES,
    SAMPLERS,
    STRATEGIES,
)

__all__ = [
    'AUTO', 'COMBINATIONS', 'CORRECTORS', 'DEFAULTS', 'NAMES', 'NEEDS', 'PLAIN', 'RECIPES',
    'SAMPLERS', 'STRATEGIES', 'SamplerEntry', 'Strategy', 'constants', 'resolve',
]  # fmt: skip
