# SPDX-License-Identifier: Apache-2.0
"""What a policy is given of a robot: streams that are new enough, and as much of their past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from async_chunking.cameras.reading import Picture
from async_chunking.errors import AsyncChunkingError
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.observations.sample import Sample
from async_chunking.robot.embodiment import Stream

Samples = Mapping[str, Sample | None]


class PolicyInputs:
    """
    Turns samples into an observation.

    Args:
        observations: Where the past is found.
        streams: Name -> stream of the robot.
        steps: How many samples of each stream the policy reads, one policy step apart.
        period_s: Length of a policy step [s].
        resizing: How pictures are scaled.
    """

    def __init__(
        self,
        observations: Observations,
        streams: Mapping[str, Stream],
        steps: int,
        period_s: float,
        resizing: str,
    ) -> None:
        self._observations = observations
        self._streams = streams
        self._steps = steps
        self._period_ns = period_s * 1e9
        self._resizing = resizing

    def values(self, samples: Samples, now_ns: int, max_age_s: float) -> dict[str, Any]:
        """
        Return the newest of each stream, as the policy gets it.

        Raises:
            AsyncChunkingError: Nothing usable was received, or too long ago; names the stream.
        """
        return {
            name: self._value(name, samples[name], now_ns, max_age_s) for name in self._streams
        }

    def with_past(self, name: str, value: Any, until_ns: int) -> Any:
        """
        Return all that the policy reads of a stream: [n, ...] if it reads the past.

        Where nothing was received yet, the oldest that was stands in.
        """
        if self._steps == 1 or isinstance(value, str):
            return value
        past = [value]
        for step in range(1, self._steps):
            sample = self._observations.newest_of(name, until_ns - round(step * self._period_ns))
            past.append(past[-1] if sample is None else self._content(sample))
        return np.stack(past[::-1])

    def ages(self, samples: Samples, now_ns: int) -> tuple[dict[str, float], float]:
        """Return the age of each sample, and the oldest of those that grow old [s]."""
        ages = {n: (now_ns - s.received_ns) * 1e-9 for n, s in samples.items() if s is not None}
        aging = [age for name, age in ages.items() if self._streams[name].kind != 'text']
        return ages, max(aging, default=float('nan'))

    def _value(self, name: str, sample: Sample | None, now_ns: int, max_age_s: float) -> Any:
        place = f'{name} ({self._observations.place(name) or "instruction"})'
        if sample is None:
            msg = f'{place} was not received: {self._observations.silence(name)}'
            raise AsyncChunkingError(msg)
        age = (now_ns - sample.received_ns) * 1e-9
        if age > max_age_s and self._streams[name].kind != 'text':
            why = self._observations.reasons.get(name, '')
            why = f': {why}' if why else ''
            msg = f'{place} is {age:.2f} s old, at most {max_age_s} s are allowed{why}'
            raise AsyncChunkingError(msg)
        try:
            return self._content(sample)
        except AsyncChunkingError as error:
            msg = f'{place}: {error}'
            raise AsyncChunkingError(msg) from None

    def _content(self, sample: Sample) -> Any:
        values = sample.values
        return values.pixels(self._resizing) if isinstance(values, Picture) else values
