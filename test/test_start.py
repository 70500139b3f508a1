# SPDX-License-Identifier: Apache-2.0
"""What an installed program says of a Python that lacks what it needs."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from async_chunking.errors import COULD_NOT_START
from async_chunking.start import EXTRAS

_PROGRAM = "from async_chunking.start import start\nstart('async_chunking.cli')\n"


def run(
    tmp_path: Path, program: str, *words: str, **variables: str
) -> subprocess.CompletedProcess:
    path = tmp_path / 'program'
    path.write_text(program)
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, path, *(words or ['version'])],
        capture_output=True, text=True, check=False, env={'PYTHONPATH': root, **variables},
    )  # fmt: skip


def test_another_python_runs_it_with_the_same_words(tmp_path: Path) -> None:
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\necho with $2\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = run(tmp_path, _PROGRAM, ASYNC_CHUNKING_PYTHON=str(python))
    assert done.stdout.splitlines()[0] == 'with version', done.stderr
    assert done.returncode == 0


# Of pydantic 1.10, as far as that is read before its release is.
_OLD = """
import sys, types
sys.modules['pydantic'] = old = types.ModuleType('pydantic')
old.VERSION, old.__file__, old.Field = '1.10.14', '/usr/lib/pydantic.py', None
"""


@pytest.mark.parametrize(
    ('before', 'variables', 'message'),
    [
        ('', {'ASYNC_CHUNKING_PYTHON': '/no/python'}, '/no/python: No such file or directory'),
        ("import sys\nsys.modules['yaml'] = None\n", {}, 'has no yaml: install what'),
        (
            "import sys\nsys.modules['yaml'] = None\n"
            "import async_chunking.start\nasync_chunking.start.EXTRAS['yaml'] = 'sim'\n",
            {},
            "has no yaml: pip install '.[sim]' in the checkout, install what docs/ros2.md names",
        ),
        (
            "import pydantic\npydantic.VERSION = '1.10.14'\n",
            {},
            'is older than 2.5: install what docs/ros2.md names',
        ),
        (_OLD, {}, "cannot import name 'field_validator' from 'pydantic' (/usr/lib/pydantic.py)"),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    tmp_path: Path, before: str, variables: dict[str, str], message: str
) -> None:
    program = before + _PROGRAM.replace('async_chunking.cli', 'async_chunking.policies.options')
    reason = tmp_path / 'reason'  # Where a parent wants to know it.
    done = run(tmp_path, program, **variables, ASYNC_CHUNKING_REASON=str(reason))
    assert message in reason.read_text()
    assert done.returncode == COULD_NOT_START
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_a_command_needs_is_missed_when_it_is_called(tmp_path: Path) -> None:
    program = "import sys\nsys.modules['pydantic'] = None\n" + _PROGRAM
    done = run(tmp_path, program, 'describe', 'viperx')
    assert done.returncode == COULD_NOT_START
    assert 'has no pydantic: install what docs/ros2.md names' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_extra_that_is_named_brings_what_it_is_named_for() -> None:
    """A distribution may have another name than its module."""
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[1] / 'setup.cfg')
    names = {'PIL': 'pillow', 'zmq': 'pyzmq'}
    for module, extra in EXTRAS.items():
        asked = setup['options.extras_require'][extra]
        assert re.search(rf'^{names.get(module, module)}\b', asked, re.MULTILINE), module


@pytest.mark.parametrize(
    ('blocked', 'words', 'extra'),
    [
        ('mujoco', ('bench', 'delay', '--env', 'viperx_slalom'), 'sim'),
        ('torch', ('train', 'flow', '--task', 'viperx_slalom'), 'train'),
        ('rosbags', ('report', 'nowhere'), 'bags'),
    ],
)
def test_a_command_without_its_extra_is_one_line(tmp_path, blocked, words, extra) -> None:
    program = f"import sys\nsys.modules['{blocked}'] = None\n" + _PROGRAM
    done = run(tmp_path, program, *words)
    assert f'.[{extra}]' in done.stderr
    assert len(done.stderr.splitlines()) == 1
