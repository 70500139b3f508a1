# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked for, commands keep the limits; a plan that keeps them is not touched.

The judge here shares nothing with the gate: plain differences of the commands over one period.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from async_chunking.gate import Gate
from async_chunking.safety import Limits
from tools.gate import Attack, exceeded

PERIOD = 0.02
LIMITS = Limits([-1.0, -2.0], [1.0, 2.0], [3.0, 1.0], [5.0, 10.0], [300.0, np.inf])
# panda_joint6 of moveit_resources at 50 Hz, and a joint of the FR3 at 500 Hz.
PANDA = Limits([-0.0175], [3.7525], [2.61], [5.0], [300.0])
FR3 = Limits([-2.7], [2.7], [2.62], [10.0], [5000.0])


def run(gate: Gate, targets: np.ndarray) -> np.ndarray:
    """Return the commands [T + 1, D] for targets [T, D], the start included."""
    commands = [gate.position]
    for before, target in zip(np.vstack([targets[:1], targets[:-1]]), targets, strict=True):
        commands.append(gate.follow(target, target - before))
    return np.array(commands)


def at_rest(commands: np.ndarray) -> np.ndarray:
    """Return commands with three more of the first in front."""
    return np.concatenate([np.repeat(commands[:1], 3, axis=0), commands])


# --- limits ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
@example(0, True)
def test_no_sequence_of_orders_breaks_a_limit(seed: int, narrow: bool) -> None:
    attack = Attack(seed, joints=20, narrow=narrow)
    with np.errstate(all='raise', under='ignore'):
        worst = attack.run(200)
    assert (worst <= 1.0).all(), worst.max(axis=1)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_brakes(value: float) -> None:
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.0, 0.0])
    run(gate, np.arange(20)[:, None] * np.full(2, 0.004))
    other = Gate(LIMITS, PERIOD)
    other.start([0.0, 0.0])
    run(other, np.arange(20)[:, None] * np.full(2, 0.004))
    for _ in range(30):
        told = gate.follow(np.array([value, 0.1]), np.zeros(2))
        np.testing.assert_allclose(told, other.brake(), atol=1e-12)
    np.testing.assert_array_equal(gate.velocity, 0.0)


@pytest.mark.parametrize('advance', [np.nan, np.inf, 1e308, -1e308])
@pytest.mark.parametrize('target', [1e6, -1e308, 1e308, 0.3])
def test_numbers_of_any_size_stay_within_the_limits(target: float, advance: float) -> None:
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.5, 0.0])
    with np.errstate(all='raise', under='ignore'):
        commands = [gate.position]
        for k in range(200):
            commands.append(
                gate.follow(np.full(2, target), np.full(2, advance), np.full(2, -advance))
                if k % 3 else gate.follow(np.full(2, -target), np.full(2, 1e3))
            )  # fmt: skip
    assert not exceeded(at_rest(np.array(commands)), LIMITS, PERIOD).any()


def test_a_start_that_is_no_number_is_refused() -> None:
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.3, 0.1])
    for wrong in ([np.nan, 0.0], [np.inf, 0.0], [0.0, -1e300]):
        with pytest.raises(ValueError, match='cannot start at'):
            gate.start(wrong)
    with pytest.raises(ValueError, match='cannot start at'):
        gate.start([0.0, 0.0], np.nan)
    np.testing.assert_array_equal(gate.brake(), [0.3, 0.1])


@pytest.mark.parametrize('start', [1.2, -1.5, 50.0])
def test_a_start_outside_the_limits_comes_back_and_no_rate_is_broken(start: float) -> None:
    gate = Gate(LIMITS, PERIOD)
    gate.start(np.array([start, 0.0]))
    commands = run(gate, np.full((1200, 2), 0.5))
    for order, most in enumerate((LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk), start=1):
        rates = np.abs(np.diff(at_rest(commands), n=order, axis=0)) / PERIOD**order
        assert (rates <= most * (1.0 + 1e-6) + 1e-7).all()
    away = np.abs(commands[:, 0] - np.clip(commands[:, 0], -1.0, 1.0))
    assert (np.diff(away) <= 1e-12).all()
    np.testing.assert_allclose(commands[-1], 0.5)


