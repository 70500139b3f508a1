# SPDX-License-Identifier: Apache-2.0
"""Shift: which noise a chunk is drawn from."""

from __future__ import annotations

import pytest
import torch
from analytic import Linear
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.samplers.base import Context, Draw
from async_chunking.samplers.shift import Shift

NOISE = torch.arange(8.0)[None, :, None].expand(1, 8, 2)
FRESH = 100 + NOISE


def draw(rows: int, execution_horizon: int, state: Tensor | None, delay: int = 1) -> Draw:
    policy = Linear(0.0)  # The chunk is the noise.
    boundary = Boundary(torch.zeros(1, rows, 2), delay, execution_horizon)
    encoding = policy.encode({'observation.state': torch.zeros(1, 2)})
    return Shift().draw(Context(policy, encoding, boundary, FRESH, torch.Generator(), state))


@pytest.mark.parametrize(
    ('rows', 'execution_horizon', 'expected'),
    [
        (5, 3, [3, 4, 5, 6, 7, 105, 106, 107]),
        (5, 5, [3, 4, 5, 103, 104, 105, 106, 107]),  # Rows beyond H - s may be anything.
        (8, 1, [0, 1, 2, 3, 4, 5, 6, 107]),
        (1, 3, [7, 101, 102, 103, 104, 105, 106, 107]),
        (0, 3, [100, 101, 102, 103, 104, 105, 106, 107]),
    ],
)
def test_noise_moves_with_the_rows_that_it_made(
    rows: int, execution_horizon: int, expected: list[int]
) -> None:
    drawn = draw(rows, execution_horizon, NOISE)
    assert drawn.actions[0, :, 0].tolist() == expected
    assert torch.equal(drawn.state, drawn.actions)


def test_the_first_chunk_of_a_stream_is_drawn_from_fresh_noise() -> None:
    assert torch.equal(draw(5, 3, None).actions, FRESH)
