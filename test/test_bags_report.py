# SPDX-License-Identifier: Apache-2.0
"""`async-chunking report` from recordings to tables, files and exit status."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from scripted import limits, scripted_run
from typer.testing import CliRunner

from async_chunking import metrics
from async_chunking.bags import window
from async_chunking.bags.command import report
from async_chunking.bags.compare import by_strategy, compare
from async_chunking.bags.definitions import BagError
from async_chunking.bags.files import find
from async_chunking.bags.folder import read_all
from async_chunking.bags.table import write_csv
from async_chunking.metrics.intervals import mcnemar, wilcoxon, wilson
from async_chunking.metrics.seams import Seam
from tools.recordings.export import write_run


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Eight runs each of two strategies on the same scenes; they fail in different ones."""
    root = tmp_path_factory.mktemp('runs')
    for seed in range(8):
        naive = scripted_run('naive', seed, ticks=200, joints=4, success=seed % 4 == 0)
        paint = scripted_run('paint', seed, ticks=200, joints=4, agree=0.9, success=seed != 5)
        write_run(naive, root / f'naive_{seed}', run_id=seed + 1)
        write_run(paint, root / f'paint_{seed}', run_id=seed + 101)
    return root


@pytest.fixture(scope='module')
def strategies(folder):
    reports = [bag for _, bag in sorted(read_all(find([folder]), limits(4)))]
    return by_strategy(run for bag in reports for run in bag.runs)


def run_command(*arguments):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(a) for a in arguments], env={'COLUMNS': '120'})


def test_success_rates_and_means_come_with_their_intervals(strategies):
    naive, paint = strategies
    assert (naive.strategy, paint.strategy) == ('naive', 'paint')
    assert naive.success_rate == pytest.approx((2 / 8, *wilson(2, 8), 8))
    con = [run.figures['consistency_rad'] for run in paint.runs]
    estimate = paint.figures['consistency_rad']
    assert estimate.mean == pytest.approx(np.mean(con))
    assert estimate.low < estimate.mean < estimate.high
    assert paint.figures['limits.exceeded'].mean == 0


def test_strategies_are_compared_on_the_scenes_that_they_share(strategies):
    tests = {c.figure: c for c in compare(strategies)}
    naive, paint = strategies
    solved = [[bool(run.figures['success']) for run in s.runs] for s in strategies]
    assert tests['success'].test == pytest.approx(mcnemar(*solved))
    con = [[run.figures['consistency_rad'] for run in s.runs] for s in (naive, paint)]
    assert tests['consistency_rad'].test == pytest.approx(wilcoxon(*con))
    assert tests['consistency_rad'].test.difference < 0.0
    assert tests['consistency_rad'].test.p_value == pytest.approx(2 / 2**8)


def without_scene(run):
    return replace(run, episodes=[e._replace(trial='') for e in run.episodes])


def test_runs_of_unknown_scenes_are_not_paired(strategies):
    """Equally many runs on both sides make no pairs: the order of recordings means nothing."""
    unknown = by_strategy(without_scene(run) for s in strategies for run in s.runs)
    assert [len(s.runs) for s in unknown] == [8, 8]
    assert compare(unknown) == []


def test_scenes_that_repeat_are_paired_by_their_first_run(strategies):
    """Also where they are as many on both sides, in another order."""
    naive, paint = (list(s.runs) for s in strategies)
    again = by_strategy([*naive, *naive[:2], *paint[::-1], *paint[:2]])
    assert [len(s.runs) for s in again] == [10, 10]
    known = compare(strategies)
    comparison = compare(again)
    assert [c.figure for c in comparison] == [c.figure for c in known]
    for one, two in zip(comparison, known, strict=True):
        assert one.test == pytest.approx(two.test, nan_ok=True)


def test_too_few_pairs_are_not_tested(strategies):
    few = by_strategy(run for s in strategies for run in s.runs[:5])
    assert compare(few) == []


