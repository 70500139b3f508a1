# SPDX-License-Identifier: Apache-2.0
"""A recording of version 0.1 is read as on the day on which it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rosbags')

from async_chunking.bags.exchanges import CHUNK_DEFAULTS
from async_chunking.bags.files import find
from async_chunking.bags.reading import RunReader
from async_chunking.bags.summary import summarize_bag
from async_chunking.dataset.from_bags import demonstrations
from async_chunking.robot.embodiment import Embodiment

GOLDEN = Path(__file__).parent / 'golden/bag'
FIGURES = {
    'naive': (200, 0.115617, 0.153442, 6, 1.0626),
    'paint': (200, 0.025046, 0.067588, 12, 1.0856),
}


def test_the_golden_recording_says_what_it_said():
    (bag,) = find([GOLDEN])
    report = summarize_bag(bag)
    # A field that came later may be named with what stands for it, and nothing else.
    assert [words for words in report.problems if ', read as ' not in words] == []
    runs = {run.strategy: run for run in report.runs}
    assert set(runs) == set(FIGURES)
    for strategy, (ticks, consistency, jump, late, margin) in FIGURES.items():
        run = runs[strategy]
        assert run.figures['ticks'] == ticks
        assert run.figures['consistency_rad'] == pytest.approx(consistency, rel=1e-4)
        assert run.figures['seam_jump_rad'] == pytest.approx(jump, rel=1e-4)
        assert run.figures['late_chunks'] == late
        assert run.figures['limits']['position_margin_rad'] == pytest.approx(margin, rel=1e-3)
        assert run.figures['delay_steps'] == {'p50': 4.0, 'max': 5.0}
        assert run.snapshot['versions'] == {'async_chunking': '0.1.0'}
        assert [episode.success for episode in run.episodes] == [True]


def test_its_commands_become_demonstrations():
    joint = {'lower': -2.0, 'upper': 2.0, 'velocity': 3.0, 'acceleration': 40.0}
    names = ['joint_0', 'joint_1', 'joint_2']
    robot = Embodiment.model_validate({
        'name': 'golden', 'control_rate_hz': 50.0,
        'joints': [{'name': name, **joint} for name in names],
        'observations': {}, 'policy': {'path': '', 'policy_rate_hz': 50, 'execution_horizon': 4}
        | {'path': 'none'},
        'commands': [{'topic': 'go', 'sink': 'joint_state', 'joints': names}],
    })  # fmt: skip
    (bag,) = find([GOLDEN])
    found = demonstrations(bag, robot)
    assert found.problems == []
    assert [len(made.demonstration.features['action']) for made in found.made] == [200, 200]


def test_what_a_chunk_tells_is_kept_by_its_field():
    (bag,) = find([GOLDEN])
    exchanges = [e for _, run in RunReader(bag).pieces() for e in run.exchanges.values()]
    assert {e.inference for e in exchanges} == {0.05}
    assert {e.waiting for e in exchanges} == {0.001}
    # Fields that were added since are unknown in it, and known by their name.
    added = {name: CHUNK_DEFAULTS[name] for name in exchanges[0].more}
    assert repr(exchanges[0].more) == repr(added)


def test_requests_and_chunks_are_forgotten_once_they_took_over():
    """Else the memory of a report grows with the length of a recording."""
    (bag,) = find([GOLDEN])
    reader = RunReader(bag)
    taken = sum(int(run.took_over.sum()) for _, run in reader.pieces())
    kept = [*reader.exchanges._requests.values(), *reader.exchanges._answered.values()]
    assert taken > 40
    assert sum(len(open_) for open_ in kept) <= 4
