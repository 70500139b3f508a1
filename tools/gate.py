# SPDX-License-Identifier: Apache-2.0
"""`python -m tools gate`: attack the last gate with random orders, and judge what came out.

The judge is plain differences of the commands over one period; it shares nothing with the gate.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from async_chunking.gate import Gate
from async_chunking.safety import Limits

_JOINTS = 500  # Robots are attacked together: each joint has limits of its own.
_ROUND = 1000  # Steps of one set of limits.
_SIZES = (0.01, 1.0, 100.0, 1e30, 1e300)
_FIT = 1e-6  # Share of a limit that is rounding.
_UNIT = 2.0**-52


def exceeded(commands: np.ndarray, limits: Limits, period: float) -> np.ndarray:
    """
    Return which joints [4, D] broke position, velocity, acceleration and jerk limits.

    Args:
        commands: [T, D] one a period [rad, m].
        limits: Limits of the robot.
        period: [s].
    """
    shares = [np.full(commands.shape[1], -np.inf)] * 4
    with np.errstate(invalid='ignore'):
        for part in (commands[i : i + 4] for i in range(len(commands) - 3)):
            shares = np.fmax(shares, _shares(part, limits, period))
    return ~(np.array(shares) <= 1.0) | ~np.isfinite(commands).all(axis=0)


def _shares(last: np.ndarray, limits: Limits, period: float) -> np.ndarray:
    """Return the shares [4, D] of the limits that four commands in a row use."""
    half, middle = (limits.upper - limits.lower) / 2.0, (limits.upper + limits.lower) / 2.0
    shares = [np.abs(last[-1] - middle) / (half * (1.0 + _FIT))]
    rounding = 8.0 * _UNIT * np.abs(np.nan_to_num(last)).max(axis=0)
    for order, limit in enumerate((limits.velocity, limits.acceleration, limits.jerk), start=1):
        rate = np.abs(np.diff(last, n=order, axis=0)[-1]) - rounding
        shares.append(rate / (limit * period**order * (1.0 + _FIT)))
    return np.array(shares)


class Attack:
    """
    A gate, and an operator, a plan and a network that want the worst.

    Args:
        seed: Seed of the limits and of every order.
        joints: Each with limits of its own, unknown jerk among them.
        narrow: Ranges down to a few ticks of movement.
    """

    def __init__(self, seed: int, joints: int, narrow: bool) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self.period = float(rng.choice([0.05, 0.02, 0.01, 0.002]))
        jerk = 10.0 ** rng.uniform(0.5, 5.0, joints)
        jerk[rng.random(joints) < 0.2] = np.inf
        self._half = 10.0 ** rng.uniform(-2.0 if narrow else -0.5, 0.5, joints)
        self._middle = rng.normal(0.0, 1.0, joints)
        self.limits = Limits(
            self._middle - self._half,
            self._middle + self._half,
            10.0 ** rng.uniform(-1.0, 1.0, joints),
            10.0 ** rng.uniform(-0.5, 2.0, joints),
            jerk,
        )
        self.gate = Gate(self.limits, self.period)
        start = rng.uniform(self.limits.lower, self.limits.upper)
        self.gate.start(start)
        self._sent = np.repeat(start[None], 4, axis=0)  # What the driver got.
        self._target = start

    def run(self, steps: int) -> np.ndarray:
        """Return the largest shares [4, D] of position, velocity, acceleration and jerk limits."""
        worst = np.zeros((4, len(self.limits)))
        for _ in range(steps):
            self._step()
            shares = _shares(self._sent, self.limits, self.period)
            worst = np.fmax(worst, np.where(np.isfinite(self._sent[-1]), shares, np.inf))
        return worst

    def _step(self) -> None:
        kind = self._rng.random()
        if kind < 0.01:
            self._pause()
        elif kind < 0.02:
            self.gate.follow(*self._orders())
            self.gate.lost()
            self._sent[:3] = np.nan  # As after a pause of one tick.
        elif kind < 0.06:
            self._send(self.gate.brake())
        elif kind < 0.07:
            bad = self._rng.choice([np.nan, np.inf, -np.inf], len(self._target))
            self._send(self.gate.follow(bad, self._target))
        else:
            self._send(self.gate.follow(*self._orders()))

    def _pause(self) -> None:
        """Send nothing for so long that the robot rests, or for so short that it may not."""
        if self._rng.random() < 0.5:
            self.gate.silence(10**9)
            self._sent[:] = self._sent[-1]
        else:
            self.gate.silence(int(self._rng.integers(1, 20)))
            self._sent[:3] = np.nan  # Of its speed no judge knows more than its limit.

    def _send(self, command: np.ndarray) -> None:
        self._sent = np.concatenate([self._sent[1:], command[None]])

    def _orders(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a target, what it claims to have moved, and what it claims to move next."""
        rng, joints = self._rng, len(self._target)
        reach = self.limits.velocity * self.period
        size = rng.choice(_SIZES)
        wander = self._target + np.clip(rng.normal(0.0, 1.0, joints), -3.0, 3.0) * reach
        choices = [
            self._target,
            self._middle + rng.normal(0.0, 1.0, joints) * self._half * size,
            np.where(rng.random(joints) < 0.5, self.limits.lower, self.limits.upper),
            np.where(np.abs(wander - self._middle) < 2.0 * self._half, wander, self._middle),
        ]
        pick = np.where(rng.random(joints) < 0.05, rng.integers(1, 4, joints), 0)
        drift = (rng.random(joints) < 0.3) * 3
        self._target = np.choose(np.maximum(pick, drift), choices)
        advance = rng.normal(0.0, 1.0, joints) * reach * rng.choice([0.0, 0.5, 2.0, 1e300])
        return self._target, advance, advance * rng.choice([0.0, 1.0, -1.0])


def gate(
    steps: Annotated[float, typer.Option(min=1.0, help='Steps of a joint, all together.')] = 1e6,
    seed: Annotated[int, typer.Option(help='Seed of limits and orders.')] = 0,
) -> None:
    """Attack the last gate with random orders, resets, pauses and lost commands."""
    rounds = max(round(steps / (_JOINTS * _ROUND)), 1)
    worst = np.zeros(4)
    for number in range(rounds):
        attack = Attack(seed + number, _JOINTS, narrow=bool(number % 2))
        with np.errstate(all='raise', under='ignore'):
            worst = np.maximum(worst, attack.run(_ROUND).max(axis=1))
    words = ('position', 'velocity', 'acceleration', 'jerk')
    print(f'{rounds * _JOINTS * _ROUND:.3g} steps, largest share of a limit:')
    for word, share in zip(words, worst, strict=True):
        print(f'  {word}: {share:.9f}')
    if (worst > 1.0).any():
        raise typer.Exit(1)
