#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Let what `layer.py lerobot` installed run on the torch and the Python of .venv.

LeRobot wants older transformers and huggingface-hub than .venv has, so they are in a layer of
their own. Run with the Python of .venv-lerobot.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

HERE = Path(sysconfig.get_paths()['purelib'])


def main() -> int:
    """Mend torchvision, and write in its older form what Python 3.11 cannot read."""
    patch_torchvision()
    if sys.version_info < (3, 12):
        for path in (HERE / 'lerobot').rglob('*.py'):
            text = path.read_text(encoding='utf-8')
            if (older := with_old_generics(text)) != text:
                path.write_text(older, encoding='utf-8')
    return 0


def patch_torchvision() -> None:
    """Let torchvision be imported where its compiled operators cannot be loaded.

    Its wheel is linked to CUDA, and beside a torch for CPUs it stops at declaring what an operator
    returns that was never loaded. None of them (box suppression) is used by a policy.
    """
    path = HERE / 'torchvision' / '_meta_registrations.py'
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(''.join(line for line in lines if not line.startswith('@torch.library.reg')))


def with_old_generics(text: str) -> str:
    """Return source code with its PEP 695 generics and type aliases as Python 3.11 writes them."""
    bounds: dict[str, str] = {}

    def names(parameters: str) -> str:
        parts = [part.strip().partition(': ') for part in parameters.split(',')]
        bounds.update({name: bound for name, _, bound in parts})
        return ', '.join(name for name, _, _ in parts)

    def generic_class(match: re.Match[str]) -> str:
        name, parameters, bases = match.groups()
        return f'class {name}({bases + ", " if bases else ""}typing.Generic[{names(parameters)}]):'

    def generic_function(match: re.Match[str]) -> str:
        names(match[2])
        return f'def {match[1]}('

    text = re.sub(r'^type (?=\w+ = )', '', text, flags=re.MULTILINE)
    classes = r'^class (\w+)\[([^]]+)\](?:\((.*)\))?:'
    text = re.sub(classes, generic_class, text, flags=re.MULTILINE)
    text = re.sub(r'^def (\w+)\[([^]]+)\]\(', generic_function, text, flags=re.MULTILINE)
    if not bounds:
        return text
    variables = [
        f'{name} = typing.TypeVar({name!r}{f", bound={bound!r}" if bound else ""})'
        for name, bound in bounds.items()
    ]
    head = '\n'.join(['import typing', *variables, ''])
    first = r'^(?=(?:import|from) (?!__future__))'
    return re.sub(first, head, text, count=1, flags=re.MULTILINE)


if __name__ == '__main__':
    sys.exit(main())
