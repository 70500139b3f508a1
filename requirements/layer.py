#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill .venv-NAME, a layer on .venv, with requirements/NAME.txt: `layer.py NAME [OPTION...]`.

Run with the Python of .venv-NAME, which must be of the version of .venv's. What the layer does not
hold (torch, ROS 2, this package) is found in .venv, and then in the layers that options of the
form --on=NAME name. Other options are for pip.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(sysconfig.get_paths()['purelib'])


def main() -> int:
    """Put .venv below, and install what is pinned; nothing is resolved.

    LeRobot accepts neither the torch nor the Python of .venv, MetaWorld wants another MuJoCo, and
    gym-pusht asks for OpenCV with windows, which needs a display.
    """
    name, *options = sys.argv[1:]
    layers = [option.removeprefix('--on=') for option in options if option.startswith('--on=')]
    options = [option for option in options if not option.startswith('--on=')]
    inside = HERE.relative_to(ROOT / f'.venv-{name}')
    below = [str(ROOT / place / inside) for place in ('.venv', *(f'.venv-{n}' for n in layers))]
    lines = [f'import site; site.addsitedir({place!r})\n' for place in below]
    (HERE / 'layer.pth').write_text(''.join(lines))
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
    command += ['--no-deps', *options, '--requirement', str(ROOT / f'requirements/{name}.txt')]
    return subprocess.run(command, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
