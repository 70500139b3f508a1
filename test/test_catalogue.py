# SPDX-License-Identifier: Apache-2.0
"""The command `async-chunking strategies`."""

from __future__ import annotations

import pytest

from async_chunking.commands.catalogue import COLUMNS, row, strategies
from async_chunking.strategies import SAMPLERS, STRATEGIES


def test_row_says_what_the_table_says() -> None:
    assert row('rtc') == ('rtc', 'sampler', 'n + n back', 'gradients', 'arXiv 2506.07339')
    assert row('paint') == ('paint', 'sampler', '3·n', 'velocity', 'arXiv 2606.19774')
    assert row('naive')[1:4] == ('–', 'n', '–')
    assert row('sync')[1] == 'merger'
    assert row('paint+a2c2')[1:4] == ('sampler, corrector', '3·n', 'corrector:a2c2')
    assert row('a2c2')[-1] == 'arXiv 2509.23224'


def test_every_strategy_and_combination_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    strategies(markdown=True)
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(' | ')[0].removeprefix('| ') for line in lines[2:]]
    assert names == [*STRATEGIES, *(name for name in SAMPLERS if '+' in name)]
    assert {line.count('|') for line in lines} == {len(COLUMNS) + 1}
