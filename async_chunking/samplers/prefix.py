# SPDX-License-Identifier: Apache-2.0
"""
The soft mask: how much each row of a new chunk shall agree with the old plan.

Drawn for horizon 10, start 2 (the delay), end 6 (horizon - execution horizon)::

    row       0    1    2    3    4    5    6    7    8    9
    ones      1    1    1    1    1    1    0    0    0    0
    linear    1    1   .8   .6   .4   .2    0    0    0    0
    exp       1    1  .57  .29  .11  .03    0    0    0    0
    zeros     1    1    0    0    0    0    0    0    0    0
              |executed|  may be revised |   nothing planned
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal['exp', 'linear', 'ones', 'zeros']


@functools.lru_cache(maxsize=256)
def prefix_weights(
    horizon: int,
    start: int,
    end: int,
    schedule: Schedule = 'exp',
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = 'cpu',
) -> Tensor:
    """
    Return the weight of each row, W [H] (RTC, arXiv 2506.07339, equation 5). Not to be modified.

    Where `end` is smaller than `start`, `end` wins: no row from `end` on has weight.

    Args:
        horizon: Rows of the chunk.
        start: Rows that will be executed from the old plan, weight 1.
        end: First row of weight 0.
        schedule: How the weight falls between `start` and `end`; see above.
        dtype: Type of the answer.
        device: Device of the answer.
    """
    start = min(start, end)
    row = torch.arange(horizon, dtype=torch.float64)
    if schedule == 'ones':
        weights = torch.ones(horizon, dtype=torch.float64)
    elif schedule == 'zeros':
        weights = (row < start).double()
    else:
        weights = ((end - row) / (end - start + 1)).clamp(0, 1)
        if schedule == 'exp':
            weights = weights * weights.expm1() / math.expm1(1)
    return (weights * (row < end)).to(device, dtype)
