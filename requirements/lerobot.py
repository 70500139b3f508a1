#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill .venv-lerobot, a layer on top of .venv: the command behind `make setup-lerobot`.

LeRobot wants older transformers, huggingface-hub and datasets than .venv has. So they lie in an
environment of their own, which finds everything else (torch, ROS 2, this package) in .venv.
Run with the Python of .venv-lerobot, which must be of the version of .venv's.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(sysconfig.get_paths()['purelib'])
BELOW = ROOT / '.venv' / HERE.relative_to(ROOT / '.venv-lerobot')


def main() -> int:
    """Install what is pinned, nothing else, and put .venv below it."""
    (HERE / 'layer.pth').write_text(f'import site; site.addsitedir({str(BELOW)!r})\n')
    # No release accepts the torch of .venv, so nothing may be resolved, only installed.
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
    command += ['--no-deps', '--requirement', str(ROOT / 'requirements' / 'lerobot.txt')]
    subprocess.run(command, check=True)
    patch_torchvision()
    return 0


def patch_torchvision() -> None:
    """Let torchvision be imported where its compiled operators cannot be loaded.

    Its wheel is linked to CUDA, and beside a torch for CPUs it stops at declaring what an operator
    returns that was never loaded. None of them (box suppression) is used by a policy.
    """
    path = HERE / 'torchvision' / '_meta_registrations.py'
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(line for line in lines if not line.startswith('@torch.library.reg')))


if __name__ == '__main__':
    sys.exit(main())
