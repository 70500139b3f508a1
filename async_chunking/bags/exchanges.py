# SPDX-License-Identifier: Apache-2.0
"""Requests and the chunks that answered them, until their time is over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from async_chunking.bags.columns import MessageGroup, column
from async_chunking.chunk import Plan
from async_chunking.metrics.record import Exchange

# What stands for a field that a recording of another version has not; all others must be there.
REQUEST_DEFAULTS = {'policy_rate_hz': 0.0, 'control_rate_hz': 0.0}
CHUNK_DEFAULTS = {
    'conditioned_delay': 0, 'observation_age': np.nan, 'inference_duration': np.nan,
    'waiting_duration': np.nan,
}  # fmt: skip
# Field of a chunk -> attribute of `Exchange`; all others of `CHUNK_DEFAULTS` are in its `more`.
_ATTRIBUTES = {
    'conditioned_delay': 'conditioned_delay', 'observation_age': 'observation_age',
    'inference_duration': 'inference', 'waiting_duration': 'waiting',
}  # fmt: skip


RunId = tuple[str, int]  # Namespace of the robot, and number of the run.


class Rates(NamedTuple):
    """Commands and policy steps per second [Hz]; 0 if unknown."""

    control: float = 0.0
    policy: float = 0.0


class _Request(NamedTuple):
    tick: int
    previous: np.ndarray
    joint_names: list[str]


class Exchanges:
    """
    Pairs chunks with their requests, by robot, run id and request id.

    A request may be answered more than once: the executor turns an answer down and takes the next,
    or another publisher answers too. What it then played says which one it was.

    Attributes:
        rates: By run, as requested last.
        checkpoints: Hash of the checkpoint that answered last, by run.
    """

    def __init__(self) -> None:
        self.rates: dict[RunId, Rates] = {}
        self.checkpoints: dict[RunId, str] = {}
        self._requests: dict[RunId, dict[int, _Request]] = defaultdict(dict)
        self._answered: dict[RunId, dict[int, list[Exchange]]] = defaultdict(dict)

    def add_requests(self, namespace: str, group: MessageGroup) -> None:
        """
        Remember requests to a robot's policy.

        Raises:
            BagError: The messages are of another version and lack a field.
        """
        previous = _matrices(group, 'previous')
        run_ids, numbers, ticks = group['run_id'], group['request_id'], group['tick']
        policy = column(group, 'policy_rate_hz', REQUEST_DEFAULTS)
        control = column(group, 'control_rate_hz', REQUEST_DEFAULTS)
        for i, run in enumerate((namespace, number) for number in run_ids.tolist()):
            self._requests[run][int(numbers[i])] = _Request(
                int(ticks[i]), previous[i], group.texts.get('joint_names', [])
            )
            self.rates[run] = Rates(float(control[i]), float(policy[i]))

    def add_chunks(self, namespace: str, group: MessageGroup) -> None:
        """
        Remember chunks that answer a known request and that an executor could take.

        Raises:
            BagError: The messages are of another version and lack a field.
        """
        actions = _matrices(group, 'actions')
        run_ids, numbers = group['run_id'], group['request_id']
        fields = {field: column(group, field, CHUNK_DEFAULTS) for field in CHUNK_DEFAULTS}
        for i, run in enumerate((namespace, number) for number in run_ids.tolist()):
            number = int(numbers[i])
            request = self._requests[run].get(number)
            if request is None or not _fit(request, group, i, actions[i]):
                continue
            self.checkpoints[run] = group.texts.get('checkpoint', '')
            told = {field: values[i].item() for field, values in fields.items()}
            exchange = Exchange(
                number, request.tick, request.previous, actions[i],
                **{name: told.pop(field) for field, name in _ATTRIBUTES.items()}, more=told,
            )  # fmt: skip
            self._answered[run].setdefault(number, []).append(exchange)

    def of(self, run: RunId, ticks: Mapping[str, np.ndarray]) -> dict[int, Exchange]:
        """
        Return the exchanges whose chunk took over in these ticks of a run.

        Args:
            run: Which run.
            ticks: Columns of its ControlSteps: `request_id` [T], `took_over` [T], `row` [T] and
                `planned` [T, D].
        """
        answered = self._answered[run]
        taken = ticks['request_id'][ticks['took_over'].astype(bool)].tolist()
        return {n: _played(answered[n], n, ticks) for n in taken if n in answered}

    def __len__(self) -> int:
        """Return how many requests and answers are kept."""
        kept = (*self._requests.values(), *self._answered.values())
        return sum(map(len, kept))

    def forget(self, run: RunId, newest: int) -> None:
        """Drop requests and chunks up to the one that took over last."""
        for known in (self._requests[run], self._answered[run]):
            for number in [n for n in known if n <= newest]:
                del known[number]


def _fit(request: _Request, group: MessageGroup, index: int, actions: np.ndarray) -> bool:
    """Return whether a chunk answers a request, as far as ids, names and numbers say."""
    columns = request.previous.shape[1] or actions.shape[1]
    named = group.texts.get('joint_names')
    return bool(
        not group.texts.get('refusal')
        and int(group['tick'][index]) == request.tick
        and len(actions) and actions.shape[1] == columns
        and (not named or not request.joint_names or named == request.joint_names)
        and np.isfinite(actions).all()
    )  # fmt: skip


def _played(answers: list[Exchange], number: int, ticks: Mapping[str, np.ndarray]) -> Exchange:
    """Return the answer to a request that lies nearest to what was planned while it was played."""
    if len(answers) == 1:
        return answers[0]
    played = (ticks['request_id'] == number) & np.isfinite(ticks['row'])
    row, planned = ticks['row'][played].astype(float), ticks['planned'][played]

    def distance(answer: Exchange) -> float:
        if answer.actions.shape[1] != planned.shape[1]:
            return np.inf
        off = np.abs(Plan(0.0, 1.0, answer.actions, number, 0).at(row) - planned)
        off = off[np.isfinite(off)]
        return float(off.mean()) if len(off) else np.inf

    return min(answers, key=distance)


def _matrices(group: MessageGroup, name: str) -> list[np.ndarray]:
    """Return a matrix field of each message, [rows, columns]; no rows if the sizes disagree."""
    values = group.arrays.get(name, np.empty((len(group.index), 0), np.float32))
    shapes = zip(group['rows'].tolist(), group['columns'].tolist(), strict=True)
    return [
        row.reshape(shape) if shape[0] * shape[1] == len(row) else np.empty((0, shape[1]))
        for row, shape in zip(values, shapes, strict=True)
    ]
