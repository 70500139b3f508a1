# SPDX-License-Identifier: Apache-2.0
"""
Messages of drivers that no package index has, written from their documented fields.

`STORE` turns them, the standard ones and this package's own into bytes as they are on the wire
and back, so that a wrong name, type or length fails as it would on the robot.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from async_chunking.bags.files import Bag, find

_HG_MOTOR = 'uint8 mode\nfloat32 q\nfloat32 dq\nfloat32 tau\nfloat32 kp\nfloat32 kd\n'
_REST = 'uint32[4] reserve\n'
_IMU = (
    'float32[4] quaternion\nfloat32[3] gyroscope\nfloat32[3] accelerometer\nfloat32[3] rpy\n'
    'int16 temperature\n'
)

DEFINITIONS = {
    'interbotix_xs_msgs/msg/JointGroupCommand': 'string name\nfloat32[] cmd\n',
    'interbotix_xs_msgs/msg/JointSingleCommand': 'string name\nfloat32 cmd\n',
    # An action's goal: what is sent is this, with an id that the middleware adds.
    'control_msgs/msg/GripperCommand': 'float64 position\nfloat64 max_effort\n',
    'control_msgs/action/GripperCommand_Goal': 'control_msgs/GripperCommand command\n',
    'unitree_hg/msg/MotorCmd': f'{_HG_MOTOR}uint32 reserve\n',
    'unitree_hg/msg/LowCmd': (
        f'uint8 mode_pr\nuint8 mode_machine\nMotorCmd[35] motor_cmd\n{_REST}uint32 crc\n'
    ),
    'unitree_hg/msg/HandCmd': f'MotorCmd[] motor_cmd\n{_REST}',
    'unitree_hg/msg/IMUState': _IMU,
    'unitree_hg/msg/MotorState': (
        'uint8 mode\nfloat32 q\nfloat32 dq\nfloat32 ddq\nfloat32 tau_est\nint16[2] temperature\n'
        f'float32 vol\nuint32[2] sensor\nuint32 motorstate\n{_REST}'
    ),
    'unitree_hg/msg/PressSensorState': (
        'float32[12] pressure\nfloat32[12] temperature\nuint32 lost\nuint32 reserve\n'
    ),
    'unitree_hg/msg/LowState': (
        'uint32[2] version\nuint8 mode_pr\nuint8 mode_machine\nuint32 tick\nIMUState imu_state\n'
        f'MotorState[35] motor_state\nuint8[40] wireless_remote\n{_REST}uint32 crc\n'
    ),
    'unitree_hg/msg/HandState': (
        'MotorState[] motor_state\nPressSensorState[] press_sensor_state\nIMUState imu_state\n'
        'float32 power_v\nfloat32 power_a\nfloat32 system_v\nfloat32 device_v\n'
        'uint32[2] error\nuint32[2] reserve\n'
    ),
    'unitree_go/msg/MotorCmd': f'{_HG_MOTOR}uint32[3] reserve\n',
    'unitree_go/msg/MotorCmds': 'MotorCmd[] cmds\n',
    'unitree_go/msg/MotorState': (
        'uint8 mode\nfloat32 q\nfloat32 dq\nfloat32 ddq\nfloat32 tau_est\nfloat32 q_raw\n'
        'float32 dq_raw\nfloat32 ddq_raw\nint8 temperature\nuint32 lost\nuint32[2] reserve\n'
    ),
    'unitree_go/msg/MotorStates': 'MotorState[] states\n',
}  # fmt: skip


def _store() -> Any:
    store = get_typestore(Stores.ROS2_KILTED)
    types: dict = {}
    for name, text in DEFINITIONS.items():
        types |= get_types_from_msg(text, name)
    for path in sorted((Path(__file__).parents[1] / 'msg').glob('*.msg')):
        types |= get_types_from_msg(path.read_text(), f'async_chunking/msg/{path.stem}')
    store.register(types)
    return store


STORE = _store()

_TYPECODES = {'float32': 'f', 'float64': 'd'}


class Look:
    """A message as rclpy would generate it: the fields of its definition, checked when set."""

    __msgtype__: str

    def __init__(self, **values: Any) -> None:
        for name, description in fields(self.__msgtype__).items():
            setattr(self, name, values.pop(name) if name in values else _default(description))
        assert not values, f'{self.__msgtype__} has no {", ".join(values)}'

    def __setattr__(self, name: str, value: Any) -> None:
        known = fields(self.__msgtype__)
        assert name in known, f'{self.__msgtype__} has no {name}'
        _check(f'{self.__msgtype__}.{name}', known[name], value)
        object.__setattr__(self, name, value)


def fields(name: str) -> dict[str, Any]:
    """Return the fields of a message and their descriptions."""
    return dict(STORE.fielddefs[name][1])


CLASSES = {name: type(name.split('/')[-1], (Look,), {'__msgtype__': name}) for name in DEFINITIONS}


def _default(description: Any) -> Any:
    node, detail = description
    if node == Nodetype.NAME:
        return CLASSES[detail]()
    if node == Nodetype.BASE:
        kind = detail[0]
        return '' if kind == 'string' else 0.0 if 'float' in kind else 0
    count = detail[1] if node == Nodetype.ARRAY else 0
    if detail[0][0] == Nodetype.NAME:
        return [_default(detail[0]) for _ in range(count)]
    return np.zeros(count, dtype=detail[0][1][0])


def _check(what: str, description: Any, value: Any) -> None:
    node, detail = description
    if node == Nodetype.NAME:
        assert getattr(value, '__msgtype__', None) == detail, f'{what} is a {detail}, not {value}'
    elif node == Nodetype.BASE:
        kind = detail[0]
        expected = str if kind == 'string' else float if 'float' in kind else int
        assert isinstance(value, expected), f'{what} is a {kind}, not {value!r}'
        if expected is int:
            span = np.iinfo(kind)
            assert span.min <= value <= span.max, f'{what} = {value} is no {kind}'
    else:
        if node == Nodetype.ARRAY:
            assert len(value) == detail[1], f'{what} holds {detail[1]}, not {len(value)}'
        if isinstance(value, array):
            assert value.typecode == _TYPECODES[detail[0][1][0]], f'{what}: {value.typecode}'
            return
        for item in [] if isinstance(value, np.ndarray) else value:
            _check(what, detail[0], item)


def packed(message: Any) -> tuple[str, bytes]:
    """Return a message's type and its bytes on the wire."""
    if isinstance(message, Look):
        data = STORE.serialize_cdr(stored(message), message.__msgtype__)
        return message.__msgtype__, bytes(data)
    from rclpy.serialization import serialize_message

    package, kind = type(message).__module__.split('.')[:2]
    return f'{package}/{kind}/{type(message).__name__}', serialize_message(message)


