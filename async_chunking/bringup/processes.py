# SPDX-License-Identifier: Apache-2.0
"""The processes of a robot: started from data, watched, and stopped without leaving one behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from async_chunking.bringup.nodes import NodeSpec
from async_chunking.errors import COULD_NOT_START
from async_chunking.ros_environment import environment
from async_chunking.start import PARENT_VARIABLE, REASON_VARIABLE, held_interrupts

_PATIENCE = (8.0, 3.0)  # Seconds from SIGINT to SIGTERM, and from there to SIGKILL.
# Of what a node logs, unless the user has a format: seconds since 1970 say little to people.
_LOG_FORMAT = {
    'RCUTILS_CONSOLE_OUTPUT_FORMAT': '[{severity}] [{date_time_with_ms}] [{name}]: {message}'
}
_RECORDER_PATIENCE_S = 30.0  # [s].
_BACK_OFF = (
    0.5  # Between two starts of a node that dies, doubled each time up to ten times it [s].
)


class Processes:
    """Runs nodes; use it as a context, so that none survives an error.

    Args:
        nodes: What to start.
        namespace: Namespace of all of them.
        log_level: Log level of all of them.
        output: File that takes what the nodes print; None leaves it on the terminal.
        variables: Laid over the environment.
        own_session: Whether each has a session of its own.

    Attributes:
        restarts: Node -> how often it was started again.
        lost: Which node ended without which the robot goes on; empty if none did.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        namespace: str,
        log_level: str,
        output: int | None = None,
        variables: Mapping[str, str] | None = None,
        own_session: bool = True,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._namespace = namespace
        self._log_level = log_level
        self._output = output
        self._variables = dict(variables or {})
        self._own_session = own_session
        self._folder = tempfile.TemporaryDirectory(prefix='async_chunking_')
        self._running: dict[str, subprocess.Popen] = {}
        self._again: dict[str, float] = {}
        self.lost = ''
        self.restarts = dict.fromkeys(self._nodes, 0)

    def __enter__(self) -> Processes:
        for name in self._nodes:
            self._start(name)
            self._await_recording(name)
        return self

    def _await_recording(self, name: str) -> None:
        """Let a recorder make its folder before there is something to record."""
        path = self._nodes[name].parameters.get('path')
        deadline = time.monotonic() + _RECORDER_PATIENCE_S
        while path and not os.path.exists(path) and time.monotonic() < deadline:
            if self._running[name].poll() is not None:
                return
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.stop(list(self._running))
        self._folder.cleanup()

    def look_after(self) -> str:
        """Start again what died and may; return which node ended the run, if one did."""
        for name, process in list(self._running.items()):
            if process.poll() is None:
                continue
            if process.returncode == COULD_NOT_START and not self.restarts[name]:
                return f'{name} could not start{self._reason(name)}'
            if not self._nodes[name].respawn:
                ended = f'{name} ended with status {process.returncode}{self._reason(name)}'
                if self._nodes[name].essential:
                    return ended
                self.lost = self.lost or ended
            elif name not in self._again:
                wait = _BACK_OFF * min(2 ** self.restarts[name], 10)
                self._again[name] = time.monotonic() + wait
            elif time.monotonic() >= self._again[name]:
                del self._again[name]
                self.restarts[name] += 1
                self._start(name)
        return ''

    def _reason(self, name: str) -> str:
        """Return the reason that a node left, after a colon; empty if it left none."""
        with contextlib.suppress(OSError):
            reason = self._reason_file(name).read_text(encoding='utf-8').strip()
            return f': {reason}' if reason else ''
        return ''

    def _reason_file(self, name: str) -> Path:
        return Path(self._folder.name, f'{name}.reason')

    def pid(self, name: str) -> int:
        """Return the process id of a node, 0 while it is not running."""
        process = self._running.get(name)
        return process.pid if process is not None and process.poll() is None else 0

    def stop(self, names: Sequence[str]) -> None:
        """End nodes: SIGINT, so that they bring the robot to rest, then less and less polite."""
        left = [self._running[name] for name in names if name in self._running]
        for number, patience in zip(
            (signal.SIGINT, signal.SIGTERM, signal.SIGKILL), (*_PATIENCE, 5.0), strict=True
        ):
            for process in left:
                _signal(process, number)
            deadline = time.monotonic() + patience
            while any(process.poll() is None for process in left) and time.monotonic() < deadline:
                time.sleep(0.02)
            left = [process for process in left if process.poll() is None]
        for name in names:
            self._running.pop(name, None)

    def _start(self, name: str) -> None:
        node = self._nodes[name]
        path = Path(self._folder.name, f'{name}.yaml')
        path.write_text(yaml.safe_dump({'/**': {'ros__parameters': dict(node.parameters)}}))
        command = [
            node.python or sys.executable, '-m', 'async_chunking.start',
            f'async_chunking.nodes.{node.executable}',
            '--ros-args', '-r', f'__node:={name}', '--params-file', str(path),
            '--log-level', self._log_level,
        ]  # fmt: skip
        for topic, other in node.remappings.items():
            command += ['-r', f'{topic}:={other}']
        if self._namespace:
            command += ['-r', f'__ns:=/{self._namespace.strip("/")}']
        self._reason_file(name).unlink(missing_ok=True)  # Of the process before.
        # A session of its own: Ctrl-C in the terminal reaches only the parent, which stops the
        # nodes in order; and if the parent dies, the nodes end by themselves.
        with held_interrupts():  # A node that Python begins takes it without a traceback.
            self._running[name] = subprocess.Popen(
                command,
                env=_LOG_FORMAT
                | environment()
                | self._variables
                | {
                    PARENT_VARIABLE: str(os.getpid()),
                    REASON_VARIABLE: str(self._reason_file(name)),
                },
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=self._own_session,
                process_group=None if self._own_session else 0,  # It is signalled as a whole.
            )


def _signal(process: subprocess.Popen, number: int) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