@pytest.mark.parametrize('jerk', [50.0, 300.0, np.inf])
@pytest.mark.parametrize('start', [-0.5, -0.05, 0.5, 1.0])
def test_a_start_far_outside_a_narrow_range_does_not_leave_it_on_the_other_side(
    start: float, jerk: float
) -> None:
    gate = Gate(Limits([0.0], [0.02], [20.0], [100.0], [jerk]), 1.0 / 30.0)
    gate.start(np.array([start]))
    commands = run(gate, np.full((500, 1), 0.01))
    away = np.abs(commands - np.clip(commands, 0.0, 0.02))
    assert (np.diff(away, axis=0) <= 1e-12).all()
    assert commands.max() <= max(start, 0.02) + 1e-9
    assert commands.min() >= min(start, 0.0) - 1e-9
    np.testing.assert_allclose(commands[-1], 0.01)


def test_unknown_limits_are_no_limits() -> None:
    gate = Gate(Limits([-np.inf], [np.inf], [np.inf], [np.inf]), PERIOD)
    assert gate.follow(np.array([123.0]), np.array([0.0]))[0] == 123.0


# --- plans inside the limits -------------------------------------------------------------------


def wave(limits: Limits, period: float, joint: int = 0) -> np.ndarray:
    """Return a plan [T, 1] that uses 99 % of the jerk limit of a joint, and of some other."""
    ticks = np.arange(round(4.0 / period))
    middle = (limits.lower[joint] + limits.upper[joint]) / 2.0
    omega = 0.99 * limits.jerk[joint] / limits.acceleration[joint]
    size = min(0.99 * limits.acceleration[joint] / omega**2, 0.99 * limits.velocity[joint] / omega)
    # From rest: the amplitude grows by a smooth step of many periods.
    x = np.clip(ticks * period / 3.0, 0.0, 1.0)
    grown = x**3 * (10.0 - 15.0 * x + 6.0 * x * x)
    return (middle + size * grown * np.sin(omega * ticks * period))[:, None]


@pytest.mark.parametrize(('limits', 'period'), [(PANDA, 0.02), (FR3, 0.002)])
def test_a_plan_that_uses_all_of_the_jerk_passes_unchanged(limits: Limits, period: float) -> None:
    plan = wave(limits, period)
    assert not exceeded(plan, limits, period).any()
    jerk = np.abs(np.diff(plan, n=3, axis=0)).max() / period**3
    assert jerk > 0.6 * limits.jerk[0]
    gate = Gate(limits, period)
    gate.start(plan[0])
    steps = np.diff(plan, axis=0)
    commands = [
        gate.follow(target, before, then)
        for target, before, then in zip(plan[1:-1], steps, steps[1:], strict=False)
    ]
    np.testing.assert_allclose(commands, plan[1:-1], rtol=0.0, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(56)  # A hair's breadth beside the plan, where that is at its limit.
@example(114328369)
@example(2009765319)  # 1.1e-9 rad beside it, at a joint's limit.
@example(789798944)
def test_what_one_gate_gave_another_lets_pass(seed: int) -> None:
    """So wild a stream as can be within limits: full acceleration, full jerk, at the limits."""
    rng = np.random.default_rng(seed)
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.0, 0.0])
    targets = np.repeat(rng.normal(0.0, 2.0, (20, 2)), rng.integers(1, 30, 20), axis=0)
    plan = run(gate, targets)
    again = Gate(LIMITS, PERIOD)
    again.start([0.0, 0.0])
    steps = np.diff(plan, axis=0)
    for target, before, then in zip(plan[1:], steps, steps[1:], strict=False):
        command = again.follow(target, before, then)
        # Rounding at a limit, where the guard is asked, is taken up by later ticks.
        np.testing.assert_allclose(command, target, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize('jerk', [np.inf, 300.0, 30.0])
@pytest.mark.parametrize('size', [0.01, 0.5])
def test_a_jump_is_caught_up_without_overshoot_in_about_the_least_time(
    jerk: float, size: float
) -> None:
    gate = Gate(Limits([-1.0], [1.0], [np.inf], [5.0], [jerk]), PERIOD)
    gate.start([0.0])
    commands = run(gate, np.full((200, 1), size))[:, 0]
    assert commands.max() <= size + 1e-9
    # Bang-bang with a ramp of jerk at both ends and, twice as high, in the middle.
    ramp = 5.0 / jerk if np.isfinite(jerk) else 0.0
    least = (4.0 * size / 5.0 + ramp**2) ** 0.5 + ramp
    if 2.0 * (size / (2.0 * jerk)) ** (1.0 / 3.0) * 2.0 > least:  # It never gets to 5 rad/s^2.
        least = 4.0 * (size / (2.0 * jerk)) ** (1.0 / 3.0)
    assert np.argmax(np.abs(commands - size) < 1e-6) * PERIOD <= 1.1 * least + 4.0 * PERIOD


def test_a_takeover_between_two_plans_ends_on_the_new_one() -> None:
    ticks = np.arange(400)[:, None]
    old = 0.3 * (1.0 - np.cos(2.0 * ticks * PERIOD)) * np.ones(2)
    new = old + 0.05
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.0, 0.0])
    commands = run(gate, np.where(ticks < 150, old, new))
    assert not exceeded(at_rest(commands), LIMITS, PERIOD).any()
    np.testing.assert_allclose(commands[-100:], new[-100:], atol=1e-9)