def test_a_run_that_was_cut_off_does_not_count_among_those_that_ended(tmp_path):
    write_run(scripted_run(seed=0, success=True), tmp_path / 'a')
    write_run(scripted_run(seed=1, success=None), tmp_path / 'b')
    reports = [bag for _, bag in read_all(find([tmp_path]))]
    (naive,) = by_strategy(run for bag in reports for run in bag.runs)
    assert (len(naive.runs), naive.cut_off) == (1, 1)
    assert math.isnan(naive.figures['consistency_rad'].low)


def test_the_command_prints_a_table_and_writes_every_form(folder, tmp_path):
    paths = {kind: tmp_path / f'report.{kind}' for kind in ('json', 'csv', 'html', 'png')}
    options = [word for kind, path in paths.items() for word in (f'--{kind}', path)]
    result = run_command(folder, *options, '--workers', 2)
    assert result.exit_code == 0, result.output
    assert re.search(r'SR, success rate +0\.25 \[0\.07, 0\.59\] +0\.88', result.output)
    assert 'Paired tests' in result.output
    data = json.loads(paths['json'].read_text())
    assert data['strategies'].keys() == {'naive', 'paint'}
    assert len(data['runs']) == 16
    assert data['problems'] == []
    expected = metrics.summarize(scripted_run('naive', 3, ticks=200, joints=4))
    run = next(r for r in data['runs'] if r['recording'].endswith('naive_3'))
    assert run['consistency_rad'] == pytest.approx(expected['consistency_rad'], rel=1e-5)
    with paths['csv'].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row['strategy'] for row in rows} == {'naive', 'paint'}
    assert paths['png'].read_bytes()[:4] == b'\x89PNG'
    page = paths['html'].read_text()
    assert 'http-equiv' not in page
    assert not re.search(r'<(script|link|img)[^>]+(src|href)=', page), 'needs nothing else'
    assert page.count('class="plotly-graph-div"') == 5


