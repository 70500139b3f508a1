#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill .venv-gym, a layer on top of .venv: the command behind `make setup-gym`.

Run with the Python of .venv-gym, which must be of the version of .venv's. Its MuJoCo is the one
that MetaWorld was made with; torch and this package are those of .venv.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(sysconfig.get_paths()['purelib'])
BELOW = ROOT / '.venv' / HERE.relative_to(ROOT / '.venv-gym')


def main() -> int:
    """Install what is pinned, nothing else, and put .venv below it."""
    (HERE / 'layer.pth').write_text(f'import site; site.addsitedir({str(BELOW)!r})\n')
    # Nothing is resolved: gym-pusht asks for OpenCV with windows, which needs a display.
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
    command += ['--no-deps', '--requirement', str(ROOT / 'requirements' / 'gym.txt')]
    return subprocess.run(command, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
