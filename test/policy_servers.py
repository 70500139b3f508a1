# SPDX-License-Identifier: Apache-2.0
"""Policy servers on loopback, as openpi and GR00T have them, but with a rule instead of a model.

They write their messages themselves and share no code with the clients that are tested.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np

HORIZON = 16

Rule = Callable[[dict], Any]
"""Observation as received -> chunk; may sleep, raise, or return nonsense."""


def read_openpi(content: bytes) -> Any:
    def hook(value: dict) -> Any:
        if b'__ndarray__' not in value:
            return value
        kind = np.dtype(value[b'dtype'])
        return np.ndarray(buffer=value[b'data'], dtype=kind, shape=value[b'shape'])

    return msgpack.unpackb(content, object_hook=hook)


def write_openpi(content: Any) -> bytes:
    def default(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {
                b'__ndarray__': True,
                b'data': value.tobytes(),
                b'dtype': value.dtype.str,
                b'shape': value.shape,
            }
        return value

    return msgpack.packb(content, default=default)


class OpenpiPeer:
    """Metadata first, then an observation in, a dictionary with 'actions' out; port 0 is any."""

    def __init__(self, rule: Rule, port: int = 0, greeting: bytes | str | None = b'') -> None:
        """`greeting` is sent first: b'' for metadata as openpi's, None for nothing."""
        from websockets.sync.server import serve

        self.rule = rule
        self.greeting = write_openpi({'name': 'a test'}) if greeting == b'' else greeting
        self.seen: list[dict] = []
        self.headers: list[Any] = []
        self.connections: list[Any] = []
        self._server = serve(self._handle, '127.0.0.1', port, compression=None, max_size=None)
        self.port = self._server.socket.getsockname()[1]
        self.url = f'ws://127.0.0.1:{self.port}'
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _handle(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        self.connections.append(connection)
        self.headers.append(connection.request.headers)
        with contextlib.suppress(ConnectionClosed):
            if self.greeting is not None:
                connection.send(self.greeting)
            while True:
                self.seen.append(read_openpi(connection.recv()))
                try:
                    actions = self.rule(self.seen[-1])
                except Exception as error:
                    connection.send(f'Traceback (most recent call last):\n  …\n{error!r}')
                    connection.close(1011)
                    return
                answer = actions if isinstance(actions, (dict, str)) else {'actions': actions}
                connection.send(answer if isinstance(answer, str) else write_openpi(answer))

    def cut(self) -> None:
        """Close all connections without an answer."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(2)

    def stop(self) -> None:
        """End it, as a crash would: connections too."""
        self.cut()
        self._server.shutdown()
        self._thread.join(timeout=5.0)


def read_gr00t(content: bytes) -> Any:
    def hook(value: dict) -> Any:
        if '__ndarray_class__' in value:
            return np.load(io.BytesIO(value['as_npy']), allow_pickle=False)
        return value

    return msgpack.unpackb(content, object_hook=hook)


def write_gr00t(content: Any) -> bytes:
    def default(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            file = io.BytesIO()
            np.save(file, value, allow_pickle=False)
            return {'__ndarray_class__': True, 'as_npy': file.getvalue()}
        return value

    return msgpack.packb(content, default=default)


class Gr00tPeer:
    """ROUTER instead of REP, so that one client's silence is no other's."""

    def __init__(self, rule: Rule, modalities: dict | None = None, port: int = 0) -> None:
        import zmq

        self.rule = rule
        self.modalities = modalities
        self.seen: list[dict] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f'tcp://127.0.0.1:{port}')
        self.url = self._socket.last_endpoint.decode().replace('tcp', 'gr00t')
        self.port = int(self.url.rpartition(':')[2])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if self._socket.poll(20):
                client, empty, content = self._socket.recv_multipart()
                answer = self._answer(read_gr00t(content))
                if answer is not None:
                    self._socket.send_multipart([client, empty, write_gr00t(answer)])
        self._socket.close()

    def _answer(self, question: dict) -> Any:
        if question['endpoint'] == 'get_modality_config':
            return self.modalities or {'error': 'unknown endpoint'}
        self.seen.append(question['data'])
        try:
            return self.rule(question['data'])
        except Exception as error:
            return {'error': repr(error)}

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5.0)
        self._context.term()


@contextlib.contextmanager
def running(server: Any) -> Iterator[Any]:
    try:
        yield server
    finally:
        server.stop()


def stand_still(size: int, key: str = 'observation.state') -> Rule:
    """Return the rule of a policy that stays where the robot is."""

    def rule(observation: dict) -> np.ndarray:
        state: Any = observation
        for part in key.split('.'):
            state = state[part]
        return np.tile(np.asarray(state, dtype=np.float64).reshape(-1)[:size], (HORIZON, 1))

    return rule


def slow(rule: Rule, seconds: Callable[[], float]) -> Rule:
    def late(observation: dict) -> Any:
        time.sleep(seconds())
        return rule(observation)

    return late
