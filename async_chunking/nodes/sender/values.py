# SPDX-License-Identifier: Apache-2.0
"""What the node and its sender tell each other."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from async_chunking.executor import Behaviour, ExecutorConfig
from async_chunking.nodes.observations.sample import Sample
from async_chunking.robot.embodiment import Command


@dataclass(frozen=True)
class Setup:
    """What a sender must know before it can send.

    Attributes:
        config: Settings of the executor.
        commands: Topics that it sends on, each with its full name.
        steps: Topic of ControlStep, with its full name.
        requests: Topic of ChunkRequest, with its full name.
        node: Name and namespace of the node that it belongs to.
        domain: Domain of ROS.
        arguments: For ROS.
        overrides: Parameters that override quality of service.
        simulated: Whether a simulation sets the pace.
        streams: Name -> numbers of what a corrector reads.
        priority: SCHED_FIFO priority, 0 for none.
        lock_memory: Keep all memory in RAM.
    """

    config: ExecutorConfig
    commands: tuple[Command, ...]
    steps: str
    requests: str
    node: tuple[str, str]
    domain: int
    arguments: tuple[str, ...] = ()
    overrides: tuple[Any, ...] = ()
    simulated: bool = False
    streams: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    lock_memory: bool = False


class Start(NamedTuple):
    """Order: begin to send, when a pose is known.

    Attributes:
        behaviour: Merger and corrector to begin with.
        displaced: What is done if joints rest elsewhere than at the last command.
    """

    behaviour: Behaviour
    displaced: str = 'keep'


class Begin(NamedTuple):
    """Order: begin a new run; see `CommandLoop.begin`."""

    most: np.ndarray
    displaced: str = 'keep'


class Word(enum.Enum):
    """Orders that need no more than a word."""

    BRAKE = enum.auto()  # Rest within the limits until a new run begins.
    REST = enum.auto()  # Rest, let go of the robot and send no more.
    CLOSE = enum.auto()  # Forget the setup.


class Known(NamedTuple):
    """The newest that the node knows; numbers only.

    Attributes:
        pose: [D] where the robot is believed to be, None before that is known [rad, m].
        measured: Newest joint positions, for reports.
        observation: Newest of every stream, for the corrector.
        reported: What drivers report, one number for each command topic; NaN for nothing.
        delay: To condition the next request on [steps].
    """

    pose: np.ndarray | None = None
    measured: Sample | None = None
    observation: Mapping[str, np.ndarray] | None = None
    reported: tuple[float, ...] = ()
    delay: int = 0


class Status(NamedTuple):
    """What the sender tells after every tick, and after every order.

    Attributes:
        done: Number of the newest order that was carried out.
        active: Whether it sends, or waits for a pose to begin at.
        run_id: Number of the current run, 0 before the first.
        tick: Newest.
        phase: Value of `Phase`.
        strategy: In force.
        served: The last strategy of which a chunk took over.
        command: [D] the last that was sent; empty before the first.
        counters: By name, of all runs.
        trouble: The last error of publishing; the stream goes on.
        denied: Wishes about scheduling and memory that the system did not grant.
        error: Why it sends no more, or could not begin.
    """

    done: int = 0
    active: bool = False
    run_id: int = 0
    tick: int = 0
    phase: int = 0
    strategy: str = ''
    served: str = ''
    command: np.ndarray = np.empty(0)
    counters: Mapping[str, int] = {}
    trouble: str = ''
    denied: tuple[str, ...] = ()
    error: str = ''


class KnownLayout:
    """`Known` as bytes of a fixed size.

    Args:
        setup: Says how many numbers there are of each.
    """

    def __init__(self, setup: Setup) -> None:
        joints = setup.config.action_dim
        self._streams = tuple(setup.streams)
        fields: list[Any] = [
            ('pose', 'f8', (joints,)), ('measured', 'f8', (joints,)), ('received_ns', 'i8'),
            ('delay', 'i8'), ('reported', 'f8', (len(setup.commands),)),
            *((f'stream {name}', 'f8', (size,)) for name, size in setup.streams.items()),
        ]  # fmt: skip
        self._type = np.dtype(fields)
        self._record = np.zeros(1, self._type)

    @property
    def size(self) -> int:
        """Size of every value [bytes]."""
        return self._type.itemsize

    def pack(self, known: Known) -> bytes:
        """Return the bytes; what is not known is NaN in them."""
        record, observation = self._record, known.observation or {}
        record['pose'] = np.nan if known.pose is None else known.pose
        record['measured'] = np.nan if known.measured is None else known.measured.values
        record['received_ns'] = 0 if known.measured is None else known.measured.received_ns
        record['delay'] = known.delay
        record['reported'] = known.reported or np.nan
        for name in self._streams:
            record[f'stream {name}'] = observation.get(name, np.nan)
        return record.tobytes()

    def unpack(self, data: bytes) -> Known:
        """Return the value."""
        (record,) = np.frombuffer(data, self._type)
        pose, measured = record['pose'], record['measured']
        received_ns = int(record['received_ns'])  # 0: nothing was.
        streams = {name: record[f'stream {name}'] for name in self._streams}
        streams = {name: values for name, values in streams.items() if values[0] == values[0]}
        return Known(
            pose=pose if pose[0] == pose[0] else None,
            measured=Sample(received_ns, measured) if received_ns else None,
            observation=streams or None,
            reported=tuple(record['reported'].tolist()),
            delay=int(record['delay']),
        )  # fmt: skip
