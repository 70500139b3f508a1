# SPDX-License-Identifier: Apache-2.0
"""Tables of text, from one description: for terminals (Rich) and for documents (Markdown)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

NOTHING = '–'
"""Cell for what is unknown."""

_BETWEEN = 2  # Spaces between two columns.
_LEAST = 24  # A column that is wrapped keeps this width.


@dataclass(frozen=True)
class Table:
    """
    Text in rows and columns; the first column names the row, the others hold numbers.

    In a terminal a unit in brackets goes below its heading, and columns that do not fit beside
    each other follow below, each time after the first column: no cell is ever cut.

    Attributes:
        title: For terminals; a document has a sentence of its own.
        columns: Headings; a unit is in brackets at the end.
        rows: Cells. A row of one cell is the heading of those below it.
        words: Columns that hold words, set to the left.
        wrapped: One of these, whose words may go on in the next line.
        note: What is said below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    wrapped: str = ''
    note: str = ''

    def rich(self, width: int) -> Group:
        """Return it for a terminal of some width; brackets in strings are no markup."""
        lines: list[Text | RichTable] = [Text(self.title, 'bold')] if self.title else []
        for group in self._groups(width):
            lines += [*([Text()] if lines else []), self._part(group, width)]
        return Group(*lines, *([Text(), Text(self.note)] if self.note else []))

    def markdown(self) -> str:
        """Return it for a document, without title and note."""
        rules = ('---' if self._has_words(i) else '---:' for i in range(len(self.columns)))
        rows = (
            row if len(row) != 1 else (f'**{row[0]}**', *[''] * (len(self.columns) - 1))
            for row in self.rows
        )
        lines = [self.columns, tuple(rules), *rows]
        escaped = ([cell.replace('|', r'\|') for cell in line] for line in lines)
        return ''.join(f'| {" | ".join(line)} |\n' for line in escaped)

    def _has_words(self, index: int) -> bool:
        return index == 0 or self.columns[index] in self.words

    def _heading(self, index: int) -> str:
        return self.columns[index].replace(' [', '\n[')

    def _width(self, index: int) -> int:
        """Return how many characters a column takes."""
        if self.wrapped and self.columns[index] == self.wrapped:
            return _LEAST
        cells = [self._heading(index), *(row[index] for row in self.rows if len(row) > index)]
        return max(cell_len(line) for cell in cells for line in cell.split('\n'))

    def _groups(self, width: int) -> Iterator[list[int]]:
        """Yield the columns that fit beside each other, the first one in each group."""
        group, taken = [0], self._width(0)
        for index in range(1, len(self.columns)):
            more = self._width(index) + _BETWEEN
            if taken + more > width and len(group) > 1:
                yield group
                group, taken = [0], self._width(0)
            group.append(index)
            taken += more
        yield group

    def _part(self, group: Sequence[int], width: int) -> RichTable:
        fits = sum(self._width(index) + _BETWEEN for index in group) - _BETWEEN <= width
        part = RichTable(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _BETWEEN - 1, 0, 0)
        )
        for index in group:
            part.add_column(
                Text(self._heading(index)),
                justify='left' if self._has_words(index) else 'right',
                no_wrap=self.columns[index] != self.wrapped and (index > 0 or fits),
            )
        for row in self.rows:
            if len(row) == 1:
                part.add_section()
                part.add_row(Text(row[0], 'bold'))
            else:
                part.add_row(*(Text(row[index]) for index in group))
        return part


def show(table: Table, as_markdown: bool = False, console: Console | None = None) -> None:
    """Print a table, for documents or for a terminal; without one, for 80 columns."""
    console = console or Console()
    if as_markdown:
        text = f'{table.title}:\n\n{table.markdown()}\n' if table.title else table.markdown()
        console.print(text, end='', markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(table.rich(console.width), '')
