# SPDX-License-Identifier: Apache-2.0
"""
Broken messages through the real deserialiser and into a real executor; a crash is the parent's.

`python -m tools.faults.mutations FIRST COUNT SEED FILE` goes through mutations FIRST to
FIRST + COUNT - 1, and writes after each into FILE (JSON) how far it came and what became of them.
Mutation i is always the same one, so that the parent can go on behind one that was fatal.
"""

from __future__ import annotations

import json
import resource
import sys
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState

from async_chunking.correctors import Corrector
from async_chunking.errors import StreamError
from async_chunking.executor import Behaviour, Executor, ExecutorConfig
from async_chunking.mergers import MERGERS
from async_chunking.msg import ActionChunk, ChunkRequest, DelayEstimate
from async_chunking.nodes import convert
from async_chunking.nodes.observations.streams import JointReader
from async_chunking.robot.embodiment import load
from tools.faults.mutation import mutate

_HORIZON = 16
_VALID = 10  # One answer in so many ticks is as it should be.
_TICK = 5  # Mutations in a tick.
_EVERY = 500  # Mutations between two words to the parent; what follows the last one is redone.
_MEMORY = 4 << 30  # A length that was believed must not take the machine down [bytes].


class Target:
    """An executor, and what its node does with messages.

    Attributes:
        counts: What became of the messages.
    """

    def __init__(self) -> None:
        robot = load('viperx', sim=True)
        self._limits, self._names = robot.limits, robot.joint_names
        self._middle = (self._limits.lower + self._limits.upper) / 2.0
        self._config = ExecutorConfig(self._limits, self._names, _HORIZON, 1)
        behaviour = Behaviour('naive', MERGERS['bspline'](), Corrector())
        self._executor = Executor(self._config, behaviour, 1, self._middle)
        self._joints = JointReader(self._names)
        self._request = ChunkRequest()
        self.counts: Counter[str] = Counter()

    def tick(self) -> None:
        """Ask and step as on a tick; count commands that must not be."""
        asked = self._executor.poll()
        if asked is not None:
            self._request = convert.request_message(asked, self._config, 0)
        if self._executor.tick % _VALID == 0:  # So that there is something to spoil.
            self._executor.push(convert.chunk_value(self._answer(np.zeros(1))))
        before = self._executor.counters.copy()
        command = self._executor.step().command
        self.counts.update(self._executor.counters - before)
        slack = 1e-9
        inside = (command >= self._limits.lower - slack) & (command <= self._limits.upper + slack)
        self.counts['bad_commands'] += not (np.isfinite(command).all() and inside.all())

    def _answer(self, offset: np.ndarray) -> ActionChunk:
        message = convert.answer_message(self._request, self._names)
        rows = np.tile(self._middle + offset, (_HORIZON, 1))
        message.rows, message.columns = rows.shape
        message.actions = convert.to_array(rows)
        return message

    def chunk(self, rng: np.random.Generator) -> bytes:
        """Return a chunk that answers the open request."""
        return serialize_message(self._answer(0.001 * rng.standard_normal(len(self._middle))))

    def take_chunk(self, data: bytes) -> None:
        """Do what the executor node does with a chunk."""
        value = convert.chunk_value(deserialize_message(data, ActionChunk))
        outcome = self._executor.push(self._executor.admit(value))
        self.counts[outcome.name.lower()] += 1

    def request(self, rng: np.random.Generator) -> bytes:
        """Return the open request."""
        del rng  # Unused.
        return serialize_message(self._request)

    def take_request(self, data: bytes) -> None:
        """Do what the policy node does with a request before it computes."""
        convert.request_value(deserialize_message(data, ChunkRequest))
        self.counts['request read'] += 1

    def joints(self, rng: np.random.Generator) -> bytes:
        """Return joint states."""
        noise = 0.1 * rng.standard_normal(len(self._names))
        positions = array('d', (self._middle + noise).tobytes())
        return serialize_message(JointState(name=list(self._names), position=positions))

    def take_joints(self, data: bytes) -> None:
        """Do what every node does with joint states."""
        try:
            self._joints(deserialize_message(data, JointState))
            self.counts['joint_states read'] += 1
        except StreamError:
            self.counts['joint_states refused'] += 1

    def delay(self, rng: np.random.Generator) -> bytes:
        """Return an estimate."""
        return serialize_message(DelayEstimate(delay=int(rng.integers(16)), estimator='maximum'))

    def take_delay(self, data: bytes) -> None:
        """Do what the executor node does with an estimate."""
        message = deserialize_message(data, DelayEstimate)
        self._executor.delay = min(message.delay, _HORIZON)
        self.counts['estimate read'] += 1


def run(first: int, count: int, seed: int, path: Path) -> None:
    """Go through mutations; see the module."""
    target = Target()
    Pair = tuple[Callable[[np.random.Generator], bytes], Callable[[bytes], None]]
    chunk: Pair = (target.chunk, target.take_chunk)
    kinds: list[Pair] = [
        chunk, chunk, chunk,
        (target.joints, target.take_joints),
        (target.request, target.take_request),
        (target.delay, target.take_delay),
    ]  # fmt: skip
    for done, number in enumerate(range(first, first + count), 1):
        rng = np.random.default_rng([seed, number])
        if number % _TICK == 0:
            target.tick()
        make, take = kinds[number % len(kinds)]
        try:
            take(mutate(make(rng), rng))
        except Exception as error:  # As in a node: the message is dropped, the stream goes on.
            target.counts[f'unreadable ({type(error).__name__})'] += 1
        if done % _EVERY == 0 or done == count:
            path.write_text(json.dumps({'done': done, 'counts': target.counts}))


def main() -> None:
    """Run in a process of its own."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    first, count, seed = map(int, sys.argv[1:4])
    run(first, count, seed, Path(sys.argv[4]))


if __name__ == '__main__':
    main()
