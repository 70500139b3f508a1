# SPDX-License-Identifier: Apache-2.0
"""The command thread on a clock that the test holds in its hand, without ROS."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from async_chunking.chunk import ActionChunk, ChunkRequest
from async_chunking.correctors import Corrector
from async_chunking.executor import Behaviour, Executor, ExecutorConfig, Phase, Step
from async_chunking.mergers.ensemble import Ensemble
from async_chunking.mergers.switch import Switch
from async_chunking.metrics.limit_use import limit_use
from async_chunking.nodes.command_loop import CommandLoop
from async_chunking.nodes.pacing import Due, Pace, SimPace, SteadyPace, prepare
from async_chunking.safety import Limits

PERIOD = 20_000_000
HOME = np.array([0.3, -0.2])
NEAR = np.array([0.05, 0.05])


class HandPace(Pace):
    """Ticks are due when the test says so."""

    def __init__(self) -> None:
        super().__init__(PERIOD)
        self.due: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.now = 0
        self.late = 0  # Of the next command [ns].
        self.jumped = False  # Before the next tick.
        self.silent = 0  # Ticks that really passed then.

    def now_ns(self) -> int:
        return self.now

    def wait(self, timeout: float) -> Due | None:
        try:
            missed = self.due.get(timeout=timeout)
        except queue.Empty:
            return None
        jumped, self.jumped = self.jumped, False
        self.now += PERIOD * (1 + missed)
        return Due(self.now, missed, jumped, self.silent)

    def hold(self, deadline_ns: int) -> None:
        self.now, self.late = deadline_ns + self.late, 0


class LoopBench:
    """Everything around the loop, and what came out of it."""

    def __init__(self, hold_timeout_s: float = 0.2) -> None:
        limits = Limits(np.full(2, -1.0), np.full(2, 1.0), np.full(2, 2.0), np.full(2, 10.0))
        config = ExecutorConfig(
            limits, ('a', 'b'), 16, 8, hold_timeout_s=hold_timeout_s, request_timeout_s=0.4
        )
        self.pace = HandPace()
        self.orders: queue.SimpleQueue = queue.SimpleQueue()
        naive = Behaviour('naive', Switch(), Corrector())
        self.loop = CommandLoop(config, naive, self.pace, self, self.listen)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.commands: list[np.ndarray] = []
        self.reports: list[tuple[int, Step, int]] = []
        self.emitted: list[int] = []
        self.requests: list[ChunkRequest] = []
        self.broken: Exception | None = None
        self.unreached = np.zeros(2, dtype=bool)  # Joints whose drivers get nothing.

    def listen(self) -> None:
        while not self.orders.empty():
            self.orders.get()()

    def know(self, **facts) -> None:
        self.orders.put(lambda: setattr(self.loop, 'known', self.loop.known._replace(**facts)))

    def begin(self, most: np.ndarray, displaced: str = 'keep') -> None:
        """Begin a new run, and wait until it has."""
        before = self.loop.executor
        self.orders.put(lambda: self.loop.begin(most, displaced))
        self.until(lambda: self.loop.executor is not before)

    def stop(self) -> None:
        self.orders.put(self.loop.rest)
        self.thread.join(timeout=20.0)
        assert not self.thread.is_alive()

    def prepare(self, step: Step) -> None:
        self.ready = step

    def command(self, step: Step) -> np.ndarray | None:
        assert step is self.ready
        if self.broken:
            raise self.broken
        driven = np.where(self.unreached, np.nan, step.command)
        self.commands.append(driven)
        return self.unreached if self.unreached.any() else None

    def report(self, step, deadline_ns, emitted_ns, loop) -> None:
        self.emitted.append(emitted_ns)
        self.reports.append((loop.executor.run_id, step, deadline_ns))

    def ask(self, request: ChunkRequest) -> None:
        self.requests.append(request)

    def tick(self, count: int = 1, missed: int = 0) -> None:
        """Let ticks be due and wait until they were done."""
        for _ in range(count):
            want = len(self.reports) + 1 + missed
            self.pace.due.put(missed)
            self.until(lambda want=want: len(self.reports) >= want)

    @staticmethod
    def until(holds) -> None:
        deadline = time.monotonic() + 30.0
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def answer(self, actions: np.ndarray) -> None:
        request = self.requests[-1]
        chunk = ActionChunk(request.run_id, request.request_id, request.tick, actions)
        self.deliver(chunk)

    def deliver(self, chunk: ActionChunk) -> None:
        self.orders.put(lambda: self.loop.deliver(chunk))


@pytest.fixture
def bench() -> Iterator[LoopBench]:
    bench = LoopBench()
    bench.know(pose=HOME)
    bench.thread.start()
    yield bench
    bench.loop._halted = True
    bench.thread.join(timeout=10.0)


def test_nothing_is_sent_before_a_pose_was_measured():
    bench = LoopBench()
    bench.thread.start()
    for _ in range(3):
        bench.pace.due.put(0)
    bench.until(bench.pace.due.empty)
    assert bench.loop.executor is None
    bench.stop()
    assert (bench.commands, bench.reports) == ([], [])


def test_every_tick_has_one_command_and_one_report_on_the_grid(bench):
    bench.tick(20)
    assert len(bench.commands) == len(bench.reports) == 20
    assert [step.tick for _, step, _ in bench.reports] == list(range(20))
    assert set(np.diff([deadline for _, _, deadline in bench.reports])) == {PERIOD}
    np.testing.assert_array_equal(bench.commands, np.tile(HOME, (20, 1)))


def test_a_missed_tick_is_reported_but_not_sent_afterwards(bench):
    bench.tick(3)
    bench.tick(missed=4)
    steps = [step for _, step, _ in bench.reports]
    assert [step.tick for step in steps] == list(range(8))
    assert [step.missed for step in steps] == [False] * 3 + [True] * 4 + [False]
    assert set(np.diff([deadline for _, _, deadline in bench.reports])) == {PERIOD}
    assert len(bench.commands) == 4
    assert bench.loop.counters['missed_ticks'] == 4


def test_a_chunk_takes_over_and_a_strategy_changes_with_the_next(bench):
    bench.tick(2)
    bench.answer(np.tile(HOME + 0.1, (16, 1)))
    bench.loop.behaviour = Behaviour('ensemble', Ensemble(), Corrector())
    bench.tick()
    assert bench.reports[-1][1].took_over
    assert bench.loop.executor.behaviour.name == 'naive'
    bench.tick(8)
    assert bench.requests[-1].strategy == 'ensemble'
    assert bench.loop.executor.behaviour.name == 'naive'
    bench.answer(np.tile(HOME + 0.1, (16, 1)))
    bench.tick()
    assert bench.loop.executor.behaviour.name == 'ensemble'


def test_the_delay_estimate_conditions_the_next_request(bench):
    bench.tick()
    bench.answer(np.tile(HOME, (16, 1)))
    bench.know(delay=5)
    bench.tick(9)
    assert bench.requests[-1].boundary.delay == 5


def test_a_reset_goes_on_from_the_last_command(bench):
    bench.tick()
    bench.answer(np.tile(HOME + 0.2, (16, 1)))
    bench.tick(40)
    last = bench.commands[-1]
    assert bench.reports[-1][1].phase is Phase.STOPPED
    bench.know(pose=last + 0.04)  # Sagging, but near.
    first_run = bench.loop.executor.run_id
    bench.begin(NEAR)
    run_id = bench.loop.executor.run_id
    assert run_id != first_run
    bench.tick()
    np.testing.assert_array_equal(bench.commands[-1], last)
    assert bench.reports[-1][0] == run_id
    assert (bench.reports[-1][1].tick, bench.requests[-1].request_id) == (0, 1)
    assert bench.loop.counters['accepted'] == 1  # Counts of earlier runs are kept.


def test_a_reset_of_a_robot_that_was_moved_does_as_it_is_told_and_jumps_only_in_simulation(bench):
    bench.tick()
    moved = HOME + np.array([0.0, 0.3])
    bench.know(pose=moved)
    bench.begin(NEAR)
    bench.tick()
    np.testing.assert_array_equal(bench.commands[-1], HOME)
    bench.begin(NEAR, 'follow')
    bench.tick(40)
    np.testing.assert_allclose(bench.commands[-1], moved)
    assert np.abs(np.diff(bench.commands, n=2, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12
    assert not any(step.teleported for _, step, _ in bench.reports)
    bench.know(pose=HOME)
    bench.begin(NEAR, 'teleport')
    bench.tick(2)
    np.testing.assert_array_equal(bench.commands[-2], HOME)
    assert [step.teleported for _, step, _ in bench.reports[-2:]] == [True, False]


@pytest.mark.parametrize('pose', [np.full(2, 1e6), np.full(2, np.nan), np.array([0.0, 2.9])])
@pytest.mark.parametrize('displaced', ['keep', 'follow'])
def test_no_false_pose_makes_a_reset_jump(bench, pose, displaced):
    bench.tick(3)
    bench.orders.put(bench.loop.brake)
    bench.tick(3)
    bench.know(pose=pose)
    bench.begin(NEAR, displaced)
    bench.tick(30)
    motion = np.diff(bench.commands, axis=0)
    assert np.isfinite(motion).all()
    assert np.abs(np.diff(motion, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12
    assert np.abs(bench.commands).max() <= 1.0


def test_after_a_new_activation_the_stream_goes_on_from_the_last_command():
    first = LoopBench()
    first.thread.start()
    first.know(pose=HOME)
    first.tick(3)
    first.stop()
    second = LoopBench()
    second.loop.gate = first.loop.gate
    second.thread.start()
    second.know(pose=HOME + 0.04)
    second.tick(3)
    np.testing.assert_array_equal(second.commands, np.tile(HOME, (3, 1)))
    second.stop()


def test_a_chunk_of_the_run_before_is_turned_away(bench):
    bench.tick()
    late = bench.requests[-1]
    bench.begin(NEAR)
    bench.deliver(ActionChunk(late.run_id, 1, late.tick, np.tile(HOME, (16, 1))))
    bench.tick()
    assert bench.loop.counters['wrong_run'] == 1
    assert not bench.reports[-1][1].took_over


def test_a_flood_of_chunks_does_not_hold_a_tick_up(bench):
    bench.tick()
    request = bench.requests[-1]
    for _ in range(100):
        bench.deliver(ActionChunk(request.run_id, 77, request.tick, np.tile(HOME, (16, 1))))
    bench.tick()
    assert 0 < bench.loop.counters['unrequested'] < 100
    bench.tick(10)
    assert bench.loop.counters['unrequested'] == 100


def move(bench: LoopBench) -> None:
    """Let the robot be in the midst of a motion."""
    bench.tick()
    bench.answer(HOME + np.linspace(0.0, 0.5, 16)[:, None])
    bench.tick(6)
    assert np.abs(np.diff(bench.commands, axis=0)[-1]).max() > 0.01


def steps_of(bench: LoopBench) -> np.ndarray:
    """Return how far the command moves with each step: [n, D] [rad]."""
    return np.diff(bench.commands, axis=0)


def test_after_a_silence_the_robot_is_not_taken_to_be_moving_still(bench):
    move(bench)
    speed = np.abs(steps_of(bench)[-1])
    bench.tick(missed=30)
    assert (np.abs(steps_of(bench)[-1]) <= 10.0 * 0.02**2 + 1e-12).all()
    assert (speed > 10.0 * 0.02**2).any()


def test_what_was_computed_before_a_pause_is_not_sent_after_it(bench):
    move(bench)
    sent, last = len(bench.commands), bench.commands[-1]
    bench.pace.late = 30 * PERIOD
    bench.tick()
    assert len(bench.commands) == sent
    assert bench.reports[-1][1].missed
    np.testing.assert_array_equal(bench.reports[-1][1].command, last)
    bench.tick(missed=29)
    assert (np.abs(bench.commands[-1] - last) <= 10.0 * 0.02**2 + 1e-12).all()


def test_a_first_tick_that_is_not_sent_is_told_at_the_time_of_the_run():
    """Time 0 would read as a clock that was set."""
    bench = LoopBench()
    bench.pace.now, bench.pace.late = 7 * PERIOD, 30 * PERIOD
    bench.know(pose=HOME)
    bench.thread.start()
    bench.tick()
    assert bench.reports[-1][1].missed
    assert not bench.commands
    assert 7 * PERIOD <= bench.emitted[0] <= 8 * PERIOD
    bench.loop._halted = True
    bench.thread.join(timeout=10.0)


def test_a_clock_that_jumps_drops_the_plan_and_asks_again(bench):
    """The robot brakes as if nothing had been: a clock that is set is no pause."""
    move(bench)
    asked, sent = len(bench.requests), len(bench.commands)
    bench.pace.jumped = True
    bench.tick()
    assert bench.reports[-1][1].phase is Phase.WAITING_FIRST
    assert len(bench.requests) == asked + 1
    assert (bench.commands[-1] != bench.commands[sent - 1]).any()
    bench.tick(40)
    limits = bench.loop._config.limits
    figures = limit_use(np.array(bench.commands), 0.02, limits).figures()
    assert figures['exceeded'] == 0
    assert figures['acceleration_use'] > 0.9
    np.testing.assert_array_equal(bench.commands[-1], bench.commands[-2])
    assert bench.loop.counters['missed_ticks'] == 0


def test_after_a_long_pause_the_robot_is_at_rest(bench):
    move(bench)
    last = bench.commands[-1]
    bench.pace.jumped, bench.pace.silent = True, 100
    bench.tick()
    np.testing.assert_array_equal(bench.commands[-1], last)


def test_a_clock_that_jumps_does_not_leave_a_safe_stop(bench):
    move(bench)
    bench.orders.put(bench.loop.brake)
    bench.pace.jumped = True
    bench.tick(2)
    assert bench.reports[-1][1].phase is Phase.STOPPED


def test_a_reset_in_motion_stays_within_the_limits(bench):
    move(bench)
    bench.know(pose=bench.commands[-1] + 1.0)  # Far off, but moving: not believed.
    bench.begin(NEAR)
    bench.tick(30)
    motion = np.diff(bench.commands, axis=0)
    assert (motion[-1] == 0.0).all()
    assert np.abs(np.diff(motion, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12


def test_an_order_to_brake_is_not_kept_waiting_by_chunks_or_a_reset(bench):
    bench.tick()
    late = ActionChunk(1, 77, 0, np.tile(HOME, (16, 1)))
    for _ in range(300):
        bench.deliver(late)
    bench.orders.put(lambda: bench.loop.begin(NEAR, 'keep'))
    bench.orders.put(bench.loop.brake)
    bench.tick()
    assert bench.reports[-1][1].phase is Phase.STOPPED
    assert bench.loop.counters['flood'] == 300 - 256


def test_stop_at_a_slow_rate_brakes_too():
    bench = LoopBench()
    limits = Limits([-1.0], [1.0], [2.0], [10.0])
    config = ExecutorConfig(limits, ('a',), 16, 8, control_rate_hz=5.0, policy_rate_hz=5.0)
    naive = Behaviour('naive', Switch(), Corrector())
    bench.loop = CommandLoop(config, naive, SteadyPace(200_000_000), bench, bench.listen)
    bench.thread = threading.Thread(target=bench.loop.run, daemon=True)
    bench.know(pose=np.zeros(1))
    bench.thread.start()
    bench.until(lambda: bench.requests)
    bench.answer(np.minimum(0.1 * np.arange(16), 0.9)[:, None])
    bench.until(lambda: len(bench.commands) > 3 and bench.commands[-1][0] > 0.1)
    bench.stop()
    np.testing.assert_array_equal(bench.commands[-1], bench.commands[-2])


def test_stop_brings_a_moving_robot_to_rest_within_its_limits(bench):
    bench.tick()
    bench.answer(HOME + np.linspace(0.0, 0.5, 16)[:, None])
    bench.tick(6)
    assert np.abs(np.diff(bench.commands, axis=0)[-1]).max() > 0.01
    for _ in range(100):
        bench.pace.due.put(0)
    bench.stop()
    motion = np.diff(bench.commands, axis=0)
    assert (motion[-1] == 0.0).all()
    assert np.abs(np.diff(motion, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12


@pytest.mark.parametrize('unreached', [[True, True], [False, True]])
def test_after_an_outage_a_driver_goes_on_from_what_it_got(bench, unreached):
    """As of a bus, or of a middleware that refuses to send: in motion, for twelve ticks."""
    bench.tick()
    bench.answer(HOME + np.linspace(0.0, 0.5, 16)[:, None])
    bench.tick(6)
    got = bench.commands[-1]
    bench.unreached = np.array(unreached)
    bench.tick(12)
    bench.unreached = np.zeros(2, dtype=bool)
    bench.tick(30)
    commands = np.array(bench.commands[1:])
    lost, after = commands[6:18], commands[18:]
    assert (np.isnan(lost).all(axis=0) == unreached).all()
    np.testing.assert_array_equal(
        [step.missed for _, step, _ in bench.reports[7:19]], all(unreached)
    )
    # The driver, which got nothing for long, rests: the first step is one from rest.
    assert (np.abs(after[0] - got)[unreached] <= 10.0 * 0.02**2 + 1e-12).all()
    steps = np.diff(np.vstack([got, after])[:, np.array(unreached)], axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12
    reached = commands[:, ~np.array(unreached)]  # Goes on as if nothing had been.
    if reached.size:
        assert np.abs(np.diff(reached, n=2, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12


@pytest.mark.parametrize('joints', [True, np.array([True, False])])
def test_who_did_not_get_the_first_command_elsewhere_is_told_with_the_next(joints):
    limits = Limits([-1.0, -1.0], [1.0, 1.0], [2.0, 2.0], [10.0, 10.0])
    config = ExecutorConfig(limits, ('a', 'b'), 16, 8)
    behaviour = Behaviour('naive', Switch(), Corrector())
    executor = Executor(config, behaviour, 1, np.zeros(2), teleported=True)
    first = executor.step()
    assert first.teleported
    assert executor.withdraw(first, joints).teleported == (joints is not True)
    assert executor.step().teleported
    assert not executor.step().teleported


def test_stop_ends_though_the_clock_stands_still(bench):
    bench.tick(3)
    begin = time.monotonic()
    bench.stop()
    assert time.monotonic() - begin < 8.0


def test_an_error_in_the_thread_is_kept_for_the_node_to_tell(bench):
    bench.tick()
    bench.broken = OSError('no such bus')
    bench.pace.due.put(0)
    bench.until(lambda: bench.loop.error is not None)
    assert str(bench.loop.error) == 'no such bus'
    assert gc.isenabled()


def test_a_robot_in_motion_is_brought_to_rest_after_an_error(bench):
    move(bench)

    def fail(observation=None, step=bench.loop.executor.step):
        bench.loop.executor.step = step  # Once.
        raise RuntimeError('a bug')

    bench.loop.executor.step = fail
    before = len(bench.commands)
    for _ in range(100):
        bench.pace.due.put(0)
    bench.until(lambda: not bench.thread.is_alive())
    assert str(bench.loop.error) == 'a bug'
    motion = np.diff(bench.commands, axis=0)
    assert len(bench.commands) > before
    assert (motion[-1] == 0.0).all()
    assert np.abs(np.diff(motion, axis=0)).max() <= 10.0 * 0.02**2 + 1e-12


def test_steady_deadlines_do_not_drift_and_a_late_one_skips_whole_periods():
    pace = SteadyPace(2_000_000)
    pace.restart()
    first = pace.wait(1.0).deadline_ns
    for _ in range(20):
        time.sleep(0.001)
        last = pace.wait(1.0)
        assert (last.deadline_ns - first) % 2_000_000 == 0
        pace.hold(last.deadline_ns)
        assert pace.now_ns() >= last.deadline_ns
    time.sleep(0.011)
    late = pace.wait(1.0)
    assert late.missed >= 4
    assert late.deadline_ns == last.deadline_ns + (late.missed + 1) * 2_000_000


def test_after_a_jump_the_pace_says_how_long_it_really_was(monkeypatch):
    monkeypatch.setattr('async_chunking.nodes.pacing._JUMP_NS', 10_000_000)
    pace = SteadyPace(2_000_000)
    pace.restart()
    pace.wait(1.0)
    time.sleep(0.05)
    due = pace.wait(1.0)
    assert due.jumped
    assert due.missed == 0
    assert due.silent >= 20
    coming = iter((2_000_000, 4_000_000, 3_600_000_000_000))
    pace = SimPace(2_000_000, lambda timeout: next(coming))
    for _ in range(2):
        pace.wait(1.0)
    before = time.monotonic_ns()
    due = pace.wait(1.0)
    assert due.jumped
    assert due.silent <= (time.monotonic_ns() - before) // 2_000_000 + 10  # No hour.


def test_ticks_that_a_jump_swallowed_are_counted(monkeypatch):
    clock = SimpleNamespace(now=0, monotonic_ns=lambda: clock.now)
    monkeypatch.setattr('async_chunking.nodes.pacing.time', clock)
    pace = SteadyPace(PERIOD)
    pace.restart()
    clock.now = PERIOD
    assert pace.wait(1.0) == Due(PERIOD, 0)
    clock.now = 101 * PERIOD
    assert pace.wait(1.0) == Due(101 * PERIOD, 0, jumped=True, silent=99)


def test_a_steady_pace_comes_back_before_a_deadline_that_is_far():
    pace = SteadyPace(10_000_000_000)
    pace.restart()
    assert pace.wait(0.01) is None


def sim_pace(*times: int, period: int = 20) -> tuple[SimPace, list[Due | None]]:
    """Return a pace after it saw these times, and what it said."""
    coming = iter((*times, None))
    pace = SimPace(period, lambda timeout: next(coming))
    seen = [pace.wait(1.0) for _ in times]  # In no time, by the clock of the machine.
    return pace, [due and due._replace(silent=0) for due in seen]


def test_a_simulated_clock_sets_the_pace_and_may_be_set_back():
    pace, seen = sim_pace(100, 110, 120, 140, 205, 220, 7, 27, 47)
    assert seen == [
        None, None, Due(120, 0), Due(140, 0), Due(200, 2), Due(220, 0), None,
        Due(27, 0, jumped=True), Due(47, 0),
    ]  # fmt: skip
    assert pace.now_ns() == 47
    assert pace.wait(0.01) is None


@pytest.mark.parametrize('leap', [3600, 1_795_000_000])
def test_a_clock_that_is_set_forward_misses_no_tick(leap):
    period, there = PERIOD, leap * 1_000_000_000
    _, seen = sim_pace(100, 100 + period, there, there + period, period=period)
    assert seen == [
        None, Due(100 + period, 0), Due(there, 0, jumped=True), Due(there + period, 0),
    ]  # fmt: skip


def test_who_wishes_nothing_is_denied_nothing():
    denied = prepare(0, lock_memory=False)
    assert denied == []
