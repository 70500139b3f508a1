# SPDX-License-Identifier: Apache-2.0
"""
Delay estimators: which delay should the next request be conditioned on?

All take measured request-to-takeover times in seconds and forget what leaves their window, so that
one slow start does not spoil the run. `to_steps` turns the estimate into policy steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque

import numpy as np


def to_steps(seconds: float, policy_rate_hz: float) -> int:
    """Return the policy steps that `seconds` cover, rounded up: a late step is a missed one."""
    return math.ceil(seconds * policy_rate_hz - 1e-6)


def lasts(delay: int, execution_horizon: int, horizon: int) -> bool:
    """Return whether a chunk has rows until the next one takes over: s + d <= H [steps]."""
    return execution_horizon + delay <= horizon


def feasible(delay: int, execution_horizon: int, horizon: int) -> bool:
    """Return whether one chunk at a time is on its way, and lasts: d <= s <= H - d [steps]."""
    return delay <= execution_horizon and lasts(delay, execution_horizon, horizon)


class DelayEstimator(ABC):
    """
    Estimates the delay of the next chunk from those of the last ones.

    Args:
        window: Samples that are remembered.
        initial: Estimate before the first sample [s].

    Raises:
        ValueError: `window` is below 1, or `initial` is negative or not finite.
    """

    def __init__(self, window: int = 10, initial: float = 0.0) -> None:
        if window < 1:
            msg = f'window must be at least 1, got {window}'
            raise ValueError(msg)
        if not (0.0 <= initial < math.inf):
            msg = f'initial must be finite and >= 0, got {initial}'
            raise ValueError(msg)
        self._initial = initial
        self._samples: deque[float] = deque(maxlen=window)

    def add(self, seconds: float) -> None:
        """
        Remember one measured delay [s].

        Raises:
            ValueError: It is negative or not finite.
        """
        if not (0.0 <= seconds < math.inf):
            msg = f'a delay must be finite and >= 0, got {seconds}'
            raise ValueError(msg)
        self._samples.append(seconds)

    def reset(self) -> None:
        """Forget every sample."""
        self._samples.clear()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def estimate(self) -> float:
        """Delay to expect [s]."""
        return self._estimate(np.asarray(self._samples)) if self._samples else self._initial

    @abstractmethod
    def _estimate(self, samples: np.ndarray) -> float:
        """Return the estimate [s] from samples [n], oldest first."""


class WindowMaximum(DelayEstimator):
    """Largest of the window: what RTC (Algorithm 1, buffer of 10) and REMAC condition on."""

    def _estimate(self, samples: np.ndarray) -> float:
        return float(samples.max())


class WindowQuantile(DelayEstimator):
    """
    Quantile of the window, for latencies with rare spikes.

    Args:
        quantile: In [0, 1].
    """

    def __init__(self, window: int = 50, initial: float = 0.0, quantile: float = 0.95) -> None:
        super().__init__(window, initial)
        if not 0.0 <= quantile <= 1.0:
            msg = f'quantile must be in [0, 1], got {quantile}'
            raise ValueError(msg)
        self._quantile = quantile

    def _estimate(self, samples: np.ndarray) -> float:
        return float(np.quantile(samples, self._quantile, method='higher'))


class Ewma(DelayEstimator):
    """
    Exponentially weighted moving average plus a multiple of the same average's deviation.

    Args:
        weight: Weight of the newest sample, in (0, 1].
        deviations: Standard deviations added on top.
    """

    def __init__(
        self, window: int = 50, initial: float = 0.0, weight: float = 0.2, deviations: float = 2.0
    ) -> None:
        super().__init__(window, initial)
        if not 0.0 < weight <= 1.0:
            msg = f'weight must be in (0, 1], got {weight}'
            raise ValueError(msg)
        self._weight = weight
        self._deviations = deviations

    def _estimate(self, samples: np.ndarray) -> float:
        weights = (1.0 - self._weight) ** np.arange(len(samples))[::-1]
        weights /= weights.sum()
        mean = weights @ samples
        return float(mean + self._deviations * math.sqrt(weights @ (samples - mean) ** 2))


ESTIMATORS: dict[str, type[DelayEstimator]] = {
    'maximum': WindowMaximum,
    'quantile': WindowQuantile,
    'ewma': Ewma,
}
