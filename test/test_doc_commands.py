# SPDX-License-Identifier: Apache-2.0
"""Every command of README and documents is one that the command line takes, as it is written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

pytest.importorskip('torch')  # Some commands read it when they are imported.
pytest.importorskip('mujoco')

from async_chunking.bringup.describe import Arguments, parse
from async_chunking.cli import COMMANDS, application
from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import config_names, validated
from async_chunking.strategies import AUTO, resolve
from tools.__main__ import COMMANDS as TOOLS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PAGES += [ROOT / 'examples' / 'README.md', ROOT / 'CONTRIBUTING.md']
PROGRAMS = {
    ('async-chunking',): COMMANDS,
    ('.venv/bin/async-chunking',): COMMANDS,
    ('python', '-m', 'async_chunking.cli'): COMMANDS,
    ('python', '-m', 'tools'): TOOLS,
    ('.venv/bin/python', '-m', 'tools'): TOOLS,
}
LAUNCH = ('ros2', 'launch', 'async_chunking')
OURS = re.compile(r'(\.venv/bin/)?(async-chunking|python -m (tools|async_chunking\.cli)) ')
# Mistakes that a page shows with the answer to them.
MISTAKES = ('strateg:=paint', 'log_level:=loud')
WORDS = {'up', 'describe'}  # They take NAME:=VALUE.


def code(text: str) -> Iterator[str]:
    """Yield the commands in indented and fenced blocks, continued lines joined."""
    fenced, lines = False, []
    for line in text.splitlines():
        if line.lstrip().startswith('```'):
            fenced = not fenced
        elif fenced or line.startswith('    '):
            lines.append(line)
    for line in '\n'.join(lines).replace('\\\n', ' ').splitlines():
        yield line.strip().removeprefix('$ ')


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in code(page.read_text(encoding='utf-8')):
            if OURS.match(line) or line.startswith(' '.join(LAUNCH)):
                yield page.name, line


FOUND = list(dict.fromkeys(commands()))


@pytest.mark.parametrize(('page', 'line'), FOUND, ids=[f'{p}: {c}'[:90] for p, c in FOUND])
def test_a_printed_command_is_taken(page: str, line: str) -> None:
    if line.endswith(MISTAKES):
        with pytest.raises(AsyncChunkingError):
            take(line)
    else:
        take(line)


def take(line: str) -> None:
    """Parse a line as the command line would, and refuse what it would refuse."""
    words = shlex.split(
        line.split(' | ', maxsplit=1)[0].split(' > ', maxsplit=1)[0], comments=True
    )
    words = words[: words.index('&')] if '&' in words else words
    if tuple(words[:3]) == LAUNCH:
        robot = words[3].removesuffix('.launch.py')
        assert robot in config_names() or robot == 'my_robot'
        check_arguments([word for word in words[4:] if not word.startswith('-')])
        return
    (start,) = [s for s in PROGRAMS if tuple(words[: len(s)]) == s]
    table, words = PROGRAMS[start], words[len(start) :]
    command = typer.main.get_command(application(words[0], '', table))
    context = command.make_context('program', list(words))
    while hasattr(command, 'resolve_command'):  # It is a group.
        left = [*context._protected_args, *context.args]
        if not left:
            return
        name, command, left = command.resolve_command(context, left)
        context = command.make_context(name, left, parent=context)
    if words[0] in WORDS and table is COMMANDS:
        check_arguments(context.params['words'] or [])


def check_arguments(words: list[str]) -> None:
    given = parse(words)
    arguments = validated(Arguments, given, 'arguments')
    if arguments.strategy != AUTO:
        resolve(arguments.strategy)


def test_commands_are_found_and_wrong_ones_refused() -> None:
    assert len(FOUND) > 60
    assert {page for page, _ in FOUND} >= {'README.md', 'bench.md', 'training.md', 'robots.md'}
    for line, reason in (
        ('async-chunking upp viperx', 'No such command'),
        ('async-chunking report --htm a.html runs', 'No such option'),
        ('async-chunking up viperx strategi:=rtc', "unknown key 'strategi'"),
        ('async-chunking up viperx strategy:=rtd', "unknown strategy 'rtd'"),
        ('ros2 launch async_chunking viperx.launch.py simm:=true', "unknown key 'simm'"),
    ):
        with pytest.raises(Exception, match=reason):
            take(line)
