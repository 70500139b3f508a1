# SPDX-License-Identifier: Apache-2.0
"""The `async-chunking` command as a whole: every line of its table, its speed, its mistakes."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import tools_command
import typer
from typer.testing import CliRunner

from async_chunking import __version__, cli
from async_chunking.errors import AsyncChunkingError
from tools.__main__ import COMMANDS as TOOLS


def invoke(*words: str) -> str:
    application = cli.application(words[0] if not words[0].startswith('-') else None)
    result = CliRunner().invoke(application, words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_of_the_table_explains_itself(name: str) -> None:
    module, attribute, line = cli.COMMANDS[name]
    if module.startswith('async_chunking.') and not hasattr(import_module(module), attribute):
        pytest.fail(f'{module} has no {attribute}')
    assert line.endswith('.')
    assert 'Usage: ' in invoke(name, '--help')


@pytest.mark.parametrize('name', TOOLS)
def test_every_tool_explains_itself(name: str) -> None:
    assert 'Usage: ' in tools_command.invoke(name, '--help').output
    assert TOOLS[name][2].endswith('.')


def test_help_lists_the_table_and_loads_no_command() -> None:
    code = 'from async_chunking import cli; cli.application(None); import sys; '
    code += 'print({"torch", "numpy", "scipy", "mujoco"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'set()\n'
    shown = invoke('--help')
    assert [name for name in cli.COMMANDS if name not in shown] == []


def test_version_and_env() -> None:
    assert invoke('version').strip() == __version__
    assert 'ROS 2' in invoke('env')


def test_a_mistake_of_the_user_ends_with_its_message(monkeypatch, capsys) -> None:
    def fail() -> None:
        raise AsyncChunkingError('gain [0, 1] is 2')

    monkeypatch.setattr(cli, 'version', fail)
    monkeypatch.setattr(sys, 'argv', ['async-chunking', 'version'])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == 'error: gain [0, 1] is 2\n'


def test_a_typer_application_becomes_a_group(monkeypatch) -> None:
    group = typer.Typer()
    group.command('one')(lambda: typer.echo('1'))
    group.command('two')(lambda: typer.echo('2'))
    monkeypatch.setattr(cli, 'group', group, raising=False)
    monkeypatch.setitem(cli.COMMANDS, 'group', ('async_chunking.cli', 'group', 'Numbers.'))
    assert invoke('group', 'two') == '2\n'
