# SPDX-License-Identifier: Apache-2.0
"""The websocket server of openpi: metadata once, then an observation in, a chunk out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import numpy as np
import websockets.asyncio.client
import websockets.exceptions

from async_chunking.policies.remote.server import (
    AnswerWait,
    GivenUp,
    NoAnswer,
    PolicyServer,
    ServerError,
    Unreachable,
    last_line,
    matrix,
)
from async_chunking.policies.remote.wire import LARGEST, WireError, pack, unpack

_CONNECT_S = 10.0  # For a connection to be made [s].


class OpenpiServer(PolicyServer):
    """
    A client of openpi's server.

    A dot in the name of a stream opens a group: `images.cam_high` is sent as
    {'images': {'cam_high': ...}}.

    Args:
        url: ws://host:port or wss://host:port.
        token: Sent as an API key; empty for none.
    """

    def __init__(self, url: str, token: str = '') -> None:
        self._url = url
        self._headers = {'Authorization': f'Api-Key {token}'} if token else None
        # Runs while a question is open and no longer, so nothing is left to stop.
        self._loop = asyncio.new_event_loop()
        self._socket: websockets.asyncio.client.ClientConnection | None = None
        self.counters = Counter(connections=0, unreachable=0)

    def chunk(self, observation: Mapping[str, Any], wait: AnswerWait) -> np.ndarray:
        """See `PolicyServer`."""
        question = pack(grouped(observation), 'openpi')
        try:
            answer = self._loop.run_until_complete(_bounded(self._ask(question), wait))
        except (NoAnswer, GivenUp):
            self._forget()  # Its answer may still come, and belongs to no later question.
            raise
        except (OSError, websockets.exceptions.WebSocketException) as error:
            self._forget()
            self.counters['unreachable'] += 1
            raise Unreachable(f'{error or type(error).__name__}') from error
        if isinstance(answer, str):  # A traceback; its last line says what is wrong.
            raise ServerError(f'the server says: {last_line(answer)}')
        content = unpack(answer)
        if isinstance(content, dict) and 'actions' not in content and 'error' in content:
            raise ServerError(f'the server says: {last_line(str(content["error"]))}')
        if not isinstance(content, dict) or 'actions' not in content:
            keys = ', '.join(map(str, content)) if isinstance(content, dict) else repr(content)
            raise ServerError(f"the answer has no 'actions' but {keys}")
        return matrix('actions', content['actions'])

    async def _greet(self) -> None:
        """Connect and hear the first message, which tells a server of openpi from others."""
        self._socket = await websockets.asyncio.client.connect(
            self._url, compression=None, max_size=LARGEST, ping_interval=None, proxy=None,
            open_timeout=_CONNECT_S, close_timeout=1.0, additional_headers=self._headers,
        )  # fmt: skip
        try:
            _check_metadata(await asyncio.wait_for(self._socket.recv(), _CONNECT_S))
        except (TimeoutError, asyncio.TimeoutError):
            self._forget()
            msg = (
                f'connected, but it sent no metadata within {_CONNECT_S:g} s, which a server of '
                'openpi does first; is this another kind of server?'
            )
            raise ServerError(msg) from None
        except ServerError:
            self._forget()
            raise
        self.counters['connections'] += 1

    async def _ask(self, question: bytes) -> bytes | str:
        while True:
            kept = self._socket is not None
            if self._socket is None:
                await self._greet()
            assert self._socket is not None
            try:
                await self._socket.send(question)
                return await self._socket.recv()
            except websockets.exceptions.ConnectionClosed:
                self._forget()
                if not kept:
                    raise  # An old connection may have died of age; a new one has a reason.

    def _forget(self) -> None:
        """Cut the connection without saying goodbye, which could take its time."""
        if self._socket is not None:
            self._socket.transport.abort()
            self._socket = None

    def close(self) -> None:
        """See `PolicyServer`."""
        self._forget()
        if not self._loop.is_closed():
            # Lets what belonged to the connection end.
            self._loop.run_until_complete(asyncio.sleep(0.0))
            self._loop.close()


def _check_metadata(content: bytes | str) -> None:
    """Refuse a first message that is not openpi's: a dictionary in MessagePack."""
    try:
        message = unpack(content) if isinstance(content, bytes) else None
    except WireError:
        message = None
    if not isinstance(message, dict):
        kind = 'text' if isinstance(content, str) else f'{len(content)} bytes'
        msg = (
            f'its first message is {kind} that begins with {content[:24]!r}, where a server of '
            'openpi sends a dictionary in MessagePack; is this another kind of server?'
        )
        raise ServerError(msg)


def grouped(observation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an observation in which `group.name` has become group -> name."""
    nested: dict[str, Any] = {}
    for name, value in observation.items():
        group, _, key = name.rpartition('.')
        (nested.setdefault(group, {}) if group else nested)[key] = value
    return nested


async def _bounded(job: Coroutine, wait: AnswerWait) -> Any:
    """Return what a job returns, unless the wait is over first; then the job is cancelled."""
    task = asyncio.ensure_future(job)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=wait.slice())
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
