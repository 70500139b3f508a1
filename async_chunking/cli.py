# SPDX-License-Identifier: Apache-2.0
"""The `async-chunking` command.

COMMANDS is the whole list. Only the chosen command's module is imported, so `--help` is quick and
a command pays for the libraries it uses and no others. To add one, write a function with Typer
annotations (or a Typer application with commands of its own) and add a line. What measures and
attacks the package has a command of its own, `python -m tools`, in a checkout.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import import_module, metadata, util

import typer

import async_chunking
from async_chunking import ros_environment
from async_chunking.errors import AsyncChunkingError

Commands = Mapping[str, tuple[str, str, str]]
"""Name -> module, function or Typer application in it, one line of help."""

COMMANDS: Commands = {
    'advise': (
        'async_chunking.bench.advise_command',
        'advise_command',
        'Recommend a strategy for a latency.',
    ),
    'arguments': ('async_chunking.bringup.arguments', 'arguments', 'Show what `up` takes.'),
    'bench': ('async_chunking.bench.cli', 'app', 'Measure strategies, in closed loop.'),
    'dataset': ('async_chunking.dataset.command', 'app', 'Make and check demonstrations.'),
    'demo': ('async_chunking.commands.demo', 'demo', 'Run the simulated ViperX; print a table.'),
    'describe': ('async_chunking.bringup.arguments', 'describe', 'Show what `up` would start.'),
    'env': ('async_chunking.cli', 'env', 'Show where ROS 2 and the other libraries were found.'),
    'instruct': ('async_chunking.commands.control', 'instruct', 'Tell a running policy its task.'),
    'probe': ('async_chunking.bench.probe_command', 'probe', 'Measure where noise acts.'),
    'report': ('async_chunking.bags.command', 'report', 'Turn recordings into tables and plots.'),
    'reset': ('async_chunking.commands.control', 'reset', 'Begin a new run of a running robot.'),
    'robot': ('async_chunking.commands.robot', 'robot', 'Begin a robot YAML from URDF or MJCF.'),
    'set': ('async_chunking.commands.control', 'set_', 'Change a strategy while a robot runs.'),
    'status': ('async_chunking.commands.control', 'status', 'Show what a running robot reports.'),
    'stop': ('async_chunking.commands.control', 'stop', 'Brake a running robot to rest.'),
    'strategies': ('async_chunking.commands.catalogue', 'strategies', 'Show every strategy.'),
    'train': ('async_chunking.training.command', 'train', 'Train a policy by a recipe.'),
    'up': ('async_chunking.bringup.up', 'up', 'Start a robot, watch it, say how well it went.'),
    'version': ('async_chunking.cli', 'version', 'Show the version of the package.'),
    'watch': ('async_chunking.commands.watch', 'watch', 'Plot a running robot, live.'),
}


def main() -> None:
    """Run `async-chunking`."""
    run('async-chunking', 'Drive a robot at a steady rate from a slow chunked policy.', COMMANDS)


def run(program: str, purpose: str, commands: Commands) -> None:
    """Run a command line; a user's mistake ends with its message and status 2."""
    chosen = next((word for word in sys.argv[1:] if not word.startswith('-')), None)
    ros_environment.activate()
    try:
        chosen_one = application(chosen, purpose, commands)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # While all was imported.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        chosen_one(prog_name=program)
    except AsyncChunkingError as error:
        typer.secho(f'error: {error}', fg='red', err=True)
        sys.exit(2)


def application(
    chosen: str | None, purpose: str = '', commands: Commands = COMMANDS
) -> typer.Typer:
    """Return the application in which `chosen` is real and the other commands are only names."""
    app = typer.Typer(
        help=purpose,
        no_args_is_help=True,
        rich_markup_mode=None,  # Which would take units, such as [ms], for markup.
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_no_common_options)
    for name, (module, attribute, line) in commands.items():
        command = getattr(import_module(module), attribute) if name == chosen else _only_a_name
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, help=line)
        else:
            app.command(
                name,
                help=command.__doc__ if name == chosen else line,
                context_settings=getattr(command, 'context_settings', None),
            )(command)
    return app


def version() -> None:
    """Show the version of the package."""
    typer.echo(async_chunking.__version__)


def env() -> None:
    """Show where ROS 2 and the other libraries were found."""
    variables = ros_environment.environment()
    rows = {
        'async_chunking': async_chunking.__version__,
        'python': f'{platform.python_version()} ({sys.prefix})',
        'ROS 2': {
            'sourced': f'sourced installation ({variables.get("ROS_DISTRO", "unknown")})',
            'wheels': f'wheels in this environment, rclpy {_installed("ros-rclpy")}',
            'none': 'not found: source an installation or run `make setup`',
        }[ros_environment.origin()],
        'messages': _place('async_chunking.msg') or 'not built: `make setup` or `colcon build`',
        'numpy': _installed('numpy'),
        'torch': _installed('torch'),
        'mujoco': _installed('mujoco'),
    }
    names = ('AMENT_PREFIX_PATH', 'RMW_IMPLEMENTATION', 'ROS_DOMAIN_ID', 'LD_LIBRARY_PATH')
    rows |= {name: variables.get(name, '(not set)') for name in names}
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f'{name:<{width}}  {value}')


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return 'not installed'


def _place(module: str) -> str | None:
    spec = util.find_spec(module)
    return os.path.dirname(spec.origin) if spec and spec.origin else None


def _no_common_options() -> None:
    pass


_only_a_name: Callable[[], None] = _no_common_options

if __name__ == '__main__':
    main()
