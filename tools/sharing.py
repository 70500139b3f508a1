# SPDX-License-Identifier: Apache-2.0
"""
What shared observations save: `python -m tools.sharing` prints the table.

One update of the transformer (forward, backward) on several offsets of a frame, once as branches
over one observation, once as separate samples. Both compute the same; the saving grows with the
share of the observation's tokens, so it is small for a few numbers and large for images.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from async_chunking.policies.networks.transformer import TransformerArchitecture
from async_chunking.tables import Table, show

FRAMES, HORIZON, ACTION_DIM = 8, 16, 7
OBSERVED = (
    7,
    64,
    256,
)  # Tokens: this package's simulated task; a small and a usual image encoder.
OFFSETS = (4, 9)
_REPEATS = 5


def measure(observed: int, offsets: int, repeats: int = _REPEATS) -> tuple[float, float]:
    """Return processor time per update [s], separate and shared: the least of some repeats."""
    sizes = (('observation.state', ACTION_DIM), ('observation.environment_state', observed))
    network = TransformerArchitecture(HORIZON, ACTION_DIM, sizes).build()
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(FRAMES, offsets, HORIZON, ACTION_DIM, generator=generator)
    flow_time = torch.rand(FRAMES, offsets, generator=generator)
    seen = torch.randn(FRAMES, 1, observed, generator=generator).expand(-1, offsets, -1)
    state = torch.randn(FRAMES, offsets, ACTION_DIM, generator=generator)
    features = torch.cat([state, seen], dim=-1)
    apart = (actions.flatten(0, 1), flow_time.flatten(), features.flatten(0, 1))
    return (
        min(_seconds(lambda: _update(network, *apart)) for _ in range(repeats)),
        min(
            _seconds(lambda: _update(network, actions, flow_time, features))
            for _ in range(repeats)
        ),
    )


def _update(network: nn.Module, actions: Tensor, flow_time: Tensor, features: Tensor) -> None:
    network.zero_grad()
    network(actions, flow_time, features).square().mean().backward()


def _seconds(work: Callable[[], None]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def sharing() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    rows = []
    for observed in OBSERVED:
        for offsets in OFFSETS:
            separate, shared = measure(observed, offsets)
            ms = (f'{1e3 * seconds:.0f} ms' for seconds in (separate, shared))
            rows.append((f'{observed} tokens', str(offsets), *ms, f'{separate / shared:.2f}'))
    columns = ('observed', 'offsets', 'separate', 'shared', 'speed-up')
    show(Table('One update', columns, tuple(rows)))