def test_files_that_cannot_be_read_cost_only_themselves(folder, tmp_path):
    write_run(scripted_run(), tmp_path / 'good')
    (tmp_path / 'empty.mcap').write_bytes(b'')
    whole = (folder / 'naive_0' / 'naive_0.mcap').read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(whole[: len(whole) // 2])
    result = run_command(tmp_path)
    assert result.exit_code == 1
    assert 'empty.mcap: not an MCAP file: it begins with nothing' in result.stderr
    assert re.search(r'cut\.mcap: not closed by its recorder; \d+ messages', result.stderr)
    assert 'CON, mean' in result.stdout


def test_nothing_to_report_is_an_error(tmp_path):
    (tmp_path / 'empty.mcap').write_bytes(b'')
    result = run_command(tmp_path)
    assert isinstance(result.exception, BagError)
    result = run_command(tmp_path / 'nowhere')
    assert 'does not exist' in str(result.exception)


def test_pictures_of_what_is_not_there_are_refused(folder, tmp_path):
    picture = tmp_path / 'a.png'
    result = run_command(folder, '--png', picture, '--strategies', 'naive,remac')
    assert 'strategy remac is not in these recordings; they have naive, paint' in str(
        result.exception
    )
    result = run_command(folder, '--png', picture, '--joints', 'elbow')
    assert 'joint elbow is not in these recordings; they have joint_0' in str(result.exception)
    write_run(scripted_run('sync', merger='wait'), tmp_path / 'sync')
    result = run_command(tmp_path / 'sync', '--png', picture)
    assert 'no run has a boundary at which two plans overlap' in str(result.exception)


def test_a_page_without_any_boundary_can_be_written(tmp_path):
    write_run(scripted_run('sync', merger='wait', success=None), tmp_path / 'sync')
    result = run_command(tmp_path / 'sync', '--html', tmp_path / 'a.html')
    assert result.exit_code == 0, result.output


def test_limits_of_a_robot_are_refused_for_the_joints_of_another(folder, tmp_path):
    result = run_command(folder, '--robot', 'viperx')
    assert isinstance(result.exception, BagError)
    assert 'its joints are joint_0, joint_1, joint_2, joint_3; robot viperx has waist' in str(
        result.exception
    )
    own = tmp_path / 'own.yaml'
    own.write_text(OWN)
    assert run_command(folder, '--robot', own).exit_code == 0


OWN = """
name: own
control_rate_hz: 50.0
joints: &joints
  - {name: joint_0, lower: -9.0, upper: 9.0, velocity: 99.0, acceleration: 9999.0}
  - {name: joint_1, lower: -9.0, upper: 9.0, velocity: 99.0, acceleration: 9999.0}
  - {name: joint_2, lower: -9.0, upper: 9.0, velocity: 99.0, acceleration: 9999.0}
  - {name: joint_3, lower: -9.0, upper: 9.0, velocity: 99.0, acceleration: 9999.0}
observations: {observation.state: {kind: measured, size: 4}}
commands:
  - topic: commands
    sink: float64_multi_array
    joints: [joint_0, joint_1, joint_2, joint_3]
policy: {path: none, policy_rate_hz: 50.0, execution_horizon: 8}
"""


def test_intervals_of_what_is_never_negative_end_at_zero(strategies):
    """Student's interval of 0, 0, 0 and 1 begins at -0.55."""
    naive = strategies[0]
    runs = [
        replace(run, figures={**run.figures, 'seam_jump_rad': value})
        for run, value in zip(naive.runs, (0.0, 0.0, 0.0, 1.0), strict=False)
    ]
    (group,) = by_strategy(runs)
    assert group.figures['seam_jump_rad'].low == 0.0
    assert group.figures['seam_jump_rad'].high == pytest.approx(1.0457, abs=1e-3)
    below = [
        replace(run, figures={**run.figures, 'limits': {'position_margin_rad': -1.0 - number}})
        for number, run in enumerate(naive.runs)
    ]
    (group,) = by_strategy(below)
    assert group.figures['limits.position_margin_rad'].low < -1.0


def test_jerk_as_measured_is_explained(folder, tmp_path):
    page = tmp_path / 'report.html'
    result = run_command(folder, '--html', page)
    sentence = 'Jerk as measured is that of the joints in joint_states'
    assert sentence in ' '.join(result.stdout.split())
    assert sentence in page.read_text()


def windows(strategies) -> list[window.Window]:
    runs = window.typical_runs(strategies)
    ticks = window.typical_ticks(runs)
    return [window.cut(run, *span) for run, span in zip(runs, ticks, strict=True)]


def test_panels_of_a_joint_have_one_span_and_a_centre_each(strategies):
    """Two runs a radian apart would be drawn flat on one axis."""
    figure = pytest.importorskip('async_chunking.bags.figure')
    near, far = windows(strategies)
    moved = [replace(b, actions=b.actions + 1.0) for b in far.boundaries]
    far = replace(far, boundaries=moved, run=replace(far.run, command=far.run.command + 1.0))
    low, high = np.array(figure.value_ranges([near, far], 0)).T
    assert high - low == pytest.approx((high - low)[0])
    for shown, bottom, top in zip((near, far), low, high, strict=True):
        command = shown.run.command[:, 0]
        assert (bottom < command).all()
        assert (command < top).all()
    assert (high - low)[0] < 1.0


@pytest.mark.parametrize('count', [1, 2])
def test_the_legend_of_a_picture_is_not_cut(strategies, count):
    figure = pytest.importorskip('async_chunking.bags.figure')
    drawn = figure.drawn(windows(strategies)[:count], [0, 1])
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    box, page = legend.get_window_extent(), drawn.bbox
    assert box.x0 >= page.x0
    assert box.x1 <= page.x1
    assert box.y1 <= page.y1


def test_windows_begin_when_the_robot_is_under_way(strategies):
    """Even where the boundaries of the start-up are the most typical of all."""
    run = strategies[0].runs[0]
    seams, jump = run.seams.copy(), Seam._fields.index('jump')
    early = run.seam('tick') < run.seam('tick')[0] + 1.0 / run.control_period
    assert 4 < early.sum() < len(seams) - 4
    seams[:, jump] = np.where(early, 1.0, 2.0) * run.figures['seam_jump_rad']
    ((first, _),) = window.typical_ticks([replace(run, seams=seams)])
    assert first >= run.seam('tick')[0] + 1.0 / run.control_period
    # A run that ended before is shown all the same.
    ((first, last),) = window.typical_ticks([replace(run, seams=seams[early])])
    assert ((run.seam('tick') >= first) & (run.seam('tick') <= last))[early].any()


def test_the_picture_shows_the_same_scene_and_ticks_of_both(strategies):
    runs = window.typical_runs(strategies)
    assert len({run.trial for run in runs}) == 1
    ticks = window.typical_ticks(runs)
    assert ticks[0] == ticks[1]
    for run, (first, last) in zip(runs, ticks, strict=True):
        shown = window.cut(run, first, last)
        assert shown.run.tick[0] == first
        assert len(shown.boundaries) >= 3
        for boundary in shown.boundaries:
            assert boundary.asked < boundary.taken < boundary.left
            assert len(boundary.actions) == 16
            # The old plan is that of the request's tick: what was planned then.
            index = np.flatnonzero(shown.times >= boundary.asked - 1e-9)[0]
            if shown.times[index] == pytest.approx(boundary.asked):
                assert boundary.old[0] == pytest.approx(shown.run.planned[index], abs=1e-6)


def test_a_window_is_of_its_own_recording(tmp_path):
    """A folder may hold a recording, and below it others."""
    for path in (tmp_path / 'bag', tmp_path / 'bag/other'):
        write_run(scripted_run('naive', 1, ticks=300, delay=4), path)
    bags = [report for _, report in read_all(find([tmp_path / 'bag']), workers=1)]
    assert len(bags) == 2
    for run in (run for bag in bags for run in bag.runs):
        assert window.cut(run, 100, 150).run.tick.tolist() == [*range(100, 151)]


def test_runs_of_a_scene_that_ended_at_other_times_are_both_shown(tmp_path):
    write_run(scripted_run('naive', 1, ticks=300, delay=4), tmp_path / 'long')
    write_run(scripted_run('paint', 1, ticks=300, delay=4), tmp_path / 'short')
    runs = [read.runs[0] for _, read in read_all(find([tmp_path / 'long', tmp_path / 'short']))]
    early = runs[1].seam('tick') < 40
    runs = [
        replace(runs[0], seams=runs[0].seams[~early]),
        replace(runs[1], seams=runs[1].seams[early]),
    ]
    for run, (first, last) in zip(runs, window.typical_ticks(runs), strict=True):
        assert ((run.seam('tick') >= first) & (run.seam('tick') <= last)).any()


def test_ticks_without_a_boundary_can_be_cut(tmp_path):
    write_run(scripted_run(), tmp_path / 'bag')
    ((_, report),) = read_all(find([tmp_path / 'bag']))
    assert window.cut(report.runs[0], 0, 2).boundaries == []


@pytest.mark.parametrize('name', ['=1+1', '+1', '-1', '@A1', '\t=1', '\r=1'])
def test_no_cell_of_the_csv_is_a_formula(name: str, tmp_path: Path) -> None:
    """A name from a foreign recording would be run by the spreadsheet that opens the file."""
    write_run(scripted_run(name, 1, ticks=60, joints=2), tmp_path / 'bag')
    write_csv(
        tmp_path / 'report.csv', [report for _, report in read_all(find([tmp_path / 'bag']))]
    )
    with (tmp_path / 'report.csv').open(newline='') as file:
        (row,) = csv.DictReader(file)
    assert row['strategy'] == f"'{name}"
    assert float(row['ticks']) == 60.0  # Numbers stay numbers.
