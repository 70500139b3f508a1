# SPDX-License-Identifier: Apache-2.0
"""
`policy:=remote policy_url:=…`: a policy behind a server of openpi or GR00T.

A server hands out chunks and no velocity, so the strategies that need none work on it. It is asked
once when it is opened, with a made-up observation, which shows what its chunks look like; the
first answer may take long, as servers compile then.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import ChunkPolicy, Observation
from async_chunking.policies.checkpoint.directory import corrector_offers
from async_chunking.policies.fit import example_observation
from async_chunking.policies.remote.gr00t import Gr00tServer
from async_chunking.policies.remote.openpi import OpenpiServer
from async_chunking.policies.remote.server import (
    AnswerWait,
    GivenUp,
    NoAnswer,
    PolicyServer,
    ServerError,
    Unreachable,
)
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.strategies import Strategy

TOKEN_VARIABLE = 'ASYNC_CHUNKING_POLICY_TOKEN'  # Not a parameter, as these are recorded.
_FIRST_S = 180.0  # For the first answer of all [s].
_BACK_OFF_S = 0.5  # From a connection that failed to the next try [s].

# Scheme of an address -> its server.
SERVERS: dict[str, Callable[[PolicySpec, str], PolicyServer]] = {
    'ws': lambda spec, token: OpenpiServer(spec.options.policy_url, token),
    'wss': lambda spec, token: OpenpiServer(spec.options.policy_url, token),
    'gr00t': lambda spec, token: Gr00tServer(spec.options.policy_url, spec.robot, token),
}


class RemoteError(AsyncChunkingError):
    """A server is not there, does not answer or cannot."""


class RemoteSource(PolicySource):
    """
    A policy behind a server.

    Args:
        spec: `url` of the server; `path` is the folder of a corrector if any.

    Raises:
        RemoteError: It cannot be reached, or does not like the robot's observation.
    """

    expects: Mapping[str, tuple[int, ...]] = {}  # What it does not like, it says.

    def __init__(self, spec: PolicySpec) -> None:
        self.title = spec.options.policy_url
        self._spec = spec
        scheme = spec.options.policy_url.partition('://')[0]
        if scheme not in SERVERS or '://' not in spec.options.policy_url:
            msg = f"policy_url '{spec.options.policy_url}' must begin with one of: "
            raise RemoteError(msg + ', '.join(f'{name}://' for name in SERVERS))
        self._server = SERVERS[scheme](spec, os.environ.get(TOKEN_VARIABLE, ''))
        self._counts = Counter(timeouts=0, errors=0)
        self._not_before = 0.0
        self._shape: tuple[int, int] | None = None
        try:
            self.horizon, self.action_dim = self.ask(
                example_observation(spec.robot), _FIRST_S
            ).shape
        except RemoteError:
            self.close()
            raise
        self._shape = self.horizon, self.action_dim
        self.offers = corrector_offers(spec.options.policy_path)

    def policy_for(self, strategy: Strategy, device: torch.device | str = 'cpu') -> RemotePolicy:
        """Return the policy; the server chose its device."""
        del strategy, device  # Unused.
        return RemotePolicy(self)

    def ask(self, observation: Mapping[str, Any], seconds: float = 0.0) -> np.ndarray:
        """
        Return the server's chunk [H, D] for an observation without batch.

        Args:
            observation: Name -> array or text.
            seconds: For the answer; 0 for the usual time [s].

        Raises:
            RemoteError: There is none in time; the next call tries again, on a new connection.
        """
        wait = AnswerWait(seconds or self._spec.options.policy_timeout_s, self._spec.give_up)
        try:
            while (left := self._not_before - time.monotonic()) > 0.0:
                time.sleep(min(left, wait.slice()))
            return self._checked(self._server.chunk(observation, wait))
        except AsyncChunkingError as error:
            raise RemoteError(self._explained(error, first=seconds > 0.0)) from error

    def _explained(self, error: AsyncChunkingError, first: bool) -> str:
        """Count what went wrong and return the sentence about it."""
        sentence = f'{self.title}: {error}'
        if isinstance(error, GivenUp):
            return sentence
        if isinstance(error, NoAnswer):
            self._counts['timeouts'] += 1
            if first:  # Which has its own patience.
                return f'{sentence} to the first question; see what the server prints'
            return f'{sentence}; raise policy_timeout_s if it needs longer'
        if isinstance(error, Unreachable):
            self._not_before = time.monotonic() + _BACK_OFF_S
            return f'{sentence}; is the server running, and is this its address?'
        self._counts['errors'] += 1
        return sentence

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        if self._shape not in (None, actions.shape):
            shown = ' x '.join(map(str, actions.shape))
            msg = f'the chunk is {shown}, it was {self.horizon} x {self.action_dim} at the start'
            raise ServerError(msg)
        return actions

    def counters(self) -> Mapping[str, int]:
        """Return connections made and failed, timeouts, and answers that were none."""
        counts = {**self._server.counters, **self._counts}
        return {f'server {name}': count for name, count in counts.items()}

    def close(self) -> None:
        """End the connection."""
        self._server.close()


class RemotePolicy(ChunkPolicy):
    """A server's policy; batches are of one."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source
        self.horizon = source.horizon
        self.action_dim = source.action_dim
        self.offers = source.offers

    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Ask the server; it draws its own noise."""
        del generator  # Unused.
        single = {
            name: values[0].numpy() if isinstance(values, Tensor) else values[0]
            for name, values in observation.items()
        }
        return torch.from_numpy(self._source.ask(single))[None]


def open_policy(spec: PolicySpec) -> RemoteSource:
    """Connect to a server; see `RemoteSource`."""
    return RemoteSource(spec)
