# SPDX-License-Identifier: Apache-2.0
"""`make setup` stops before it changes anything where the machine lacks something."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

BOOTSTRAP = Path(__file__).resolve().parent.parent / 'requirements' / 'bootstrap.py'


def run_with(**variables: str) -> subprocess.CompletedProcess:
    python = getattr(
        sys, '_base_executable', sys.executable
    )  # Not that of .venv: it sets ROS_DISTRO.
    command = [python, '-I', BOOTSTRAP]
    env = os.environ | variables
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def loaded(name: str) -> Any:
    """Return a script of requirements/ as a module."""
    path = BOOTSTRAP.with_name(f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'{name}_setup', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_tools_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    done = run_with(PATH=str(tmp_path), ROS_DISTRO='kilted')
    assert done.returncode == 1
    assert 'sudo apt-get install cmake g++ gcc' in done.stderr


@pytest.mark.parametrize('distro', ['humble', 'Kilted'])
def test_an_unknown_distribution_is_refused_with_the_choices(distro: str) -> None:
    done = run_with(ROS_DISTRO=distro)
    assert done.returncode == 1
    assert f"ROS_DISTRO is '{distro}'; choose one of jazzy, kilted" in done.stderr


@pytest.mark.parametrize(
    ('old', 'told'),
    [
        ('kilted', 'Jazzy takes the place of Kilted; ROS_DISTRO=kilted keeps it'),
        ('jazzy', ''),
        (None, ''),
    ],
)
def test_a_change_of_the_distribution_is_told(old: str | None, told: str, tmp_path: Path) -> None:
    setup = loaded('bootstrap')
    setup.NOTE = tmp_path / 'ros_distro'
    if old:
        setup.NOTE.write_text(f'{old}\n')
    assert setup.switch(setup.DISTROS[0]) == told


def test_generics_of_python_3_12_are_written_in_their_older_form() -> None:
    with pytest.MonkeyPatch.context() as patch:  # It is run with the Python of .venv-lerobot.
        patch.setattr(sysconfig, 'get_paths', lambda: {'purelib': BOOTSTRAP.parents[1] / NEAR})
        setup = loaded('lerobot')
    names: dict[str, Any] = {}
    exec(setup.with_old_generics(NEW), names)
    assert names['Pair'] == tuple[int, int]
    assert names['Box'](3).held == 3
    assert names['Box'][int].__origin__ is names['Box']
    assert issubclass(names['Named'], names['Base'])
    assert names['same'](4) == 4
    assert setup.with_old_generics(OLD) == OLD


NEAR = '.venv-lerobot/lib/python3.11/site-packages'
OLD = 'import os\n\ndef plain(x: list[int]) -> int:\n    return x[0]\n'
NEW = """
from __future__ import annotations
from dataclasses import dataclass

type Pair = tuple[int, int]

class Base:
    pass

@dataclass
class Box[T]:
    held: T

class Named[T, U](Base):
    pass

def same[T: Base](x: T) -> T:
    return x
"""
