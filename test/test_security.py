# SPDX-License-Identifier: Apache-2.0
"""Nothing that is read is ever run: no pickle, no eval, no unsafe YAML, in the whole package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    *sorted((ROOT / 'async_chunking').rglob('*.py')), *sorted((ROOT / 'launch').glob('*.py')),
    *sorted((ROOT / 'requirements').glob('*.py')), ROOT / 'setup.py',
]  # fmt: skip

MODULES = {'pickle', 'cPickle', 'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve'}
BUILTINS = {'eval', 'exec', 'compile', '__import__'}
CALLS = {'os.system', 'os.popen', 'yaml.load', 'yaml.load_all', 'yaml.full_load',
         'yaml.unsafe_load', 'yaml.full_load_all', 'yaml.unsafe_load_all'}  # fmt: skip
# Call -> the argument that it needs.
NEEDED = {'torch.load': ('weights_only', True)}
# Two ends of one program, a socket and a memory between them that no other process is given.
BETWEEN_OWN_PROCESSES = {
    ROOT / 'async_chunking' / 'nodes' / 'sender' / 'link.py': ['import pickle']
}
# Arguments that no call may have.
REFUSED = {('allow_pickle', True), ('shell', True), ('trust_remote_code', True)}


def problems(source: str) -> Iterator[str]:
    """Yield what in a file may run what was read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f'import {a.name}' for a in node.names if a.name.split('.')[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] in MODULES:
            yield f'from {node.module} import'
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {
                (k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)
            }
            if name in BUILTINS | CALLS or given & REFUSED:
                yield ast.unparse(node)
            if name in NEEDED and NEEDED[name] not in given:
                yield ast.unparse(node)


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_that_is_read_is_run(path: Path) -> None:
    calls = list(problems(path.read_text(encoding='utf-8')))
    assert calls == BETWEEN_OWN_PROCESSES.get(path, [])


@pytest.mark.parametrize(
    'source',
    [
        'import pickle', 'from joblib import load', 'eval(text)', 'exec(text)', 'yaml.load(text)',
        'torch.load(path)', 'torch.load(path, weights_only=False)', 'os.system(text)',
        'np.load(path, allow_pickle=True)', 'subprocess.run(text, shell=True)',
    ],
)  # fmt: skip
def test_the_check_can_fail(source: str) -> None:
    assert len(list(problems(source))) == 1


@pytest.mark.parametrize(
    'source',
    ['model.eval()', 're.compile(x)', 'yaml.safe_load(x)', 'torch.load(x, weights_only=True)'],
)
def test_what_only_looks_alike_passes(source: str) -> None:
    assert list(problems(source)) == []


def test_every_subscription_looks_at_the_size_of_a_message_first() -> None:
    """Or is raw, as the recorder's: it writes down bytes."""
    subscriptions = {}
    for path in sorted((ROOT / 'async_chunking').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            call = ast.unparse(node) if isinstance(node, ast.Call) else ''
            if call.partition('(')[0].endswith('.create_subscription'):
                subscriptions[path.name] = 'raw=True' in call
    assert subscriptions == {'bounded.py': True, 'recorder_node.py': True}
