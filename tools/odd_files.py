# SPDX-License-Identifier: Apache-2.0
"""`python -m tools odd_files`: what is read in files of other origin and age, case by case."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from async_chunking.storage import write_json

_TEST = Path(__file__).parents[1] / 'test'


def odd_files(
    pattern: Annotated[str, typer.Argument(help='Only cases whose name has this in it.')] = '',
    markdown: Annotated[bool, typer.Option('--markdown', help='Print it for documents.')] = False,
    json_path: Annotated[Path | None, typer.Option('--json', help='Write the answers.')] = None,
) -> None:
    """Write odd recordings, data sets and checkpoints, and show what is read in them.

    Ends with status 1 if an answer is wrong.
    """
    sys.path.insert(0, str(_TEST))  # Where the cases are, which no installation has.
    from odd_files import cases  # pyright: ignore[reportAttributeAccessIssue]

    rows = []
    with tempfile.TemporaryDirectory(prefix='odd_files_') as folder:
        chosen = [case for case in cases() if pattern in case.name]
        for number, case in enumerate(chosen):
            answer = case.answer(Path(folder, str(number)))
            rows.append((case.name, case.shown, answer, case.holds(answer)))
    if json_path:
        content = [dict(zip(('name', 'right', 'answer', 'holds'), r, strict=True)) for r in rows]
        write_json(content, json_path)
    right = sum(holds for *_, holds in rows)
    if markdown:
        lines = ['| case | right answer | answer | |', '| --- | --- | --- | --- |']
        lines += [f'| {n} | {r} | {"the same" if h else _short(a)} | {_mark(h)} |'
                  for n, r, a, h in rows]  # fmt: skip
        typer.echo('\n'.join(lines))
    else:
        table = Table(caption=f'{right} of {len(rows)} are right')
        for title in ('case', 'right answer', 'answer', ''):
            table.add_column(title)
        for name, wanted, answer, holds in rows:
            table.add_row(name, wanted, 'the same' if holds else _short(answer), _mark(holds))
        Console(width=None if sys.stdout.isatty() else 160).print(table, markup=False)
    raise typer.Exit(0 if right == len(rows) else 1)


def _mark(holds: bool) -> str:
    return 'right' if holds else 'WRONG'


def _short(answer: str) -> str:
    return answer if len(answer) < 160 else f'{answer[:157]}...'
