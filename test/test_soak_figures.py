# SPDX-License-Identifier: Apache-2.0
"""What `soak` says of samples with known answers."""

from __future__ import annotations

import os

import pytest

from tools.soak import Samples, _problems

RUN = {'ticks': 1000, 'missed_ticks': 0, 'limits': {'exceeded': 0, 'silent_joints': []}}


def node(**changes: float) -> dict[str, float]:
    figures = {'memory_mb': 1.0, 'growth_share': 0.0, 'files_begin': 9, 'files_end': 9}
    return figures | {'restarts': 0} | changes


def test_growth_counts_after_the_first_fifth() -> None:
    samples = Samples()
    for second in range(101):
        samples.seconds.append(float(second))
        # Fills up to 50 MB in 10 s, then leaks 1 kB/s.
        samples.memory.append(5_000_000 * min(second, 10) + 1000 * second)
        samples.files.append(20 + (second > 50))
    figures = samples.figures()
    assert figures['growth_kb_per_min'] == pytest.approx(60.0)
    assert figures['growth_share'] == pytest.approx(80_000 / 50_020_000)
    assert (figures['files_begin'], figures['files_end']) == (20, 21)


def test_a_process_is_looked_at_and_one_that_ended_is_left_out() -> None:
    samples = Samples()
    samples.take(os.getpid(), 0.0)
    samples.take(0, 1.0)
    assert len(samples.memory) == len(samples.files) == 1
    assert samples.memory[0] > 1e6
    assert samples.files[0] > 2


def test_what_is_wrong_is_named() -> None:
    assert list(_problems(RUN, {'executor': node()})) == []
    bad = {**RUN, 'missed_ticks': 11, 'limits': {'exceeded': 1, 'silent_joints': ['elbow']}}
    nodes = {
        'executor': node(growth_share=0.05), 'sim': node(files_end=10), 'policy': node(restarts=1),
        'recorder': {'restarts': 0},
    }  # fmt: skip
    problems = '\n'.join(_problems(bad, nodes))
    for sentence in (
        '11 of 1000 ticks', '1 limits', 'elbow were not recorded',
        'executor grew by 5.0 %', 'sim has 10 open files', 'policy was started again',
        'recorder was not seen',
    ):  # fmt: skip
        assert sentence in problems
