# SPDX-License-Identifier: Apache-2.0
"""Recordings as other recorders leave them: any distribution, storage, compression, name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from driver_messages import DEFINITIONS
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

OWN = Path(__file__).parents[2] / 'msg'
BEGIN = 10**18
STEP = 'async_chunking/msg/ControlStep'
JOINTS = 'sensor_msgs/msg/JointState'
NUMBERS = 'std_msgs/msg/Float64MultiArray'
TEXT = 'std_msgs/msg/String'
SINGLE = 'interbotix_xs_msgs/msg/JointSingleCommand'


class Line(NamedTuple):
    """A message of `kind` on `topic` at a time [s]; `values` by field, zeros for the others."""

    seconds: float
    topic: str
    kind: str
    values: dict[str, Any]


@cache
def store_of(distribution: Stores) -> Any:
    store = get_typestore(distribution)
    types: dict = {}
    for name, text in DEFINITIONS.items():
        types |= get_types_from_msg(text, name)
    for path in sorted(OWN.glob('*.msg')):
        types |= get_types_from_msg(path.read_text(), f'async_chunking/msg/{path.stem}')
    store.register(types)
    return store


def message(store: Any, kind: str, values: dict[str, Any]) -> Any:
    """Return a message; what is not given is zero, empty, or made of such."""
    fields = dict(store.fielddefs[kind][1])
    filled = {
        name: _value(store, description, values[name]) if name in values
        else _value(store, description, None)
        for name, description in fields.items()
    }  # fmt: skip
    return store.types[kind](**filled)


def _value(store: Any, description: Any, value: Any) -> Any:
    node, detail = description
    if node == Nodetype.NAME:
        return message(store, detail, value or {})
    if node == Nodetype.BASE:
        if value is not None:
            return value
        return '' if detail[0] == 'string' else 0.0 if 'float' in detail[0] else 0
    item, count = detail[0], detail[1] if node == Nodetype.ARRAY else 0
    if item[0] == Nodetype.NAME:
        given = value or [{}] * count
        return [message(store, item[1], entry) for entry in given]
    if item[1][0] == 'string':
        return value or []
    return np.zeros(count, item[1][0]) if value is None else np.array(value, item[1][0])


def record(
    path: Path,
    lines: Iterable[Line],
    distribution: Stores = Stores.ROS2_KILTED,
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    change: Callable[[int, bytes], bytes] = lambda _, data: data,
    clock: Callable[[float], float] = lambda seconds: seconds,
    store: Any = None,
) -> Path:
    """
    Write lines as a recording.

    Args:
        path: Folder to make.
        lines: In any order.
        distribution: Whose message definitions are embedded.
        storage: MCAP or SQLite.
        compression: Of files or messages.
        change: Number and bytes of a message -> its bytes.
        clock: Time since the beginning -> that which the recorder's clock shows [s].
        store: Of message types, instead of the distribution's.
    """
    store = store or store_of(distribution)
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for number, line in enumerate(sorted(lines, key=lambda line: line.seconds)):
            if line.topic not in connections:
                connections[line.topic] = writer.add_connection(
                    line.topic, line.kind, typestore=store
                )
            data = bytes(store.serialize_cdr(message(store, line.kind, line.values), line.kind))
            stamp = BEGIN + round(clock(line.seconds) * 1e9)
            writer.write(connections[line.topic], stamp, change(number, data))
    return path


def joints(seconds: float, topic: str, **positions: float) -> Line:
    values = {'name': [*positions], 'position': [*positions.values()]}
    return Line(seconds, topic, JOINTS, values)


def numbers(seconds: float, topic: str, *values: float) -> Line:
    return Line(seconds, topic, NUMBERS, {'data': values})


def text(seconds: float, topic: str, content: str) -> Line:
    return Line(seconds, topic, TEXT, {'data': content})


def step(seconds: float, topic: str, tick: int, run_id: int = 7, **command: float) -> Line:
    """Return what the executor tells of a command, sent on a clock that nobody sets."""
    sent = 10**12 + round(seconds * 1e9)
    command_values = [*command.values()]
    return Line(seconds, topic, STEP, {
        'run_id': run_id, 'tick': tick, 'strategy': 'naive', 'phase': 1,
        'joint_names': [*command], 'command': command_values, 'planned': command_values,
        'measured': command_values, 'emitted_ns': sent, 'deadline_ns': sent,
        'header': {'stamp': {'sec': 10**9 + int(seconds), 'nanosec': int(seconds % 1 * 1e9)}},
    })  # fmt: skip
