# SPDX-License-Identifier: Apache-2.0
"""A running robot as it is watched: seams, with known answers; in words and in Rerun."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Phase
from async_chunking.live.rerun import RerunPlot
from async_chunking.live.trace import LANES, LiveChunk, LiveRequest, LiveStep, Trace
from async_chunking.live.words import Words

EXECUTING = int(Phase.EXECUTING)
PERIOD = 0.02


def step(tick: int, command: tuple[float, ...] = (0.0, 0.0), **changes) -> LiveStep:
    row = np.array(command)
    values = dict(
        run_id=7, tick=tick, time_s=100.0 + PERIOD * tick, phase=EXECUTING, strategy='naive',
        joint_names=('a', 'b'), command=row, planned=row, measured=row, request_id=0,
        took_over=False, delay=-1,
    )  # fmt: skip
    return LiveStep(**{**values, **changes})


def exchange(trace: Trace, request: int, tick: int, previous: np.ndarray, actions: np.ndarray):
    """See a request at 25 rows and 50 commands a second, s = 4 rows, and its chunk."""
    trace.request(LiveRequest(7, request, tick, previous, 4, 25.0, 50.0))
    trace.chunk(LiveChunk(7, request, actions))


def ramp(rows: int, slope: float, at: float = 0.0) -> np.ndarray:
    """Return joint a on a ramp, and joint b at rest."""
    return np.stack([at + slope * np.arange(rows), np.zeros(rows)], axis=1)


def test_a_takeover_shows_both_plans_at_their_times() -> None:
    """Old plan: a rises by 10 mrad a row. New: it begins 20 mrad higher and falls by 10."""
    trace = Trace()
    exchange(trace, 3, 200, ramp(16, 0.01), ramp(16, -0.01, at=0.02))
    seam = trace.step(step(206, (-0.01, 0.0), request_id=3, took_over=True, delay=3))
    # Six ticks are three rows: the old plan is at 30 mrad there, the new one at -10.
    assert seam.jump == pytest.approx(0.04)
    assert seam.joint == 'a'
    # |new - old| over rows 0 to 2 is 20, 0 and 20 mrad at a, nothing at b.
    assert seam.consistency == pytest.approx(0.04 / 6)
    # The old one from the takeover on for s rows, the new one from its request on.
    assert seam.old.times[[0, -1]] == pytest.approx([104.12, 104.28])
    assert seam.old.values[[0, -1], 0] == pytest.approx([0.03, 0.07])
    assert seam.new.times[[0, -1]] == pytest.approx([104.0, 104.28])
    assert seam.new.values[[0, 1, -1], 0] == pytest.approx([0.02, 0.015, -0.05])


def test_the_first_chunk_meets_no_plan() -> None:
    trace = Trace()
    exchange(trace, 1, 0, np.empty((0, 2)), ramp(16, 0.01))
    seam = trace.step(step(4, (0.02, 0.0), request_id=1, took_over=True, delay=2))
    assert math.isnan(seam.jump)
    assert math.isnan(seam.consistency)
    assert seam.joint == ''
    assert len(seam.old.times) == 0
    assert len(seam.new.times) == 13


def test_a_takeover_without_its_chunk_is_counted_and_the_rest_goes_on() -> None:
    trace = Trace()
    trace.request(LiveRequest(7, 1, 0, np.empty((0, 2)), 4, 25.0, 50.0))
    assert trace.step(step(4, request_id=1, took_over=True, delay=2)) is None
    exchange(trace, 2, 8, ramp(8, 0.0), np.zeros((16, 3)))  # Of another robot.
    assert trace.step(step(12, request_id=2, took_over=True, delay=2)) is None
    trace.request(LiveRequest(7, 3, 16, ramp(8, 0.0), 4, 0.0, 50.0))  # At no rate.
    trace.chunk(LiveChunk(7, 3, ramp(16, 0.0)))
    assert trace.step(step(20, request_id=3, took_over=True, delay=2)) is None
    assert trace.unmatched == 3
    assert trace.step(step(21, request_id=3)) is None
    assert trace.unmatched == 3


def test_neighbouring_chunks_have_lanes_of_their_own_and_few_are_remembered() -> None:
    trace, lanes = Trace(), []
    for number in range(1, 101):
        exchange(trace, number, 8 * number, ramp(16, 0.0), ramp(16, 0.0))
        seam = trace.step(step(8 * number + 4, request_id=number, took_over=True, delay=2))
        lanes.append(seam.lane)
    assert all(len(set(lanes[i : i + LANES])) == LANES for i in range(len(lanes) - LANES))
    assert trace.step(step(900, request_id=1, took_over=True, delay=2)) is None


def test_a_run_in_words() -> None:
    words, trace = Words(), Trace()
    first = step(0, phase=int(Phase.WAITING_FIRST))
    assert words.step(first) == '    0.00 s  new run, waiting first, naive'
    assert words.step(step(1, phase=int(Phase.WAITING_FIRST))) == ''
    exchange(trace, 1, 0, np.empty((0, 2)), ramp(16, 0.01))
    taken = step(4, request_id=1, took_over=True, delay=2)
    assert words.step(taken) == '    0.08 s  executing, naive'
    assert words.seam(trace.step(taken)) == '    0.08 s  tick 4: first chunk, delay 2 rows'
    exchange(trace, 2, 8, ramp(16, 0.01), ramp(16, 0.01, at=0.02))
    taken = step(12, (0.04, 0.0), request_id=2, took_over=True, delay=2)
    assert words.step(taken) == ''
    assert words.seam(trace.step(taken)) == (
        '    0.24 s  tick 12: seam of 20.0 mrad at a, CON 10.0, delay 2 rows'
    )
    assert words.step(step(0, run_id=8)).endswith('new run, executing, naive')


def test_rerun_gets_every_line_of_every_joint(tmp_path: Path) -> None:
    pytest.importorskip('rerun', reason="Rerun is not here: pip install '.[watch]'")
    reader = pytest.importorskip('rerun.chunk', reason='this Rerun cannot read files back')
    path = tmp_path / 'run.rrd'
    plot, trace = RerunPlot(path), Trace()
    exchange(trace, 2, 8, ramp(16, 0.01), ramp(16, 0.01, at=0.02))
    for tick in range(8, 30):
        taken = {'request_id': 2, 'took_over': True, 'delay': 2} if tick == 12 else {}
        seen = step(tick, (0.001 * tick, 0.5), **taken)
        plot.step(seen)
        if seam := trace.step(seen):
            plot.seam(seam)
    plot.close()
    values: dict[str, list[float]] = {}
    for chunk in reader.RrdReader(path).stream().to_chunks():
        batch = chunk.to_record_batch()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if 'calars' in name:
                flat = [v for row in column.to_pylist() for v in row or ()]
                values.setdefault(str(chunk.entity_path), []).extend(flat)
    assert sorted(values['/a/executed']) == pytest.approx([0.001 * tick for tick in range(8, 30)])
    assert values['/b/executed'] == [0.5] * 22
    assert values['/a/takeover'] == pytest.approx([0.012])
    assert values['/a/old_plan_1'][0] == pytest.approx(0.02)  # Row 2 of a ramp of 10 mrad a row.
    assert values['/a/new_chunk_1'][0] == pytest.approx(0.02)
    assert values['/seam/delay_rows'] == [2.0]


def test_without_rerun_there_is_one_line(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, 'rerun', None)
    with pytest.raises(AsyncChunkingError, match=r"pip install '\.\[watch\]' in the checkout; or"):
        RerunPlot(Path('never.rrd'))
