# SPDX-License-Identifier: Apache-2.0
"""`make setup` stops before it changes anything where the machine lacks something."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).resolve().parent.parent / 'requirements' / 'bootstrap.py'


def run_with(**variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-I', BOOTSTRAP]
    env = os.environ | variables
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_missing_tools_are_named_with_the_command_that_brings_them(tmp_path: Path) -> None:
    found = run_with(PATH=str(tmp_path), ROS_DISTRO='kilted')
    assert found.returncode == 1
    assert 'sudo apt-get install cmake g++ gcc' in found.stderr


@pytest.mark.parametrize('distro', ['humble', 'Kilted'])
def test_an_unknown_distribution_is_refused_with_the_choices(distro: str) -> None:
    found = run_with(ROS_DISTRO=distro)
    assert found.returncode == 1
    assert f"ROS_DISTRO is '{distro}'; choose one of kilted, jazzy" in found.stderr
