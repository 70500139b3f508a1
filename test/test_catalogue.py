# SPDX-License-Identifier: Apache-2.0
"""The command `async-chunking strategies`, its tables and its details."""

from __future__ import annotations

import pytest

from async_chunking.commands.catalogue import COLUMNS, OFFERS, policy_row, row, strategies
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import SHIPPED
from async_chunking.strategies import NEEDS, SAMPLERS, STRATEGIES


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


def test_policies_are_what_their_kinds_offer() -> None:
    cells = {name: policy_row(name)[1:] for name in STRATEGIES}
    table = {name: dict(zip(OFFERS, row, strict=True)) for name, row in cells.items()}
    assert set(table['sync'].values()) == {'yes'}
    assert table['paint']['remote'] == table['paint']['act'] == '–'
    assert table['paint']['flow'] == 'yes'
    assert table['a2c2']['remote'] == '+ a2c2'
    assert table['tt_rtc']['torch'] == '+ per_token_time, tt_rtc'
    assert table['bid_full']['flow'] == '+ weak_policy'


@pytest.mark.parametrize(('shipped', 'column'), [('viperx_slalom', 'flow')])
def test_shipped_policies_offer_what_their_column_says(shipped: str, column: str) -> None:
    offers = PolicyDirectory(SHIPPED / shipped).offers
    assert OFFERS[column].always <= offers <= OFFERS[column].always | OFFERS[column].may


def test_no_column_promises_an_unknown_need() -> None:
    for offer in OFFERS.values():
        assert offer.always | offer.may <= set(NEEDS)
