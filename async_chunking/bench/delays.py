# SPDX-License-Identifier: Apache-2.0
"""How late chunks really come, and what the policy is told about it.

Two independent choices, after REMAC (appendix F), which perturbs what is told around a constant
delay; real links perturb the truth as well, and leave the telling to an estimator of past delays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from async_chunking.delay import ESTIMATORS
from async_chunking.errors import AsyncChunkingError

SPIKE_PROBABILITY = 0.1


class DelayModelError(AsyncChunkingError):
    """A delay model that does not exist, or no chunk could meet."""


def _keep(steps: int, largest: int, rng: np.random.Generator) -> int:
    del largest, rng  # Unused.
    return steps


def _fluctuate(steps: int, largest: int, rng: np.random.Generator) -> int:
    return int(np.clip(steps + rng.integers(-1, 2), 0, largest))


def _spike(steps: int, largest: int, rng: np.random.Generator) -> int:
    usual = _fluctuate(steps, largest, rng)
    return largest if rng.random() < SPIKE_PROBABILITY else usual


_Pattern = Callable[[int, int, np.random.Generator], int]

TRUTHS: dict[str, _Pattern] = {'constant': _keep, 'fluctuating': _fluctuate, 'spiky': _spike}
"""Pattern of the delays themselves, around `DelayModel.steps`."""

TELLINGS: dict[str, _Pattern | None] = {
    'exact': _keep,
    'noisy': _fluctuate,
    'spiky': _spike,
    **dict.fromkeys(ESTIMATORS),
}
"""What the policy is told: a pattern around the true delay, or an estimator of earlier ones."""


@dataclass(frozen=True)
class DelayModel:
    """Delays of one run.

    Attributes:
        steps: Nominal delay d [steps].
        truth: Key of `TRUTHS`: constant; fluctuating, one of d-1, d, d+1 each time; or spiky,
            fluctuating but in one of ten cases the largest that is feasible.
        told: Key of `TELLINGS`: exact, or the same two patterns around the true delay, or the
            estimate of a delay monitor that has seen all earlier delays of the run.

    Raises:
        DelayModelError: A key is unknown or `steps` is negative.
    """

    steps: int
    truth: str = 'constant'
    told: str = 'exact'

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise DelayModelError(f'a delay must be >= 0 steps, got {self.steps}')
        for name, choices in (('truth', TRUTHS), ('told', TELLINGS)):
            value = getattr(self, name)
            if value not in choices:
                raise DelayModelError(
                    f"delay {name} '{value}' is unknown. Choices: {', '.join(choices)}"
                )

    @property
    def label(self) -> str:
        """The label in tables: `4`, or `4 spiky, told maximum`."""
        truth = '' if self.truth == 'constant' else f' {self.truth}'
        told = '' if self.told == 'exact' else f', told {self.told}'
        return f'{self.steps}{truth}{told}'

    def draws(
        self, horizon: int, execution_horizon: int, rng: np.random.Generator
    ) -> Iterator[tuple[int, int]]:
        """Yield (true delay, told delay) [steps] of one chunk after the other, without end.

        None is below 0 or above the largest feasible delay, min(s, H - s); a robot that rests
        meanwhile may have a longer one, and then none is more than a step above that.
        """
        largest = largest_delay(horizon, execution_horizon)
        largest = largest if self.steps <= largest else self.steps + 1
        pattern = TELLINGS[self.told]
        # In steps instead of seconds: an estimate of steps is rounded up alike.
        estimator = (
            None if pattern is not None else ESTIMATORS[self.told](initial=float(self.steps))
        )
        while True:
            true = TRUTHS[self.truth](self.steps, largest, rng)
            if pattern is not None:
                yield true, pattern(true, largest, rng)
            elif estimator is not None:
                yield true, int(min(np.ceil(estimator.estimate - 1e-6), largest))
                estimator.add(float(true))


def largest_delay(horizon: int, execution_horizon: int) -> int:
    """Return the largest delay [steps] that is feasible: d <= s <= H - d."""
    return min(execution_horizon, horizon - execution_horizon)


def require_feasible(delay: int, execution_horizon: int, horizon: int, rests: bool) -> None:
    """Refuse what starves by design.

    Args:
        delay: d [steps].
        execution_horizon: s [steps].
        horizon: H [steps].
        rests: The robot rests while it waits for a chunk, so that any delay will do.

    Raises:
        DelayModelError: Not d <= s <= H - d, or s < 1; the message gives the feasible range.
    """
    low, high = (1, horizon) if rests else (max(1, delay), horizon - delay)
    if low > high:
        raise DelayModelError(
            f'delay {delay} is infeasible with horizon {horizon}: '
            f'no execution_horizon satisfies delay <= execution_horizon <= horizon - delay; '
            f'the largest feasible delay is {horizon // 2}, but for sync, which rests'
        )
    if not low <= execution_horizon <= high:
        raise DelayModelError(
            f'execution_horizon {execution_horizon} is infeasible with delay {delay} and horizon '
            f'{horizon}: it must be {low} to {high}'
            + ('' if rests else ' (delay <= execution_horizon <= horizon - delay)')
        )
