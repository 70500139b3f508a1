# SPDX-License-Identifier: Apache-2.0
"""
`python -m tools docs`: rewrite what the code says of itself in README and docs.

A block is what stands between `<!-- generated: COMMAND -->` and `<!-- /generated -->`; COMMAND is
run and its output put there. Other blocks, `<!-- NAME: COMMAND -->`, hold measurements: COMMAND is
how they were made, and nobody repeats them in passing.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from async_chunking.errors import AsyncChunkingError

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'(<!-- generated: (.+?) -->\n).*?(\n<!-- /generated -->)', re.DOTALL)
# How a command of the documents is run in this Python.
PROGRAMS = {'async-chunking': ('-m', 'async_chunking.cli'), 'python': ()}


class DocumentError(AsyncChunkingError):
    """A block of a document cannot be written."""


def documents(root: Path = ROOT) -> Iterator[Path]:
    """Yield the README, CONTRIBUTING and every page of docs/."""
    yield from (root / 'README.md', root / 'CONTRIBUTING.md')
    yield from sorted((root / 'docs').glob('*.md'))


def output(command: str) -> str:
    """
    Return what a command of a block prints.

    Raises:
        DocumentError: It is none of ours, or fails.
    """
    program, *words = shlex.split(command)
    if program not in PROGRAMS:
        msg = f'`{command}` begins with {program!r}. Choices: {", ".join(PROGRAMS)}'
        raise DocumentError(msg)
    line = [sys.executable, *PROGRAMS[program], *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f'`{command}` ended with status {done.returncode}: {done.stderr[-500:]}'
        raise DocumentError(msg)
    return done.stdout.strip()


def rewritten(text: str) -> str:
    """Return a document with every generated block as the code would write it now."""
    return BLOCK.sub(lambda match: f'{match[1]}{output(match[2])}{match[3]}', text)


def docs(
    check: Annotated[bool, typer.Option('--check', help='Write nothing; status 1 if stale.')] = (
        False
    ),
) -> None:
    """Rewrite the generated blocks of README and docs."""
    stale = []
    for path in documents():
        text = path.read_text(encoding='utf-8')
        new = rewritten(text)
        if new != text:
            stale.append(path.relative_to(ROOT))
            if not check:
                path.write_text(new, encoding='utf-8')
    for name in stale:
        typer.echo(f'{name}: {"is stale; run `make docs`" if check else "rewritten"}')
    raise typer.Exit(1 if check and stale else 0)
