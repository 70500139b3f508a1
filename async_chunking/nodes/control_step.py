# SPDX-License-Identifier: Apache-2.0
"""Writes ControlStep messages without allocating: one message, filled again on every tick."""

from __future__ import annotations

from array import array

import numpy as np

from async_chunking.executor import REJECTIONS, Executor, Step
from async_chunking.msg import ControlStep
from async_chunking.nodes.observations.sample import Sample


class ControlStepWriter:
    """Holds the message.

    Args:
        joint_names: In command order [D].
    """

    def __init__(self, joint_names: tuple[str, ...]) -> None:
        zeros = bytes(4 * len(joint_names))
        self._message = ControlStep(
            joint_names=list(joint_names),
            command=array('f', zeros),
            planned=array('f', zeros),
            measured=array('f', zeros),
        )
        self._command = np.frombuffer(self._message.command, dtype=np.float32)
        self._planned = np.frombuffer(self._message.planned, dtype=np.float32)
        self._measured = np.frombuffer(self._message.measured, dtype=np.float32)

    def write(
        self, step: Step, executor: Executor, measured: Sample | None, now_ns: int
    ) -> ControlStep:
        """Return the message of a step; it is valid until the next call."""
        message = self._message
        message.run_id = executor.run_id
        message.strategy = executor.behaviour.name
        message.tick = step.tick
        message.phase = int(step.phase)
        self._command[:] = step.command
        self._planned[:] = step.planned
        self._measured[:] = np.nan if measured is None else measured.values
        message.measured_age = (
            float('nan') if measured is None else (now_ns - measured.received_ns) * 1e-9
        )
        message.request_id = step.request_id
        message.row = step.row
        message.took_over = step.took_over
        message.delay = step.delay
        message.limited = step.limited
        message.missed = step.missed
        message.teleported = step.teleported
        counters = executor.counters
        message.late_chunks = counters['late'] + counters['expired']
        message.rejected_chunks = sum(counters[name] for name in REJECTIONS)
        message.starved_ticks = counters['starved_ticks']
        message.missed_ticks = counters['missed_ticks']
        message.limited_ticks = counters['limited_ticks']
        return message
