# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/my_robot_data.md, run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/my_robot_data.md').read_text()
PATIENCE = 300.0


def commands() -> list[tuple[bool, list[str]]]:
    """Return whether each command stays in the background, and its words."""
    lines = []
    for mode, block in re.findall(r'<!-- run(: background)? -->\n((?:    .*\n)+)', PAGE):
        for line in block.splitlines():
            first, *words = shlex.split(line)
            program = [sys.executable]
            program += [] if first == 'python' else ['-m', 'async_chunking.cli']
            lines.append((bool(mode), program + words))
    return lines


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / 'examples').symlink_to(ROOT / 'examples')
    environment = os.environ | {'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'}
    said, beside = {}, []
    try:
        for stays, words in commands():
            if stays:
                beside.append(subprocess.Popen(words, cwd=tmp_path, env=environment))
                continue
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True,
                timeout=PATIENCE, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f'{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
            said[' '.join(words[-8:])] = done.stdout
    finally:
        for process in beside:
            process.terminate()
            process.wait(timeout=20.0)
    shown = next(text for words, text in said.items() if 'dataset show' in words)
    assert '6 episodes' in shown
    assert 'joint_1, joint_2' in shown
    runs = json.loads((tmp_path / 'runs/first.json').read_text())
    assert 'paint' in json.dumps(runs)


def test_the_page_shows_every_step() -> None:
    words = [' '.join(line) for _, line in commands()]
    for step in ('from-bags', 'train', 'up', 'report'):
        assert any(f' {step} ' in line for line in words)
