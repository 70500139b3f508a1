# SPDX-License-Identifier: Apache-2.0
"""The launch files, by the real `ros2 launch` where it is, as a ROS 2 installation has it."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from async_chunking.bringup.describe import describe
from async_chunking.robot.embodiment import load

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
NO_LAUNCH = 'launch_ros and ros2launch are not on PyPI; source a ROS 2 installation'
PATIENCE_S = 120.0  # [s].


@pytest.fixture
def launching():
    pytest.importorskip('launch_ros', reason=NO_LAUNCH)
    from async_chunking.bringup import launching

    return launching


@pytest.fixture
def ros2(ros_domain_id, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start `ros2 ...`, its output in the file `log`."""
    program = shutil.which('ros2', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    if program is None or find_spec('ros2launch') is None:
        pytest.skip(NO_LAUNCH)
    started: list[subprocess.Popen] = []

    def start(*words: str) -> subprocess.Popen:
        with (tmp_path / 'log').open('w') as log:
            started.append(
                subprocess.Popen(
                    [program, *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=PATIENCE_S)


def wait_for(predicate: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not predicate():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_names_a_robot_that_exists(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = [call.args[0].value for call in calls if call.func.id == 'robot_launch']
    assert len(names) == 1
    assert load(names[0], sim=True).simulation is not None
    assert path.name == f'{names[0]}.launch.py'


def test_a_launch_file_imports_only_what_every_installation_has() -> None:
    """`ros2 launch` runs it in ros2's own Python, which has none of the nodes' libraries."""
    allowed = {'launch', 'launch_ros', 'ament_index_python', 'yaml', *sys.stdlib_module_names}
    ours, left = set(), {'async_chunking', 'async_chunking.bringup.launching'}
    while left:
        name = left.pop()
        ours.add(name)
        base = ROOT / name.replace('.', '/')
        path = base / '__init__.py' if base.is_dir() else base.with_suffix('.py')
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                top = module.split('.')[0]
                assert top == 'async_chunking' or top in allowed, f'{name} imports {module}'
                if top == 'async_chunking' and module not in ours:
                    parts = module.split('.')
                    left |= {'.'.join(parts[:n]) for n in range(1, len(parts) + 1)} - ours


@pytest.fixture
def included(launching, monkeypatch):
    """Return a function that includes launch files and returns the arguments each robot got."""
    from launch.actions import IncludeLaunchDescription
    from launch.utilities import visit_all_entities_and_collect_futures

    from launch import LaunchContext

    robots = []
    monkeypatch.setattr(
        launching.RobotProcesses, 'start', lambda self: robots.append(self._arguments) or []
    )

    def include(*arguments: dict[str, str], around: dict[str, str] | None = None):
        robots.clear()
        context = LaunchContext()
        context.launch_configurations.update(around or {})
        for given in arguments:
            action = IncludeLaunchDescription(str(FILES[-1]), launch_arguments=given.items())
            visit_all_entities_and_collect_futures(action, context)
        return robots, context.launch_configurations

    return include


def test_a_launch_file_describes_the_nodes_of_bringup(launching) -> None:
    for path in FILES:
        description = launching.robot_launch(path.name.split('.')[0])
        names = [argument.name for argument in description.get_launch_arguments()]
        assert {'strategy', 'namespace', 'autostart'} <= set(names)
        level = description.get_launch_arguments()[names.index('log_level')]
        assert level.choices == ['debug', 'info', 'warn', 'error', 'fatal']


def test_a_second_robot_is_not_told_what_the_first_was(included) -> None:
    robots, left = included(
        {'namespace': 'left', 'strategy': 'ensemble', 'seed': '7'}, {'namespace': 'right'}
    )
    assert [robot['namespace'] for robot in robots] == ['/left', '/right']
    alone = describe(FILES[-1].name.split('.')[0], {}).arguments.strategy
    assert [robot['strategy'] for robot in robots] == ['ensemble', alone]
    assert [robot['seed'] for robot in robots] == [7, 0]
    assert not left


def test_a_robot_is_told_what_the_including_file_set_and_leaves_it(included) -> None:
    around = {'strategy': 'ensemble', 'seed': '3', 'map': 'hall.yaml', 'ros_namespace': '/cell'}
    robots, left = included({'seed': '5', 'namespace': 'left'}, {}, around=around)
    assert [robot['strategy'] for robot in robots] == ['ensemble', 'ensemble']
    assert [robot['seed'] for robot in robots] == [5, 3]
    assert [robot['namespace'] for robot in robots] == ['/cell/left', '/cell']
    assert left == around


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'strateg': 'paint'}, "unknown key 'strateg'. Did you mean 'strategy'?"),
        ({'strategy': 'pain'}, "unknown strategy 'pain'. Did you mean 'paint'?"),
        ({'record': '/tmp'}, 'record: /tmp exists already; choose another folder'),
    ],
)
def test_what_cannot_work_is_refused_by_launch(included, given, message) -> None:
    with pytest.raises(RuntimeError) as error:
        included(given)
    assert message in str(error.value)


def test_texts_are_not_read_as_yaml(launching) -> None:
    from launch_ros.utilities import evaluate_parameters, normalize_parameters

    from launch import LaunchContext

    values = {'instruction': 'yes', 'note': 'pick: the cup', 'seed': 3, 'sim': True}
    typed = normalize_parameters([{k: launching._typed(v) for k, v in values.items()}])
    assert evaluate_parameters(LaunchContext(), typed) == (values,)


_TWO = """
from launch import LaunchDescription
from launch.actions import OpaqueFunction

from async_chunking.bringup.launching import RobotProcesses


def robot(namespace):
    arguments = {'namespace': namespace, 'log_level': 'info', 'duration': 0, 'episodes': 0}
    node = {
        'executable': 'delay_monitor_node', 'name': 'delay_monitor', 'respawn': False,
        'parameters': {'autostart': True}, 'essential': True, 'remappings': {}, 'python': '',
    }
    described = {'nodes': [node], 'arguments': arguments, 'recorded': []}
    return OpaqueFunction(function=lambda context: RobotProcesses(described).start())


def generate_launch_description():
    return LaunchDescription([robot('left'), robot('right')])
"""


def test_a_robot_that_ends_leaves_the_other_and_fails_the_launch(ros2, tmp_path) -> None:
    file, log = tmp_path / 'two.launch.py', tmp_path / 'log'
    file.write_text(_TWO)
    process = ros2('launch', str(file))
    wait_for(lambda: log.read_text().count('process started') == 2, 'two processes')
    pids = [int(part.split(']')[0]) for part in log.read_text().split('with pid [')[1:]]
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: 'process has died' in log.read_text(), 'one has died')
    time.sleep(1.0)
    assert process.poll() is None
    os.kill(pids[1], 0)  # Still there.
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 1
    assert '/left/delay_monitor ended with status -9' in log.read_text()


@pytest.mark.slow
def test_a_launch_ends_after_its_episodes_and_says_so(ros2, tmp_path) -> None:
    process = ros2('launch', 'async_chunking', 'viperx.launch.py', 'episodes:=1')
    assert process.wait(timeout=2 * PATIENCE_S) == 0, (tmp_path / 'log').read_text()[-3000:]
    assert '1 episodes are over' in (tmp_path / 'log').read_text()


@pytest.mark.slow
def test_a_refused_node_fails_the_launch(ros2, tmp_path) -> None:
    """One that bringup alone cannot refuse, since only the node opens the policy."""
    entry = tmp_path / 'broken.py'
    entry.write_text('def make(spec):\n    raise RuntimeError("no weights today")\n')
    words = ('policy:=torch', f'policy_entry:={entry}:make')
    process = ros2('launch', 'async_chunking', 'viperx.launch.py', *words)
    assert process.wait(timeout=2 * PATIENCE_S) == 1
    assert 'no weights today' in (tmp_path / 'log').read_text()
