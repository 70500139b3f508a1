# SPDX-License-Identifier: Apache-2.0
"""What every installed program does first; only the standard library is imported.

The programs begin with the Python that the package was built with. Where that lacks what the nodes
need, ASYNC_CHUNKING_PYTHON names another one, such as a virtual environment's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import NoReturn

from async_chunking.errors import COULD_NOT_START, AsyncChunkingError

VARIABLE = 'ASYNC_CHUNKING_PYTHON'
# Environment variable: nodes end when the process that it names, their parent, does.
PARENT_VARIABLE = 'ASYNC_CHUNKING_END_WITH_PARENT'
# Environment variable: the file in which a node that fails leaves the reason for its parent.
REASON_VARIABLE = 'ASYNC_CHUNKING_REASON'
# Module that a part of the package needs -> extra that brings it.
EXTRAS = {
    'PIL': 'report', 'gymnasium': 'gym', 'matplotlib': 'report', 'msgpack': 'remote',
    'mujoco': 'sim', 'peft': 'train', 'plotly': 'report', 'pyarrow': 'bags', 'ray': 'ray',
    'rosbags': 'bags', 'ruckig': 'sim', 'safetensors': 'train', 'torch': 'train',
    'transformers': 'vla', 'websockets': 'remote', 'zmq': 'remote',
}  # fmt: skip


def command() -> NoReturn:
    """Run `async-chunking`."""
    start('async_chunking.cli')


def start(module: str) -> NoReturn:
    """Run `main` of a module; what cannot be imported ends the process with one sentence."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # No traceback of whatever is being imported.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    python = os.environ.pop(VARIABLE, '')
    if python:
        try:
            os.execv(python, [python, *sys.argv])
        except OSError as error:
            _refuse(f'{VARIABLE}={python}: {error.strerror}')
    try:
        status = import_module(module).main()
    except ImportError as error:
        name = error.name or ''
        if name == 'async_chunking.msg':
            _refuse('the messages are not built: make setup, or colcon build and source it')
        if name.startswith('async_chunking'):
            raise
        missing = isinstance(error, ModuleNotFoundError)  # Else the release of it is too old.
        what = f' has no {name}' if missing else f': {error}'
        extra = EXTRAS.get(name.partition('.')[0]) if missing else None
        remedy = f"pip install '.[{extra}]' in the checkout, " if extra else ''
        _refuse(
            f'{sys.executable}{what}: {remedy}install what docs/ros2.md names, '
            f'or let {VARIABLE} name a Python that has it'
        )
    except AsyncChunkingError as error:
        _refuse(str(error))
    sys.exit(status)


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Let SIGINT wait in processes that are begun meanwhile, until they unblock it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_reason(sentence: str) -> None:
    """Tell whoever started this process why it ends, if they want to know."""
    path = os.environ.get(REASON_VARIABLE, '')
    if path:
        with contextlib.suppress(OSError), open(path, 'w', encoding='utf-8') as file:
            file.write(sentence)


def _refuse(sentence: str) -> NoReturn:
    leave_reason(sentence)
    print(f'error: {sentence}', file=sys.stderr, flush=True)
    sys.exit(COULD_NOT_START)


if __name__ == '__main__':  # `up` has chosen this Python.
    os.environ.pop(VARIABLE, None)
    start(sys.argv.pop(1))
