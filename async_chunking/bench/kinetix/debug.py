# SPDX-License-Identifier: Apache-2.0
"""Sizes at which every stage runs in seconds once compiled: they test the machinery, no more."""

from __future__ import annotations

from async_chunking.bench.kinetix.flow import FlowRecipe
from async_chunking.bench.kinetix.ppo import Recipe

EXPERT = Recipe(environments=8, steps=16, minibatches=2, epochs=1, width=16)
STEPS = 256
TRANSITIONS = 400
FLOW = FlowRecipe(updates=4, batch=16, width=16, token_width=8, channel_width=16, blocks=1)
