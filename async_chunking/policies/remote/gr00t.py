# SPDX-License-Identifier: Apache-2.0
"""The ZeroMQ server of GR00T: 'get_action', in and out by groups of joints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import zmq

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
from async_chunking.policies.remote.wire import LARGEST, pack, unpack
from async_chunking.robot.embodiment import Embodiment

_CONNECT_S = 10.0  # For a server to tell what it is [s].
_GROUPS = ('video', 'state', 'language')
# How a modality configuration is marked -> how its server writes arrays.
_MARKERS = {'__ModalityConfig_class__': 'numpy_file', '__ModalityConfig__': 'msgpack_numpy'}


class Gr00tServer(PolicyServer):
    """
    A client of GR00T's server.

    Streams are named `video.…`, `state.…` and `language.…`; the groups of actions that come back
    are the robot's groups. The server's modality configuration says whether it belongs to N1.5
    (names with dots, no batch) or to N1.6 and later (nested, with a batch).

    Args:
        url: gr00t://host:port.
        robot: Whose groups the actions are.
        token: Sent as `api_token`; empty for none.
    """

    def __init__(self, url: str, robot: Embodiment, token: str = '') -> None:
        self._address = url.replace('gr00t://', 'tcp://', 1)
        self._robot = robot
        self._token = {'api_token': token} if token else {}
        self._context = zmq.Context()
        self._socket: zmq.Socket | None = None
        self._form = 'numpy_file'
        self._flat = False
        self.counters = Counter(connections=0, unreachable=0)

    def chunk(self, observation: Mapping[str, Any], wait: AnswerWait) -> np.ndarray:
        """See `PolicyServer`."""
        try:
            if self._socket is None:
                self._connect(observation, wait)
            sent = _n15(observation) if self._flat else {
                'observation': _n16(observation), 'options': None,
            }  # fmt: skip
            answer = self._call({'endpoint': 'get_action', 'data': sent}, wait)
        except (NoAnswer, GivenUp):
            self._forget()  # Its answer may still come, and belongs to no later question.
            raise
        except (Unreachable, zmq.ZMQError) as error:
            self._forget()
            self.counters['unreachable'] += 1
            raise Unreachable(f'{error}') from error
        actions = answer[0] if isinstance(answer, list) and answer else answer
        if not isinstance(actions, dict):
            raise ServerError(f'the answer is {actions!r:.100}, not actions by group')
        named = {str(key).removeprefix('action.'): values for key, values in actions.items()}
        if len(named) != len(actions):
            given = ', '.join(map(str, actions))
            raise ServerError(f'two groups of actions have one name: {given}')
        return self._joined(named)

    def _connect(self, observation: Mapping[str, Any], wait: AnswerWait) -> None:
        self._socket = self._context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, LARGEST)
        self._socket.connect(self._address)
        try:
            reply = self._call({'endpoint': 'get_modality_config'}, wait.at_most(_CONNECT_S))
        except NoAnswer as error:  # It computes nothing for this: there is no such server.
            raise Unreachable(f'{error} to get_modality_config') from None
        except ServerError:
            reply = {}  # A server of that style need not know the question.
        try:
            self._learn(reply, observation)
        except ServerError:
            self._forget()  # The next connection asks again.
            raise
        self.counters['connections'] += 1

    def _learn(self, reply: Any, observation: Mapping[str, Any]) -> None:
        """Take over how a server writes and names things, and refuse what it misses."""
        try:
            self._form, wanted = _modalities(reply)
        except ServerError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            msg = f'its modality configuration is not understood ({error!r:.100})'
            raise ServerError(msg) from error
        self._flat = any(key.split('.')[0] == group for group, key in wanted)
        names = {key if self._flat else f'{group}.{key}' for group, key in wanted}
        have = {name.removeprefix('language.') if self._flat else name for name in observation}
        if missing := sorted(names - have):
            given = ', '.join(observation)
            raise ServerError(f"the server reads '{missing[0]}', the robot has only {given}")

    def _call(self, question: dict, wait: AnswerWait) -> Any:
        assert self._socket is not None
        self._socket.send(pack({**question, **self._token}, self._form))
        while not self._socket.poll(round(wait.slice() * 1e3)):
            pass
        answer = unpack(self._socket.recv())
        if isinstance(answer, dict) and 'error' in answer:
            raise ServerError(f'the server says: {last_line(str(answer["error"]))}')
        return answer

    def _joined(self, actions: Mapping[str, Any]) -> np.ndarray:
        """Return all joints [H, D] from the groups of them."""
        robot = self._robot
        groups = {group.name: group.joints for group in robot.groups}
        groups = groups or {name: () for name in actions}
        if missing := sorted(set(groups) - set(actions)):
            given = ', '.join(actions)
            msg = f"no actions of group '{missing[0]}' of robot {robot.name}; there are {given}"
            raise ServerError(msg)
        parts = {name: matrix(name, actions[name], column=True) for name in groups}
        if len(rows := {len(part) for part in parts.values()}) != 1:
            raise ServerError(f'the groups differ in rows: {sorted(rows)}')
        if not robot.groups:
            return np.hstack(list(parts.values()))
        joined = np.empty((rows.pop(), len(robot.joints)))
        for name, joints in groups.items():
            if parts[name].shape[1] != len(joints):
                msg = (
                    f"group '{name}' has {parts[name].shape[1]} action dimensions, robot "
                    f'{robot.name} has {len(joints)} joints in it'
                )
                raise ServerError(msg)
            joined[:, [robot.joint_names.index(joint) for joint in joints]] = parts[name]
        return joined

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def close(self) -> None:
        """See `PolicyServer`."""
        self._forget()
        self._context.term()


def _n15(observation: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in observation.items():
        key = name.removeprefix('language.')
        flat[key] = [value] if isinstance(value, str) else _single(value)[None]
    return flat


def _n16(observation: Mapping[str, Any]) -> dict[str, Any]:
    grouped: dict[str, Any] = {group: {} for group in _GROUPS}
    for name, value in observation.items():
        group, _, key = name.partition('.')
        if group not in grouped:
            msg = f"'{name}' begins with none of video. state. language."
            raise ServerError(msg)
        grouped[group][key] = [[value]] if isinstance(value, str) else _single(value)[None, None]
    return grouped


def _single(value: np.ndarray) -> np.ndarray:
    return value if value.dtype == np.uint8 else np.asarray(value, dtype=np.float32)


def _modalities(reply: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return how the server writes arrays, and (group, key) of all that it reads."""
    form, wanted = 'numpy_file', []
    for group in _GROUPS:
        config = reply.get(group) if isinstance(reply, dict) else None
        for marker, known in _MARKERS.items():
            if isinstance(config, dict) and marker in config:
                form, config = known, config['as_json']
        config = json.loads(config) if isinstance(config, str) else config
        if isinstance(config, dict):
            wanted += [(group, str(key)) for key in config.get('modality_keys', ())]
            steps = len(config.get('delta_indices', (0,)))
            if steps != 1:
                raise ServerError(f'the server reads {steps} steps of {group}, 1 is sent')
    return form, wanted
