# SPDX-License-Identifier: Apache-2.0
"""A simulated robot in real processes, with a link between its nodes, for faults to happen to."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from async_chunking.bringup.describe import describe
from async_chunking.bringup.nodes import NodeSpec
from async_chunking.bringup.processes import Processes
from async_chunking.errors import AsyncChunkingError
from async_chunking.executor import Phase
from tools.faults.wall_clock import WallClock

if TYPE_CHECKING:
    from tools.faults.link import LossyLink

NAMESPACE = '/faults'  # Broken messages must not reach a robot that happens to run as well.
PATIENCE_S = 240.0  # For a robot to start, or to go on after a fault, on a busy machine [s].
_LATENCY_MS = '60'
_BELOW = 2  # The priority of the link is below that of the executor's threads by this.
# A fault may last longer than the default; a safe stop would wait for an operator then.
_OVERRIDES = {'executor': {'hold_timeout_s': 3600.0, 'lock_memory': True}}


class FaultError(AsyncChunkingError):
    """A fault could not be injected, or its robot did not start."""


class FaultScene:
    """Starts the robot when it is entered, and stops it when it is left.

    Args:
        robot: Name of a description with a simulation and one command topic.
        priority: SCHED_FIFO priority of the command thread, 0 for none.
        clock: The nodes' wall clock, where it shall be set.
        seed: Seed of everything random in the faults.
        kind: '' as simulations run; 'kept', where a reset keeps every command, as robots do;
            'clock', where the simulation sets the clock.

    Attributes:
        robot: Description of the robot.
        link: Between its nodes.
        processes: Nodes of the robot.
        bag: Where they are recorded.
        folder: For what is needed on the way.
        clock: The nodes' wall clock, None if it is the machine's.
        rng: For the faults.
    """

    processes: Processes
    link: LossyLink

    def __init__(
        self,
        robot: str = 'viperx',
        priority: int = 0,
        clock: WallClock | None = None,
        seed: int = 0,
        kind: str = '',
    ) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory('_faults')))
        self.bag = self.folder / 'bag'
        self.clock = clock
        bringup = describe(robot, {
            'namespace': NAMESPACE, 'record': str(self.bag), 'latency_ms': _LATENCY_MS,
            'log_level': 'error', 'seed': seed, 'realtime_priority': priority,
            'use_sim_time': kind == 'clock',
        })  # fmt: skip
        self._changes = {'executor': dict(_OVERRIDES['executor'])}
        if kind == 'kept':
            self._changes['executor']['if_displaced'] = 'keep'
        self._priority = priority
        self.robot = bringup.robot
        self._nodes = bringup.nodes
        self.rng = np.random.default_rng(seed)

    def __enter__(self) -> FaultScene:
        from tools.faults.link import LossyLink

        with self._stack:
            self.log_path = self.folder / 'log'
            output = self._stack.enter_context(self.log_path.open('wb'))
            self.link = LossyLink(self.robot, NAMESPACE)
            self._stack.callback(self.link.close)
            self.processes = self._stack.enter_context(
                Processes(
                    [self.spec(n.name) for n in self._nodes], NAMESPACE, 'error', output.fileno(),
                    self.clock.variables if self.clock else {},
                )
            )  # fmt: skip
            if not self.until(self.executing, PATIENCE_S):
                msg = f'no chunk was executed within {PATIENCE_S:.0f} s\n{self.printed()}'
                raise FaultError(msg)
            self._watch_closely()
            self._stack = self._stack.pop_all()
        return self

    def spec(self, name: str) -> NodeSpec:
        """Return how a node is started."""
        from tools.faults.link import linked

        (node,) = (node for node in self._nodes if node.name == name)
        parameters = {**node.parameters, **self._changes.get(name, {})}
        return replace(node, parameters=parameters, remappings=linked(node))

    def _watch_closely(self) -> None:
        """Let the link come before everything but the executor: it must see in time, too."""
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK  # Not the nodes that are started again.
        for thread in os.listdir('/proc/self/task') if self._priority > _BELOW else ():
            os.sched_setscheduler(int(thread), policy, os.sched_param(self._priority - _BELOW))

    def __exit__(self, *_: object) -> None:
        if self._priority > _BELOW:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        self._stack.close()

    def stop(self) -> None:
        """Stop the nodes, the recorder last; the recording stays until the scene is left."""
        names = [node.name for node in self._nodes if node.name != 'recorder']
        self.processes.stop(names)
        self.processes.stop(['recorder'])

    def printed(self) -> str:
        """Return the end of what the nodes printed."""
        return self.log_path.read_text(errors='replace')[-3000:]

    # --- time passes ----------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass, with the faults that are there.

        Raises:
            FaultError: A node that must not end did.
        """
        self.until(lambda: False, seconds)

    def until(self, holds: Callable[[], object], seconds: float) -> bool:
        """Let time pass until something holds; return whether it did; raises as `run`."""
        end = time.monotonic() + seconds
        while not holds():
            left = end - time.monotonic()
            if left <= 0.0:
                return False
            self.link.spin(min(left, 0.02))
            if ended := self.processes.look_after():
                msg = f'{ended}\n{self.printed()}'
                raise FaultError(msg)
        return True

    def executing(self) -> bool:
        """Return whether a chunk is being executed."""
        steps = self.link.log.steps
        return bool(steps) and steps[-1].phase == Phase.EXECUTING

    # --- tools of the faults --------------------------------------------------------------------

    def signal(self, node: str, number: int) -> None:
        """Send a signal to a node that runs."""
        if pid := self.processes.pid(node):
            os.kill(pid, number)

    @contextmanager
    def filtered(self, topic: str, through: Callable[[Any], Iterable[Any]]) -> Iterator[None]:
        """Send on, instead of each message of a topic, what a function makes of it."""
        self.link.filters[topic] = through
        try:
            yield
        finally:
            del self.link.filters[topic]

    def set_parameter(self, node: str, name: str, new: Any) -> str:
        """Set a parameter; return why it was refused, '' if it was not."""
        return self._answer(self.link.set_parameter(node, name, new), f'{node} about {name}')

    def change_state(self, node: str, transition: str) -> str:
        """Let a node go through a transition of its lifecycle; returns as `set_parameter`."""
        return self._answer(self.link.change_state(node, transition), f'{node} about {transition}')

    def new_run(self) -> str:
        """Let the executor begin a new run; returns as `set_parameter`."""
        return self.order('reset')

    def order(self, name: str) -> str:
        """Call a service of the executor; returns as `set_parameter`."""
        return self._answer(self.link.order(name), f'the executor about {name}')

    def _answer(self, ask: Callable[[], str | None], what: str) -> str:
        if not self.until(lambda: ask() is not None, PATIENCE_S):
            msg = f'no answer of {what} within {PATIENCE_S:.0f} s'
            raise FaultError(msg)
        return ask() or ''
