# SPDX-License-Identifier: Apache-2.0
"""A wall clock that can be set for some processes alone; the machine's is left as it is."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix('.c')


def compiler() -> str:
    """Return the C compiler that builds what the processes preload; empty without one."""
    return shutil.which(os.environ.get('CC', 'cc')) or ''


class WallClock:
    """
    The wall clock of all processes that are started with `variables`.

    Args:
        folder: For its files.

    Attributes:
        variables: For the environment of the processes.
    """

    def __init__(self, folder: Path) -> None:
        library, self._file = folder / 'wall_clock.so', folder / 'wall_clock'
        self._file.write_bytes(bytes(mmap.PAGESIZE))
        command = [compiler(), '-O2', '-shared', '-fPIC', '-o', str(library), str(_SOURCE), '-ldl']
        subprocess.run(command, check=True, capture_output=True)
        self.variables = {
            'LD_PRELOAD': str(library), 'ASYNC_CHUNKING_WALL_OFFSET': str(self._file),
        }  # fmt: skip

    def set(self, seconds: int) -> None:
        """Let the clock be off by some seconds from now on."""
        with self._file.open('r+b') as file:
            file.write(struct.pack('q', seconds))
