# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: tables, and charts that can be zoomed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from async_chunking.bags import charts
from async_chunking.bags.compare import Comparison, StrategyReport
from async_chunking.bags.summary import BagReport
from async_chunking.bags.table import JERK_NOTE, LABELS, known_sections, number_text
from async_chunking.bags.window import Window

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 1280px;
       margin: 2em auto; padding: 0 1.5em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.15em; margin-top: 2.2em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .9em; text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #c9d0d8; } tr.section th { padding-top: 1em; color: #5a6069; }
tbody td { border-bottom: 1px solid #eceff2; } .note { color: #5a6069; } .bad { color: #a3263a; }
"""


def write(
    path: Path,
    bags: Sequence[BagReport],
    strategies: Sequence[StrategyReport],
    comparisons: Sequence[Comparison],
    windows: Sequence[Window],
    joints: Sequence[int],
) -> None:
    """Write the page."""
    parts = [_figures(strategies), _tests(comparisons)]
    seen = [s for s in strategies if any(len(run.seams) for run in s.runs)]
    if windows:
        parts.append(_chart(
            'Chunks over the executed stream', charts.headline(windows, joints),
            'Boundaries that are typical of their run. Grey: from the request to the takeover. '
            'Red: where the new chunk disagrees with what was executed meanwhile.',
        ))  # fmt: skip
    if seen:
        parts += [
            _chart('Consistency of every boundary', charts.mismatch_over_time(seen)),
            _chart('Delay by cause', charts.delay_by_cause(seen)),
            _chart('Conditioned and measured delay', charts.conditioned_and_measured(seen)),
        ]
    parts += [_chart('Period of the commands', charts.periods(strategies)), _recordings(bags)]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<title>Consistency report</title><style>{_STYLE}</style>'
        f'<script>{get_plotlyjs()}</script></head><body><h1>Consistency report</h1>'
        f'{"".join(parts)}</body></html>\n'
    )
    path.write_text(page, encoding='utf-8')


def _chart(title: str, figure: go.Figure, note: str = '') -> str:
    drawn = figure.to_html(include_plotlyjs=False, full_html=False)
    return f'<h2>{title}</h2><p class="note">{note}</p>{drawn}'


def _figures(strategies: Sequence[StrategyReport]) -> str:
    names = ''.join(f'<th>{escape(s.strategy)}</th>' for s in strategies)
    counts = ''.join(f'<td>{len(s.runs)}</td>' for s in strategies)
    lines = [f'<tr><td>runs</td>{counts}</tr>']
    for title, rows in known_sections(strategies):
        lines.append(f'<tr class="section"><th colspan="{len(strategies) + 1}">{title}</th></tr>')
        for label, texts in rows:
            cells = ''.join(f'<td>{escape(text)}</td>' for text in texts)
            lines.append(f'<tr><td>{escape(label)}</td>{cells}</tr>')
    return (
        f'<table><thead><tr><th></th>{names}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
        '<p class="note">Brackets: 95 % intervals over runs (SR: Wilson; means: Student, cut at '
        f'0).</p><p class="note">{JERK_NOTE}</p>'
    )


def _tests(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ''
    lines = ''.join(
        f'<tr><td>{escape(LABELS[c.figure])}</td><td>{escape(c.first)}</td>'
        f'<td>{escape(c.second)}</td><td>{c.test.pairs}</td><td>{c.test.difference:+.4g}</td>'
        f'<td>{number_text(c.test.p_value, ".2g")}</td></tr>'
        for c in comparisons
    )
    heads = ('figure', 'first', 'second', 'pairs', 'second − first', 'p')
    return (
        '<h2>Paired tests by scene</h2><p class="note">Success: McNemar, exact. Others: Wilcoxon '
        f'signed-rank.</p><table><thead><tr>{"".join(f"<th>{h}</th>" for h in heads)}</tr></thead>'
        f'<tbody>{lines}</tbody></table>'
    )


def _recordings(bags: Sequence[BagReport]) -> str:
    problems = ''.join(
        f'<li class="bad">{escape(problem)}</li>' for bag in bags for problem in bag.problems
    )
    lines = ''.join(
        f'<tr><td>{escape(str(run.path))}</td><td>{run.key.run_id:x}</td>'
        f'<td>{escape(run.strategy)}</td><td>{escape(run.checkpoint[:12]) or "–"}</td></tr>'
        for bag in bags
        for run in bag.runs
    )
    return (
        f'<h2>Recordings</h2><ul>{problems}</ul><table><thead><tr><th>recording</th><th>run</th>'
        f'<th>strategy</th><th>checkpoint</th></tr></thead><tbody>{lines}</tbody></table>'
    )
