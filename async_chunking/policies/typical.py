# SPDX-License-Identifier: Apache-2.0
"""Made-up observations like those that a policy was trained on, where no real ones are at hand."""

from __future__ import annotations

import torch

from async_chunking.policies.base import Observation
from async_chunking.policies.network import NetworkPolicy


def typical_observations(
    policy: NetworkPolicy, count: int, generator: torch.Generator
) -> Observation:
    """
    Return observations [count, ...], each feature drawn from its own mean and spread.

    Features are drawn independently of each other, so that a whole observation may be one that
    never occurs.
    """
    scales = policy.normalizer.statistics.features
    drawn = {}
    for name, size in policy.architecture.observation:
        noise = torch.randn((count, size), generator=generator)
        drawn[name] = torch.tensor(scales[name].offset) + torch.tensor(scales[name].scale) * noise
    return drawn
