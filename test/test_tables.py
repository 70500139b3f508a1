# SPDX-License-Identifier: Apache-2.0
"""Tables for terminals and documents: nothing is cut, nothing is taken for markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from async_chunking.cli import COMMANDS, application
from async_chunking.tables import Table, show

COLUMNS = ('strategy', 'latency [ms]', 'jerk [rad/s³]', *(f'figure {i} [mrad]' for i in range(9)))
ROWS = (('Section',), ('paint+a2c2', '120±30', *(f'{i}.2345 ± 0.[9]{i}' for i in range(10))))
TABLE = Table('Runs [bold]', COLUMNS, ROWS, note='Steps [d].')


def printed(table: Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(table, console=console)
    return console.file.getvalue()


@pytest.mark.parametrize('width', [40, 80, 300])
def test_every_cell_is_whole_and_no_line_is_too_long(width: int) -> None:
    text = printed(TABLE, width)
    assert max(map(len, text.splitlines())) <= width
    for cell in ROWS[1]:
        assert cell in text
    assert text.count('[mrad]') == 9
    for word in ('Runs [bold]', '[ms]', '[rad/s³]', 'Steps [d].'):
        assert word in text


def test_columns_that_do_not_fit_follow_after_the_first_one() -> None:
    assert printed(TABLE, 300).count('paint+a2c2') == 1
    assert printed(TABLE, 80).count('paint+a2c2') == printed(TABLE, 80).count('Section') > 1


def test_only_the_words_of_one_column_go_on_in_the_next_line() -> None:
    told = 'a sentence that is much too long for what is left of this line'
    text = printed(Table('', ('name', 'told'), (('x', told),), ('told',), 'told'), 40)
    assert max(map(len, text.splitlines())) <= 40
    assert told in ' '.join(text.split())


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    show(Table('Title', ('a', 'b', 'c [s]'), (('x', 'y', '1'), ('part',)), ('b',)), True)
    assert capsys.readouterr().out.splitlines() == [
        'Title:',
        '',
        '| a | b | c [s] |',
        '| --- | --- | ---: |',
        '| x | y | 1 |',
        '| **part** |  |  |',
        '',
    ]


@pytest.mark.parametrize(('command', 'unit'), [('demo', '[ms]'), ('demo', '[s]')])
def test_units_are_in_the_help(command: str, unit: str) -> None:
    app = application(command, '', COMMANDS)
    assert unit in CliRunner().invoke(app, [command, '--help']).output
