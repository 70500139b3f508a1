# SPDX-License-Identifier: Apache-2.0
"""Latency on purpose: how long shall the policy seem to compute? One string says it all."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from async_chunking.errors import AsyncChunkingError

FORMS = {
    '120': 'always 120 ms',
    '120±30 (or 120+-30)': 'normal, mean 120 ms, standard deviation 30 ms, never below 0',
    'uniform:90:150': 'uniform between 90 and 150 ms',
    'spiky:120:500:0.1': '120 ms, but 500 ms for one chunk in ten',
}


class LatencyError(AsyncChunkingError):
    """A latency was written in a way that is not understood."""


@dataclass(frozen=True)
class Latency:
    """A distribution of response times: uniform base, normal noise, rare spikes.

    Attributes:
        low: Least base [s].
        high: Largest base, at least `low` [s].
        deviation: Standard deviation of the noise [s].
        spike: Response time of a spike [s].
        spike_share: Share of the chunks that are spikes, 0 to 1.
    """

    low: float = 0.0
    high: float = 0.0
    deviation: float = 0.0
    spike: float = 0.0
    spike_share: float = 0.0

    def draw(self, rng: np.random.Generator) -> float:
        """Return the response time of one chunk [s]."""
        if rng.random() < self.spike_share:
            return self.spike
        base = rng.uniform(self.low, self.high) + self.deviation * rng.standard_normal()
        return max(base, 0.0)

    @property
    def typical(self) -> float:
        """Mean of the base [s]."""
        return (self.low + self.high) / 2.0


def parse_latency(text: str | float) -> Latency:
    """Return the latency that a string describes, in milliseconds; see `FORMS`.

    Raises:
        LatencyError: It is written in no known form, or a number is out of range.
    """
    text = str(text).strip()
    name, *arguments = text.split(':') if ':' in text else ('', *re.split(r'±|\+-', text))
    try:
        numbers = [float(argument) for argument in arguments]
    except ValueError:
        raise LatencyError(_refusal(text)) from None
    if not all(0.0 <= number < math.inf for number in numbers):
        raise LatencyError(_refusal(text))
    match name, numbers:
        case '', [value]:
            return Latency(value / 1e3, value / 1e3)
        case '', [value, deviation]:
            return Latency(value / 1e3, value / 1e3, deviation=deviation / 1e3)
        case 'uniform', [low, high] if low <= high:
            return Latency(low / 1e3, high / 1e3)
        case 'spiky', [value, spike, share] if share <= 1.0:
            return Latency(value / 1e3, value / 1e3, spike=spike / 1e3, spike_share=share)
    raise LatencyError(_refusal(text))


def _refusal(text: str) -> str:
    forms = '; '.join(f'{form}: {meaning}' for form, meaning in FORMS.items())
    return f"latency_ms '{text}' is not understood, in milliseconds write one of: {forms}"
