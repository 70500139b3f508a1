# SPDX-License-Identifier: Apache-2.0
"""Which module may import what: the core needs no ROS 2, and the executor process no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'async_chunking'

ROS = ('rclpy', 'launch', 'launch_ros', 'ament_index_python', 'builtin_interfaces', 'std_srvs')
ROS += ('diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'nav_msgs', 'rosgraph_msgs')
ROS += ('sensor_msgs', 'std_msgs', 'trajectory_msgs', 'async_chunking.msg')
TORCH = ('torch',)
# Libraries of extras that live in an environment of their own.
ELSEWHERE = (
    'jax',
    'flax',
    'optax',
    'orbax',
    'kinetix',
    'jax2d',
    'transformers',
    'peft',
    'lerobot',
    'gymnasium',
    'metaworld',
    'gym_aloha',
)
# Everything that is not listed here belongs to the numpy tier, new modules too.
TORCH_TIER = ('samplers', 'policies', 'training', 'sim', 'bench')

# Imports each module in turn, with the blocked names out of reach, and prints the failures.
PROBE = """
import importlib, sys
blocked, names, elsewhere = (words.split() for words in sys.argv[1:])
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == b or name.startswith(b + '.') for b in blocked):
            raise ImportError('blocked: ' + name)
sys.meta_path.insert(0, Blocker())
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if (error.name or '').split('.')[0] not in elsewhere:
            print(name, error)
"""


def modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield dotted names and files of every module that shall not know ROS 2."""
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        if parts[1] != 'nodes' and parts[-1] not in {'__main__', 'launching'}:
            yield '.'.join(parts).removesuffix('.__init__'), path


def tier(name: str) -> str:
    return 'torch' if name.split('.')[1:2] and name.split('.')[1] in TORCH_TIER else 'numpy'


def failures(names: list[str], blocked: tuple[str, ...], cwd: Path = ROOT) -> str:
    command = [sys.executable, '-c', PROBE, *map(' '.join, (blocked, names, ELSEWHERE))]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, inside functions too."""
    names = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            names |= {statement.module, *(f'{statement.module}.{a.name}' for a in statement.names)}
    return names


def forbidden(path: Path, blocked: tuple[str, ...]) -> set[str]:
    names = imported(path)
    return {n for n in names for b in blocked if n == b or n.startswith(b + '.')}


@pytest.mark.parametrize('which', ['numpy', 'torch'])
def test_modules_import_without_what_their_tier_forbids(which: str) -> None:
    names = [name for name, _ in modules(PACKAGE) if tier(name) == which]
    assert names
    blocked = ROS + TORCH if which == 'numpy' else ROS
    assert failures(names, blocked) == ''


def test_no_module_imports_above_its_tier_even_inside_a_function() -> None:
    for name, path in modules(PACKAGE):
        blocked = ROS + TORCH if tier(name) == 'numpy' else ROS
        assert not forbidden(path, blocked), f'{name} belongs to the {tier(name)} tier'


def test_the_product_never_imports_what_proves_it() -> None:
    for path in sorted(PACKAGE.rglob('*.py')):
        assert not forbidden(path, ('tools',)), f'{path.name} needs what is not installed'


def test_the_checks_can_fail(tmp_path: Path) -> None:
    folder = tmp_path / 'sample'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'top.py').write_text('import rclpy.node\n')
    (folder / 'inside.py').write_text('def f():\n    from torch import nn\n')
    (folder / 'through.py').write_text('from sample import top\n')
    names = [name for name, _ in modules(folder)]
    out = failures(names, ROS, cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in out] == ['sample.through', 'sample.top']
    assert forbidden(folder / 'inside.py', TORCH) == {'torch', 'torch.nn'}
    assert forbidden(folder / 'through.py', ROS) == set()


@pytest.mark.parametrize('name', ['executor_node', 'delay_monitor_node', 'sim_node'])
def test_node_processes_never_load_torch(name: str) -> None:
    pytest.importorskip('rclpy')
    pytest.importorskip('async_chunking.msg')
    if not (PACKAGE / 'nodes' / f'{name}.py').exists():
        pytest.skip(f'no {name} yet')
    assert failures([f'async_chunking.nodes.{name}'], TORCH) == ''


def graph(folder: Path) -> dict[str, set[str]]:
    """Return which module of a package names which others, for types and inside functions too."""
    paths = {
        '.'.join(path.relative_to(folder.parent).with_suffix('').parts).removesuffix(
            '.__init__'
        ): path
        for path in folder.rglob('*.py')
    }
    return {name: (imported(path) & set(paths)) - {name} for name, path in paths.items()}


def test_no_modules_import_each_other_in_a_circle(tmp_path: Path) -> None:
    modules_of = graph(PACKAGE)
    # `from package import module` names both; the package's face is meant by neither.
    tuple(TopologicalSorter(without_faces(modules_of)).static_order())
    folder = tmp_path / 'sample'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'one.py').write_text('from sample.two import b\n')
    (folder / 'two.py').write_text('def b():\n    from sample.one import a\n')
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph(folder)).static_order())


def without_faces(modules_of: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the graph without edges to a package where a module of it is named as well."""
    return {
        name: {
            other
            for other in others
            if not any(more.startswith(other + '.') for more in others)
            and other != 'async_chunking'
        }
        for name, others in modules_of.items()
    }
