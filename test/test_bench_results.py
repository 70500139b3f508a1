# SPDX-License-Identifier: Apache-2.0
"""Numbers, tables and the page of results, from rows whose answers are known."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from async_chunking.bench import page, report, tables
from async_chunking.bench.delays import DelayModel
from async_chunking.bench.rows import SCHEMA, Row, encode
from async_chunking.bench.summary import Condition, Interval, paired, points
from async_chunking.bench.sweep import Skipped
from async_chunking.metrics.intervals import wilson
from tools import smoke


def rows(strategy: str, delay: int, successes: int, con: float, **changes: object) -> list[Row]:
    """Return 20 rows, of which the first `successes` are solved in 3 s, each with 10 chunks."""
    return [
        dict.fromkeys(SCHEMA.names)
        | {
            'cell': f'{strategy}-{delay}-{sorted(changes.items())}',
            'task': 'chase',
            'policy': 'toy',
            'strategy': strategy,
            'horizon': 16,
            'execution_horizon': 8,
            'delay': delay,
            'delay_truth': 'constant',
            'delay_told': 'exact',
            'seed': 0,
            'rollout': rollout,
            'success': rollout < successes,
            'completion_time_s': 3.0 if rollout < successes else float('nan'),
            'consistency_rad': con,
            'command_jerk_rad_s3': 100.0,
            'seam_jump_rad': 0.01,
            'ticks': 100,
            'starved_ticks': 1,
            'chunks': 10,
            'calls': 50 if strategy != 'paint' or delay == 0 else 150,
        }
        | changes
        for rollout in range(20)
    ]


@pytest.fixture
def played() -> list[Row]:
    nan = float('nan')
    return [
        *rows('paint', 4, 15, 0.004),
        *rows('naive', 0, 18, nan),
        *rows('paint', 0, 18, nan),
        *rows('naive', 4, 5, 0.02),
        *rows('naive', 8, 1, 0.04),
        *rows('paint', 8, 10, 0.01),
    ]


def test_points_have_the_known_answers(played: list[Row]) -> None:
    first, *_, last = points(played)
    assert (first.strategy, first.condition.delay.steps) == ('naive', 0)
    assert (last.strategy, last.condition.delay.steps) == ('paint', 8)
    assert last.success == Interval(0.5, *wilson(10, 20))
    assert last.rollouts == 20
    assert last.completion_time.value == 3.0
    assert last.consistency.value == pytest.approx(0.01)
    assert last.calls == 15.0
    assert last.starved == pytest.approx(0.01)


def test_paired_tests_compare_the_same_episodes(played: list[Row]) -> None:
    tests = paired(played, 'naive')
    assert {name for _, name in tests} == {'paint'}
    test = tests[Condition('chase', DelayModel(4), 8, 16), 'paint']
    assert (test.pairs, test.difference) == (20, 0.5)
    assert test.p_value == pytest.approx(2 * 0.5**10)
    fewer = [row for row in played if row['strategy'] == 'naive' or row['rollout'] < 7]
    assert paired(fewer, 'naive')[Condition('chase', DelayModel(4), 8, 16), 'paint'].pairs == 7


def test_tables(played: list[Row]) -> None:
    table = tables.by_delay(points(played), 'Solved', report.solved)
    assert table.columns == ('strategy', 'd = 0', 'd = 4', 'd = 8', 'calls')
    assert table.rows[0] == ('naive', '90 [70, 97]', '25 [11, 47]', '5 [1, 24]', '5')
    assert table.rows[1][-1] == '15'
    table = tables.by_delay(points(played), 'CON', report.consistency, calls=False)
    assert table.rows[1] == ('paint', '–', '4.0 ± 0.0', '10.0 ± 0.0')
    assert table.markdown().splitlines()[1] == '| --- | ---: | ---: | ---: |'
    table = tables.comparison(paired(played, 'naive'), 'naive', '')
    assert table.rows == (('paint', '+0', '+50 (.002)', '+45 (.004)'),)


def test_prints_every_table_and_what_was_skipped(played: list[Row]) -> None:
    console = Console(width=120, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    report.show(console, played, [Skipped('chase', 'remac', 'no such checkpoint')])
    text = console.export_text()
    for words in ('Solved [%]', 'CON [mrad]', 'McNemar', 'skipped remac on chase: no such'):
        assert words in text


def test_pairs_are_compared_with_the_strategy_that_is_asked_for(played: list[Row]) -> None:
    references = {
        test['reference']: test['strategy']
        for name in ('naive', 'paint')
        for test in report.numbers(played, [], name)['paired']
    }
    assert references == {'naive': 'paint', 'paint': 'naive'}


def test_prints_for_documents(played: list[Row]) -> None:
    console = Console(record=True, width=40, file=io.StringIO())
    report.show(console, played, [], markdown=True)
    text = console.export_text()
    assert 'Solved [%], chase, H = 16, s = 8:\n\n| strategy | d = 0 |' in text
    assert '| paint | 90 [70, 97] | 75 [53, 89] |' in text


def test_numbers_are_json_without_nan(played: list[Row]) -> None:
    text = json.dumps(report.numbers(played, []), allow_nan=False)
    point = json.loads(text)['points'][0]
    assert point['delay'] == {'steps': 0, 'truth': 'constant', 'told': 'exact'}
    assert point['consistency']['value'] is None
    assert point['success']['value'] == 0.9


def test_page_has_every_section_that_there_are_rows_for(played: list[Row], tmp_path: Path) -> None:
    more = [
        *(r for s in (4, 6, 10) for r in rows('naive', 4, s, 0.02, execution_horizon=s)),
        *(r for s in (4, 6) for r in rows('naive', 0, 2 * s, 0.02, execution_horizon=s)),
        *(r for n in ('paint_rfm', 'paint_dpm2') for r in rows(n, 4, 9, 0.01)),
        *rows('paint+a2c2', 4, 16, 0.003),
        *rows('paint', 4, 14, 0.004, delay_told='noisy'),
    ]
    place = tmp_path / 'rows'
    place.mkdir()
    (place / 'all.parquet').write_bytes(encode(played + more))
    (place / 'discussion.md').write_text('## What it means\n\nMuch.\n')
    path = page.write(place, tmp_path / 'docs')
    text = path.read_text()
    for heading in (
        '## chase, H = 16', '### Against delay, s = 8', '### Inversion variants',
        '### Combinations',
        '### Against execution horizon, d = 4',
        '### Against delay, over the execution horizons 4, 6, 8',
        '### Delays that vary', '## What it means',
    ):  # fmt: skip
        assert heading in text
    assert '| paint | 90 [70, 97] | 75 [53, 89] | 50 [30, 70] | 15 |' in text
    assert '| paint | 75 [53, 89] | 70 [48, 85] | 15 |' in text
    for name in text.split('](')[1:]:
        assert (tmp_path / 'docs' / name.partition(')')[0]).stat().st_size > 5000
    before = {p: p.read_bytes() for p in (tmp_path / 'docs').rglob('*.*')}
    page.write(place, tmp_path / 'docs')
    assert {p: p.read_bytes() for p in (tmp_path / 'docs').rglob('*.*')} == before


def test_levels_of_a_family_are_pooled(tmp_path: Path) -> None:
    levels = [
        *rows('naive', 0, 20, float('nan'), task='games/a'),
        *rows('naive', 0, 10, float('nan'), task='games/b'),
    ]
    (tmp_path / 'x.parquet').write_bytes(encode(levels))
    text = page.write(tmp_path, tmp_path / 'docs').read_text()
    assert '## games, H = 16' in text
    assert '2 levels, pooled: games/a, games/b. 40 rollouts, 20 per cell.' in text
    assert '| naive | 75 [60, 86] | 5 |' in text
    assert '| naive | 50 [30, 70] | 5 |' in text


def test_levels_are_pooled_where_all_were_played() -> None:
    levels = [
        *rows('naive', 0, 20, float('nan'), task='games/easy'),
        *rows('naive', 0, 10, float('nan'), task='games/hard'),
        *rows('paint', 0, 20, float('nan'), task='games/easy'),
        *rows('rtc', 0, 20, float('nan'), task='games/easy'),
        *rows('rtc', 0, 12, float('nan'), task='games/hard'),
    ]
    together = page.pooled(levels, 'games')
    assert {row['strategy'] for row in together} == {'naive', 'rtc'}
    ((_, test),) = paired(together, 'naive').items()
    assert (test.pairs, test.difference) == (40, pytest.approx(2 / 40))


def test_smoke_names_what_does_not_hold(played: list[Row]) -> None:
    good = [
        *played,
        *rows('sync', 0, 18, float('nan')),
        *rows('rtc', 4, 15, 0.006),
    ]
    good = [row | {'starved_ticks': 0} for row in good]

    def verdict(some: list[Row]) -> list[str]:
        console = Console(quiet=True)
        return smoke.judge(
            {(p.strategy, p.condition.delay.steps): p for p in points(some)}, console
        )

    assert verdict(good) == []
    bad = [r | {'consistency_rad': 0.011} if r['strategy'] == 'paint' else r for r in good]
    assert verdict(bad) == ['at d=4 paint has less than half of the CON of naive']
    starved = [row | {'starved_ticks': 1} for row in good]
    assert verdict(starved) == ['no tick was without a plan']
