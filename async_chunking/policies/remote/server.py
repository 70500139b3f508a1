# SPDX-License-Identifier: Apache-2.0
"""What policy servers have in common, whatever their protocol: waiting, failing, shapes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from async_chunking.errors import AsyncChunkingError

_SLICE_S = 0.1  # Between two looks at whether to give up [s].


class ServerError(AsyncChunkingError):
    """A server answered that it cannot, or what no robot can use."""


class Unreachable(ServerError):
    """There is no connection to a server."""


class NoAnswer(ServerError):
    """A server did not answer in time."""


class GivenUp(AsyncChunkingError):
    """Nobody wants the answer any more; no fault of the server."""


class AnswerWait:
    """How long to wait for one answer, and whether anybody still wants it.

    Args:
        seconds: From now on [s].
        give_up: Asked ten times a second.
    """

    def __init__(self, seconds: float, give_up: Callable[[], bool]) -> None:
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._give_up = give_up

    def slice(self) -> float:
        """
        Return how long to block before asking again [s].

        Raises:
            NoAnswer: The time is over.
            GivenUp: The wait was given up.
        """
        if self._give_up():
            msg = 'the wait was given up, since the policy node stops'
            raise GivenUp(msg)
        left = self._deadline - time.monotonic()
        if left <= 0.0:
            msg = f'no answer within {self._seconds:.3g} s'
            raise NoAnswer(msg)
        return min(left, _SLICE_S)

    def at_most(self, seconds: float) -> AnswerWait:
        """Return a wait that ends with this one, or in some seconds if that is earlier."""
        left = self._deadline - time.monotonic()
        return AnswerWait(min(left, seconds), self._give_up)


class PolicyServer(ABC):
    """
    A policy behind a socket.

    Attributes:
        counters: Connections made, and those that could not be.
    """

    counters: Counter[str]

    @abstractmethod
    def chunk(self, observation: Mapping[str, Any], wait: AnswerWait) -> np.ndarray:
        """
        Return actions [H, D].

        Raises:
            ServerError: There are none; says why.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection, if there is one."""


_MOST_ROWS = 10_000
_NUMBERS = 'fiu'  # Kinds of arrays that hold numbers; truth, texts, times and complex do not.


def matrix(name: str, values: Any, column: bool = False) -> np.ndarray:
    """
    Return actions [H, D] as a server has them, maybe with a batch of one.

    Args:
        name: Word for them that begins the message.
        values: As they came.
        column: Numbers [H] are those of a single joint.

    Raises:
        ServerError: They are no numbers, or of another shape.
    """
    try:
        rows = np.array(values)
    except ValueError:  # Rows of different lengths.
        rows = np.array(None)
    if rows.dtype.kind not in _NUMBERS:
        raise ServerError(f'{name} are no numbers: {values!r:.100}')
    rows = rows.astype(np.float64)
    if rows.ndim == 3 and len(rows) == 1:
        rows = rows[0]
    if rows.ndim == 1 and column:
        rows = rows[:, None]
    if rows.ndim != 2 or not rows.size or len(rows) > _MOST_ROWS:
        msg = f'{name} have shape {list(rows.shape)}, expected [rows, columns], '
        raise ServerError(msg + f'at most {_MOST_ROWS} rows')
    return rows


def last_line(text: str) -> str:
    """Return the last line of a traceback, which says what is wrong."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else 'nothing'
