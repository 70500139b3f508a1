# SPDX-License-Identifier: Apache-2.0
"""`python -m tools` in this process."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from async_chunking.cli import application
from tools.__main__ import COMMANDS


def invoke(name: str, *words: str, catch_exceptions: bool = True) -> Result:
    """Run a command of `python -m tools`."""
    command = application(name, commands=COMMANDS)
    return CliRunner().invoke(command, [name, *words], catch_exceptions=catch_exceptions)
