# SPDX-License-Identifier: Apache-2.0
"""Requests and the chunks that answered them, until their time is over."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from async_chunking.bags.columns import Group
from async_chunking.metrics.record import Exchange


class Rates(NamedTuple):
    """Commands and policy steps per second [Hz]; 0 if unknown."""

    control: float = 0.0
    policy: float = 0.0


class _Request(NamedTuple):
    tick: int
    previous: np.ndarray


class Exchanges:
    """
    Pairs chunks with their requests, by run id and request id.

    Attributes:
        rates: By run id, as requested last.
        checkpoints: Hash of the checkpoint that answered last, by run id.
    """

    def __init__(self) -> None:
        self.rates: dict[int, Rates] = {}
        self.checkpoints: dict[int, str] = {}
        self._requests: dict[int, dict[int, _Request]] = defaultdict(dict)
        self._answered: dict[int, dict[int, Exchange]] = defaultdict(dict)

    def add_requests(self, group: Group) -> None:
        """
        Remember requests.

        Raises:
            BagError: The messages are of another version and lack a field.
        """
        previous = _matrices(group, 'previous')
        run_ids, numbers, ticks = group['run_id'], group['request_id'], group['tick']
        policy = group['policy_rate_hz']
        control = group.arrays.get('control_rate_hz', np.zeros(len(policy)))
        for i, run_id in enumerate(run_ids.tolist()):
            self._requests[run_id][int(numbers[i])] = _Request(int(ticks[i]), previous[i])
            self.rates[run_id] = Rates(float(control[i]), float(policy[i]))

    def add_chunks(self, group: Group) -> None:
        """
        Remember chunks that answer a known request.

        Raises:
            BagError: The messages are of another version and lack a field.
        """
        actions = _matrices(group, 'actions')
        run_ids, numbers = group['run_id'], group['request_id']
        told, age = group['conditioned_delay'], group['observation_age']
        inference, waiting = group['inference_duration'], group['waiting_duration']
        for i, run_id in enumerate(run_ids.tolist()):
            number = int(numbers[i])
            request = self._requests[run_id].get(number)
            # No rows: the policy refused.
            if request is None or not len(actions[i]) or not _fit(request.previous, actions[i]):
                continue
            self.checkpoints[run_id] = group.texts.get('checkpoint', '')
            exchange = Exchange(
                number, request.tick, request.previous, actions[i], int(told[i]),
                float(age[i]), float(inference[i]), float(waiting[i]),
            )  # fmt: skip
            # Only the first answer can have taken over.
            self._answered[run_id].setdefault(number, exchange)

    def of(self, run_id: int) -> dict[int, Exchange]:
        """Return the exchanges of a run that are still open."""
        return dict(self._answered[run_id])

    def forget(self, run_id: int, newest: int) -> None:
        """Drop requests and chunks up to the one that took over last."""
        for known in (self._requests[run_id], self._answered[run_id]):
            for number in [n for n in known if n <= newest]:
                del known[number]


def _fit(previous: np.ndarray, actions: np.ndarray) -> bool:
    return not len(previous) or previous.shape[1] == actions.shape[1]


def _matrices(group: Group, name: str) -> list[np.ndarray]:
    """Return a matrix field of each message, [rows, columns]; no rows if the sizes disagree."""
    values = group.arrays.get(name, np.empty((len(group.index), 0), np.float32))
    shapes = zip(group['rows'].tolist(), group['columns'].tolist(), strict=True)
    return [
        row.reshape(shape) if shape[0] * shape[1] == len(row) else np.empty((0, shape[1]))
        for row, shape in zip(values, shapes, strict=True)
    ]
