# SPDX-License-Identifier: Apache-2.0
"""
Recordings, data sets, checkpoints and pictures of other origin and age, with the right answer.

Each case writes its files and asks the package what is in them. An answer is a few words; a
refusal is `refused: ` and its message, of which the right answer has the words that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from async_chunking.errors import AsyncChunkingError

REFUSED = 'refused: '


@dataclass(frozen=True)
class Case:
    """
    A file or folder, and what must be read in it.

    Attributes:
        name: In a few words.
        make: Writes it into an empty folder.
        ask: Returns what the package says of it.
        right: What it must say; of a refusal, words that its message must have.
        alone: Each word must come in the answer; else the answer must be `right`.
    """

    name: str
    make: Callable[[Path], None]
    ask: Callable[[Path], str]
    right: str | Sequence[str]

    def answer(self, folder: Path) -> str:
        """Write the files and return what is said of them."""
        folder.mkdir(parents=True)
        self.make(folder)
        try:
            return self.ask(folder)
        except AsyncChunkingError as error:
            return f'{REFUSED}{error}'.replace(f'{folder}/', '')
        except Exception as error:  # What nobody was meant to see.
            return f'crashed: {error!r}'.replace(f'{folder}/', '')

    def holds(self, answer: str) -> bool:
        """Return whether an answer is right."""
        if isinstance(self.right, str):
            return answer == self.right
        return answer.startswith(REFUSED) and all(word in answer for word in self.right)

    @property
    def shown(self) -> str:
        """The right answer as a table has it."""
        if isinstance(self.right, str):
            return self.right
        return 'refused, naming ' + ', '.join(self.right)


def cases() -> list[Case]:
    """Return all cases."""
    from odd_files import checkpoints, clocks, datasets, files, pictures, robots, together

    modules = (robots, clocks, files, together, datasets, checkpoints, pictures)
    return [case for module in modules for case in module.CASES]