# --- rest, silence, loss -----------------------------------------------------------------------


def test_braking_covers_the_known_distance() -> None:
    gate = Gate(Limits([-9.0], [9.0], [3.0], [5.0]), PERIOD)
    gate.start([0.0])
    run(gate, np.arange(100)[:, None] * 0.02)  # 1 rad/s.
    assert gate.velocity[0] == pytest.approx(1.0)
    before = gate.position[0]
    for _ in range(20):
        gate.brake()
    assert gate.velocity[0] == 0.0
    # 0.02 rad per tick falls by 0.002 each tick: 0.018 + 0.016 + ... + 0.002.
    assert gate.position[0] - before == pytest.approx(0.09)


@pytest.mark.parametrize('missed', [1, 3, 10, 50, 10**9])
def test_after_a_silence_it_goes_on_at_the_speed_that_a_braking_robot_kept(missed: int) -> None:
    gate = Gate(Limits([-9.0], [9.0], [3.0], [10.0]), PERIOD)
    gate.start([0.0])
    plan = np.arange(200)[:, None] * 0.04  # 2 rad/s: at rest after ten ticks.
    last = run(gate, plan)[-1]
    gate.silence(missed)
    kept = max(2.0 - missed * 10.0 * PERIOD, 0.0)
    assert gate.velocity[0] == pytest.approx(kept)
    command = gate.follow(plan[-1] + 1.0, np.array([0.04]))
    assert (command - last)[0] / PERIOD == pytest.approx(kept + 10.0 * PERIOD)


def test_a_command_that_was_lost_counts_as_never_given() -> None:
    gate = Gate(LIMITS, PERIOD)
    gate.start([0.0, 0.0])
    run(gate, np.arange(20)[:, None] * np.full(2, 0.004))
    position, velocity = gate.position, gate.velocity
    gate.follow(np.ones(2), np.zeros(2))
    gate.lost()
    np.testing.assert_array_equal(gate.position, position)
    assert (np.abs(gate.velocity) < np.abs(velocity)).all()


def test_a_command_that_one_driver_of_two_did_not_get() -> None:
    gates = [Gate(LIMITS, PERIOD) for _ in range(3)]
    for gate, lost in zip(gates, (None, [True, True], [True, False]), strict=True):
        gate.start([0.0, 0.0])
        run(gate, np.arange(20)[:, None] * np.full(2, 0.004))
        gate.follow(np.ones(2), np.zeros(2))
        if lost:
            gate.lost(np.array(lost))
    sent, taken_back, half = ([gate.position, gate.velocity] for gate in gates)
    np.testing.assert_array_equal(half, np.where([True, False], taken_back, sent))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ([1.0], [0.0], [1.0], [1.0]),
            'joint 0: lower 1.0 must be 1e-09 or more below upper 0.0',
        ),
        (([0.0], [1.0], [0.0], [1.0]), r'limits.velocity must be at least 1e-09, got \[0.0\]'),
        (([0.0], [1.0], [1.0], [1e-300]), r'limits.acceleration must be at least 1e-09, got'),
        (([0.0], [1.0], [1.0], [1.0], [5e-324]), r'limits.jerk must be at least 1e-09, got'),
        (([0.0], [1e-300], [1.0], [1.0]), 'joint 0: lower 0.0 must be 1e-09 or more below upper'),
        (([2e9], [np.inf], [1.0], [1.0]), r'joint 0: .* between -1e\+09 and 1e\+09'),
        (([0.0], [1.0], [1.0, 2.0], [1.0]), 'limits.velocity must hold 1 numbers'),
        (([0.0], [1.0], [1.0], [np.nan]), 'limits.acceleration must hold 1 numbers'),
    ],
)
def test_impossible_limits_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(*arguments)
