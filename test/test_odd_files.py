# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Every odd file is read right, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

for module in ('rosbags', 'pyarrow', 'lz4', 'typer'):
    pytest.importorskip(module)

from odd_files import Case, cases


@pytest.mark.parametrize('case', cases(), ids=lambda case: case.name)
def test_an_odd_file_is_read_right_or_refused_by_name(tmp_path: Path, case: Case):
    answer = case.answer(tmp_path / 'case')
    assert case.holds(answer), f'{answer!r}, right is {case.shown!r}'


def test_the_page_has_every_case_with_its_right_answer():
    page = (Path(__file__).parents[1] / 'docs/odd_files.md').read_text()
    rows = [line.split(' | ') for line in page.splitlines() if line.startswith('| ')][2:]
    shown = {row[0].removeprefix('| '): row[1] for row in rows}
    expected = {case.name: case.shown.replace('<', '&lt;') for case in cases()}
    assert len(shown) >= 40
    assert {name: shown.get(name) for name in expected} == expected  # Pictures need ROS 2.