def wire(message: Any) -> Any:
    """Return a message as its receiver gets it: through its bytes."""
    name, data = packed(message)
    if isinstance(message, Look):
        return STORE.deserialize_cdr(data, name)
    from rclpy.serialization import deserialize_message

    return deserialize_message(data, type(message))


def stored(message: Look) -> Any:
    """Return the same in the library's types; what was set since is checked once more."""
    values = {}
    for name, description in fields(message.__msgtype__).items():
        value = getattr(message, name)
        _check(f'{message.__msgtype__}.{name}', description, value)
        values[name] = _plain(description, value)
    return STORE.types[message.__msgtype__](**values)


def _plain(description: Any, value: Any) -> Any:
    node, detail = description
    if node == Nodetype.NAME:
        return stored(value)
    if node == Nodetype.BASE:
        return value
    if detail[0][0] == Nodetype.NAME:
        return [stored(item) for item in value]
    return np.asarray(value, dtype=detail[0][1][0])


# --- messages of standard types, and recordings -------------------------------------------------

HEADER = STORE.types['std_msgs/msg/Header'](STORE.types['builtin_interfaces/msg/Time'](0, 0), '')
NONE = np.zeros(0)

TimedMessage = tuple[float, str, Any]  # Seconds, topic, message.


def numbers(*values: float) -> Any:
    layout = STORE.types['std_msgs/msg/MultiArrayLayout']([], 0)
    return STORE.types['std_msgs/msg/Float64MultiArray'](layout, np.array(values, dtype=float))


def joint_state(**positions: float) -> Any:
    kind = STORE.types['sensor_msgs/msg/JointState']
    return kind(HEADER, list(positions), np.array([*positions.values()]), NONE, NONE)


def trajectory(**positions: float) -> Any:
    types = STORE.types
    soon = types['builtin_interfaces/msg/Duration'](0, 40_000_000)
    far = types['trajectory_msgs/msg/JointTrajectoryPoint'](
        np.array([*positions.values()]), NONE, NONE, NONE, soon
    )
    return types['trajectory_msgs/msg/JointTrajectory'](HEADER, list(positions), [far])


def control_step(**values: Any) -> Any:
    """Return a ControlStep with nothing in it but `values`."""
    kind = 'async_chunking/msg/ControlStep'
    rest = {'header': HEADER, 'strategy': '', 'joint_names': []} | {
        name: np.zeros(0, np.float32) for name in ('command', 'planned', 'measured')
    }
    filled = {
        name: values.get(name, rest.get(name, False if detail[0] == 'bool' else 0))
        for name, (_, detail) in fields(kind).items()
    }
    return STORE.types[kind](**filled)


def record(path: Path, said: Iterable[TimedMessage]) -> Bag:
    """Write a recording with the definitions embedded, as a recorder on a robot does."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for seconds, topic, message in sorted(said, key=lambda m: m[0]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            value = stored(message) if isinstance(message, Look) else message
            data = STORE.serialize_cdr(value, kind)
            writer.write(connections[topic], 10**18 + round(seconds * 1e9), data)
    return find([path])[0]
