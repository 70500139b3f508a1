# SPDX-License-Identifier: Apache-2.0
"""How faults are judged, on logs with known answers; the mutations; the clock that is set."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from tools_command import invoke

from async_chunking.executor import Outcome
from async_chunking.safety import Limits
from tools.faults.done import Done
from tools.faults.log import Arrival, Log, SeenTakeover, SentCommand, paired
from tools.faults.mutation import mutate
from tools.faults.table import FAULTS, Fault
from tools.faults.verdict import FaultWindow, judge, on_the_wire
from tools.faults.wall_clock import WallClock, compiler

PERIOD = 20_000_000
LIMITS = Limits(np.array([-1.0]), np.array([1.0]), np.array([1.0]), np.array([10.0]))
COUNTERS = {o.name.lower() for o in Outcome} | {'unreadable', 'joint_states_faults'}


def nothing(scene, seconds) -> Done:
    """Does nothing."""
    return Done()


def make_log(ticks: int = 100, missed: tuple[int, ...] = (), jump_at: int = -1) -> Log:
    """Return a run at 0.5 rad/s from the pose 0, perhaps with a jump by 0.1 rad."""
    log = Log()
    position = 0.0
    for tick in range(ticks):
        if tick not in missed:
            position += 0.01 + 0.1 * (tick == jump_at)
            log.commands.append(np.array([position]))
        command = np.array([position], dtype=np.float32)
        log.steps.append(SentCommand(7, tick, 1, tick in missed, tick * PERIOD, command))
    return log


def verdict(log: Log, window: FaultWindow, fault: Fault | None = None, recorded=None):
    if recorded is None:
        recorded = {(step.run_id, step.tick) for step in log.steps}
    fault = fault or Fault(nothing)
    return judge(fault, window, log, on_the_wire(log), recorded, LIMITS, PERIOD)


def window(**changes) -> FaultWindow:
    return FaultWindow('nothing', start=10, end=50, stop=90, **changes)


def failed(judged) -> set[str]:
    return {name for name, holds in judged.checks.items() if not holds}


def test_a_calm_stream_passes() -> None:
    log = make_log()
    log.arrivals = [Arrival(7, 1), Arrival(7, 2)]
    log.takeovers = [SeenTakeover(8, 7, 1, 1), SeenTakeover(52, 7, 2, 2)]
    judged = verdict(log, window(arrived=1, asked=(7, 1)))
    assert judged.passed, failed(judged)
    assert (judged.ticks, judged.missed, judged.chunks, judged.recorded) == (80, 0, 1, 80)
    assert judged.velocity_use == pytest.approx(0.5)
    assert judged.acceleration_use == pytest.approx(0.0, abs=1e-9)
    assert judged.seconds == pytest.approx(0.04)


def test_a_jump_on_the_wire_is_found_even_over_a_missed_tick() -> None:
    log = make_log(missed=(30,))
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    judged = verdict(log, window())
    assert judged.missed == 1
    assert failed(judged) == {'at most 1 % missed'}
    log = make_log(missed=(30,), jump_at=31)
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    judged = verdict(log, window())
    assert 'within the limits' in failed(judged)
    assert judged.velocity_use == pytest.approx(0.5 + 0.1 / 0.02)


def test_a_jump_where_a_run_begins_is_found_unless_a_simulation_made_it() -> None:
    for teleported, expected in ((False, {'within the limits'}), (True, set())):
        log = make_log(jump_at=30)
        log.steps = [
            step._replace(run_id=8, tick=step.tick - 30, teleported=teleported and step.tick == 30)
            if step.tick >= 30 else step
            for step in log.steps
        ]  # fmt: skip
        # From rest, then: the first rows of the new run gather speed.
        for tick in range(30, 100):
            gathered = min(tick - 30, 2) * 0.004 if teleported else 0.01
            position = log.commands[tick - 1] + gathered + 0.1 * (tick == 30)
            log.commands[tick] = position
            log.steps[tick] = log.steps[tick]._replace(command=position.astype(np.float32))
        log.takeovers = [SeenTakeover(52, 8, 2, 0)]
        assert failed(verdict(log, window())) == expected


def test_a_command_that_is_no_number_is_found() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    log.commands[60] = np.array([np.nan])
    log.steps[60] = log.steps[60]._replace(command=np.array([np.nan], dtype=np.float32))
    assert failed(verdict(log, window())) == {'within the limits'}


def test_a_lost_or_repeated_command_is_found() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    log.commands.insert(60, log.commands[60])
    assert failed(verdict(log, window())) == {'one command per tick'}
    with pytest.raises(ValueError, match='do not fit together'):
        paired(log)


def test_discovery_may_cost_the_first_commands_or_steps() -> None:
    log = make_log()
    del log.commands[:3]
    steps, commands = paired(log)
    assert (steps[0].tick, len(commands)) == (3, 97)
    log = make_log()
    del log.steps[:5]
    steps, commands = paired(log)
    assert (steps[0].tick, float(commands[0][0])) == (5, pytest.approx(0.06))


def test_a_tick_that_is_absent_or_late_on_the_grid_is_found() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    del log.steps[40], log.commands[40]
    judged = verdict(log, window())
    assert 'every tick once and at its time' in failed(judged)
    assert judged.velocity_use == pytest.approx(1.0)  # As the robot saw it: two ticks in one.
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    log.steps[40] = log.steps[40]._replace(deadline_ns=log.steps[40].deadline_ns + 1)
    assert failed(verdict(log, window())) == {'every tick once and at its time'}


def test_only_chunks_asked_for_after_the_fault_count_for_going_on() -> None:
    log = make_log()
    # Requests 3 and 4 were made before it ended; 5 was refused, 6 took over.
    log.arrivals = [Arrival(7, i) for i in (3, 4, 5, 6)] + [Arrival(8, 1)]
    log.takeovers = [SeenTakeover(70, 7, 6, 4)]
    judged = verdict(log, window(arrived=0, asked=(7, 4)))
    assert judged.chunks == 2
    assert failed(judged) == {'goes on within 1 chunk'}
    log.arrivals[2] = Arrival(7, 5, late=True)
    assert verdict(log, window(arrived=0, asked=(7, 4))).chunks == 1
    log.takeovers = []
    judged = verdict(log, window())
    assert judged.chunks == math.inf


def test_rejections_must_be_named_and_counted() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    fault = Fault(nothing, ('not_finite',))
    for counted, wanted in (({}, False), ({'not_finite': 5}, False), ({'not_finite': 10}, True)):
        judged = verdict(log, window(done=Done(10), counted=counted), fault)
        assert (failed(judged) == set()) == wanted


def test_a_recording_may_end_with_a_full_disk_but_not_have_holes() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    recorded = {(7, tick) for tick in range(60)}
    assert failed(verdict(log, window(), recorded=recorded)) == {'recording complete'}
    assert failed(verdict(log, window(), Fault(nothing, cut=True), recorded)) == set()
    holes = recorded - {(7, 40)}
    assert failed(verdict(log, window(), Fault(nothing, cut=True), holes)) == {
        'recording complete'
    }


def test_what_a_fault_finds_out_counts() -> None:
    log = make_log()
    log.takeovers = [SeenTakeover(52, 7, 2, 0)]
    assert failed(verdict(log, window(done=Done(1, {'no crash': False})))) == {'no crash'}


@pytest.mark.parametrize('name', FAULTS)
def test_every_fault_says_what_it_does_and_expects_counters_that_there_are(name: str) -> None:
    fault = FAULTS[name]
    assert fault.what.endswith('.')
    assert set(fault.names) <= COUNTERS


def test_the_command_lists_faults_and_refuses_others() -> None:
    listed = invoke('faults', '--list').output.splitlines()
    assert [line.split(':')[0] for line in listed] == list(FAULTS)
    refused = invoke('faults', '--only', 'policy kiled')
    assert 'policy killed' in str(refused.exception)


def test_mutations_change_messages_and_are_the_same_every_time() -> None:
    data = bytes(range(200))
    mutants = [mutate(data, np.random.default_rng([1, i])) for i in range(300)]
    assert mutants == [mutate(data, np.random.default_rng([1, i])) for i in range(300)]
    assert sum(m != data for m in mutants) > 290
    assert any(len(m) < len(data) for m in mutants)
    assert any(len(m) > len(data) for m in mutants)


def test_thousands_of_mutated_messages_move_nothing_outside_the_limits(tmp_path) -> None:
    pytest.importorskip('rclpy')
    pytest.importorskip('async_chunking.msg')
    import json

    from tools.faults.mutations import run

    run(0, 2000, 3, tmp_path / 'out.json')
    rows = json.loads((tmp_path / 'out.json').read_text())
    assert rows['done'] == 2000
    assert rows['counts']['bad_commands'] == 0
    assert rows['counts']['accepted'] > 0
    assert rows['counts']['over_limits'] > 0
    assert rows['counts']['unreadable (RMWError)'] > 0


SHOW = """
import sys, threading, time
wall, steady = time.time(), time.monotonic()
for line in sys.stdin:
    begin = time.monotonic()
    threading.Event().wait(0.01)
    waited = time.monotonic() - begin < 60.0
    passed = time.time() - wall, time.monotonic() - steady
    print(*(round(seconds / 1800.0) for seconds in passed), waited)
    sys.stdout.flush()
"""


@pytest.mark.skipif(not compiler(), reason='no C compiler here')
def test_a_wall_clock_is_set_for_one_process_and_the_steady_clock_is_not(tmp_path) -> None:
    clock = WallClock(tmp_path)
    process = subprocess.Popen(
        [sys.executable, '-c', SHOW], env=os.environ | clock.variables, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    seen = []
    for offset in (0, 3600, -3600, 0):
        clock.set(offset)
        process.stdin.write('\n')
        process.stdin.flush()
        seen.append(process.stdout.readline().split())
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    assert seen == [[hours, '0', 'True'] for hours in ('0', '2', '-2', '0')]
