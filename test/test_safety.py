# SPDX-License-Identifier: Apache-2.0
"""No sequence of targets gets a command past a limit, and a plan inside them is not touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_chunking.safety import Limiter, Limits

PERIOD = 0.02
LIMITS = Limits([-1.0, -2.0], [1.0, 2.0], [3.0, 1.0], [5.0, 10.0])


def run(limiter: Limiter, targets: np.ndarray) -> np.ndarray:
    """Return the commands [T + 1, D] for targets [T, D], the start included."""
    commands = [limiter.position]
    for before, target in zip(np.vstack([targets[:1], targets[:-1]]), targets, strict=True):
        commands.append(limiter.follow(target, target - before))
    return np.array(commands)


def assert_within(commands: np.ndarray, limits: Limits, period: float) -> None:
    """Assert position, velocity and acceleration limits on commands [T, D] that begin at rest."""
    velocity = np.diff(commands, axis=0, prepend=commands[:1]) / period
    acceleration = np.diff(velocity, axis=0) / period
    slack = 1e-9
    assert (commands >= limits.lower - slack).all()
    assert (commands <= limits.upper + slack).all()
    assert (np.abs(velocity) <= limits.velocity + slack).all()
    assert (np.abs(acceleration) <= limits.acceleration * (1.0 + 1e-9) + slack).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.3, 10.0]))
def test_any_target_stays_within_the_limits(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    targets = np.repeat(rng.normal(0.0, size, (40, 2)), rng.integers(1, 30, 40), axis=0)
    limiter = Limiter(LIMITS, PERIOD)
    limiter.start(rng.uniform(LIMITS.lower, LIMITS.upper))
    assert_within(run(limiter, targets), LIMITS, PERIOD)


def test_a_lying_advance_cannot_break_a_limit() -> None:
    rng = np.random.default_rng(0)
    limiter = Limiter(LIMITS, PERIOD)
    commands = [limiter.position]
    for _ in range(2000):
        commands.append(limiter.follow(rng.normal(0.0, 2.0, 2), rng.normal(0.0, 1e6, 2)))
    assert_within(np.array(commands), LIMITS, PERIOD)


def test_a_plan_inside_the_limits_passes_unchanged() -> None:
    ticks = np.arange(500)[:, None]
    plan = 0.2 * (1.0 - np.cos(np.pi * ticks * PERIOD)) * np.ones(2)
    limiter = Limiter(LIMITS, PERIOD)
    commands = run(limiter, plan)[1:]
    np.testing.assert_allclose(commands, plan, atol=1e-12)


def test_a_jump_is_reached_without_overshoot_in_the_least_number_of_ticks() -> None:
    limiter = Limiter(Limits([-1.0], [1.0], [np.inf], [5.0]), PERIOD)
    commands = run(limiter, np.full((60, 1), 0.5))[:, 0]
    assert commands.max() <= 0.5
    # Bang-bang in discrete time: n(n+1) * a * dt^2 = 0.5 for a symmetric rise and fall.
    least = 2 * (np.sqrt(0.25 + 0.5 / (5.0 * PERIOD**2)) - 0.5)
    assert np.argmax(commands >= 0.5 - 1e-9) <= np.ceil(least) + 2


def test_braking_covers_the_known_distance() -> None:
    limiter = Limiter(Limits([-9.0], [9.0], [3.0], [5.0]), PERIOD)
    run(limiter, np.arange(100)[:, None] * 0.02)  # 1 rad/s.
    assert limiter.velocity[0] == pytest.approx(1.0)
    before = limiter.position[0]
    for _ in range(20):
        limiter.brake()
    assert limiter.velocity[0] == 0.0
    # 0.02 rad per tick falls by 0.002 each tick: 0.018 + 0.016 + ... + 0.002.
    assert limiter.position[0] - before == pytest.approx(0.09)


def test_jerk_is_limited_where_it_binds() -> None:
    limits = Limits([-9.0], [9.0], [3.0], [10.0], [500.0])
    limiter = Limiter(limits, PERIOD)
    commands = run(limiter, np.random.default_rng(1).normal(0.0, 1.0, (500, 1)))
    acceleration = np.diff(commands[:, 0], n=2) / PERIOD**2
    jerk = np.diff(acceleration) / PERIOD
    assert np.abs(acceleration).max() <= 5.0 + 1e-6  # 500 * 0.02 / 2.
    assert np.abs(jerk).max() <= 500.0 + 1e-4


def test_unknown_limits_are_infinite() -> None:
    limits = Limits([-np.inf], [np.inf], [np.inf], [np.inf])
    limiter = Limiter(limits, PERIOD)
    assert limiter.follow(np.array([123.0]), np.array([0.0]))[0] == 123.0


def test_a_start_outside_the_limits_comes_back_gently() -> None:
    limiter = Limiter(LIMITS, PERIOD)
    limiter.start(np.array([1.2, 0.0]))
    commands = run(limiter, np.full((200, 2), 0.5))
    acceleration = np.diff(commands, n=2, axis=0) / PERIOD**2
    assert (np.abs(acceleration) <= LIMITS.acceleration + 1e-6).all()
    np.testing.assert_allclose(commands[-1], 0.5)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (([1.0], [0.0], [1.0], [1.0]), 'limits of joint 0: lower 1.0 must be below upper 0.0'),
        (([0.0], [1.0], [0.0], [1.0]), r'limits.velocity must be positive, got \[0.0\]'),
        (([0.0], [1.0], [1.0, 2.0], [1.0]), 'limits.velocity must hold 1 numbers'),
        (([0.0], [1.0], [1.0], [np.nan]), 'limits.acceleration must hold 1 numbers'),
    ],
)
def test_impossible_limits_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(*arguments)
