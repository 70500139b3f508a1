# SPDX-License-Identifier: Apache-2.0
"""The pace of the bench: both sides do the same steps, and the shares are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_environments
import yaml

from async_chunking.bench.delays import DelayModel
from async_chunking.bench.scene import Bench
from async_chunking.bench.sweep import BATCH, Cell
from tools.cost import pace


def test_the_bare_environment_gets_the_same_commands(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / 'slide.yaml'
    path.write_text(yaml.safe_dump(test_environments.SLIDE))
    scene = Bench(policy=f'{test_environments.HERE}:push').scene(str(path))
    timing = pace.PacedScene(scene, Cell(str(path), '', 'naive', DelayModel(1), 4, 8))
    timing.add(0)
    (one,) = timing.paces
    sent = [np.array(e.inner.actions) for e in scene._environments]
    assert len(sent) == BATCH
    assert one.steps == sum(map(len, sent)) / 2 - 0.5  # One more was sent to look at the first.
    for each in sent[1:]:
        half = len(each) // 2
        np.testing.assert_array_equal(each[:half], each[half:])
    assert one.bare_s > 0.0
    assert 0.0 < one.policy_s < one.bench_s


def test_shares_are_of_the_bare_rate_and_the_sum_weighs_by_time() -> None:
    paces = [pace.UnitPace(100, 2.0, 0.5, 1.0), pace.UnitPace(300, 2.0, 0.5, 2.0)]
    rows = pace.table('x', paces).rows
    assert rows[0] == ('1', '100', '10000', '5000', '20000', '0.50', '0.75')
    assert rows[2][1:] == ('400', '7500', '2500', '10000', '0.75', '1.00')
    assert paces[0].of_bare == pytest.approx(0.5)
