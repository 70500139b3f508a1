# SPDX-License-Identifier: Apache-2.0
"""How a robot is wired: which topics hold which of its joints, in the driver's words and units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from async_chunking.robot.options import check_options
from async_chunking.settings import Settings

Name = Annotated[str, Field(min_length=1)]
Positive = Annotated[float, Field(gt=0.0)]

# Kinds of observation stream, of joint measurement, and of command sink; `async_chunking.nodes`
# has the code of each. 'measured' is the joints themselves, whatever topics they come from.
STREAMS = (
    'joint_state', 'float64_multi_array', 'measured', 'image', 'compressed_image', 'text',
)  # fmt: skip
WITH_JOINTS = ('joint_state', 'measured')
_SHAPING = ('size', 'joints', 'height', 'width', 'resize', 'channels_first')
SOURCES = ('joint_state', 'unitree_low_state', 'unitree_hand_state', 'unitree_motor_states')
# Kind -> module:class below `async_chunking.nodes.sinks`.
SINKS: dict[str, str] = {
    'float64_multi_array': 'float64_multi_array:Float64MultiArraySink',
    'joint_state': 'joint_state:JointStateSink',
    'joint_trajectory': 'joint_trajectory:JointTrajectorySink',
    'interbotix_group': 'interbotix_group:InterbotixGroupSink',
    'interbotix_single': 'interbotix_single:InterbotixSingleSink',
    'gripper_command': 'gripper_command:GripperCommandSink',
    'unitree_arm_sdk': 'unitree_arm_sdk:UnitreeArmSink',
    'unitree_hand': 'unitree_hand:UnitreeHandSink',
    'unitree_motor_cmds': 'unitree_motor_cmds:UnitreeMotorCmdsSink',
}
_LONGEST_LEAD_S = 2.0  # What is more was meant in milliseconds.
# How a topic is subscribed to: best effort, which hears every publisher, or nothing but reliable.
QOS = ('sensor_data', 'reliable')
BY_MOTOR = {'unitree_low_state', 'unitree_hand_state', 'unitree_motor_states'} | {
    'unitree_arm_sdk', 'unitree_hand', 'unitree_motor_cmds',
}  # fmt: skip


class Stream(Settings):
    """A topic that becomes one entry of the observation.

    Attributes:
        topic: Relative to the robot's namespace. Empty for the kind 'measured', and for text that
            is the policy node's parameter `instruction`.
        kind: Kind of message.
        size: Numbers in it; images and text have none.
        joints: Some of the robot's, in the order that the policy wants; None for all. Only where
            the message holds joints.
        height: Height of an image as the camera sends it [pixels].
        width: Width of an image as the camera sends it [pixels].
        resize: Height and width that the policy gets [pixels]: scaled as its training did, with
            black bars where the shapes differ. None for those of the camera.
        channels_first: The policy gets [3, height, width] instead of [height, width, 3].
        qos: 'sensor_data' (best effort) or 'reliable'. 'measured' has that of its sources.
    """

    topic: str = ''
    kind: Literal[STREAMS]
    size: int | None = Field(default=None, ge=1)
    joints: tuple[Name, ...] | None = Field(default=None, min_length=1)
    height: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    resize: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    channels_first: bool = False
    qos: Literal[QOS] = QOS[0]

    @model_validator(mode='after')
    def _fitting(self) -> Stream:
        if bool(self.topic) == (self.kind == 'measured') and self.kind != 'text':
            msg = f'a stream of kind {self.kind} {"has no" if self.topic else "needs a"} topic'
            raise ValueError(msg)
        wanted = {'height', 'width'} if self.is_image else {'size'} if self.is_numeric else set()
        allowed = wanted | ({'resize', 'channels_first'} if self.is_image else set())
        allowed |= {'joints'} if self.kind in WITH_JOINTS else set()
        given = {key for key in _SHAPING if getattr(self, key)}
        for key in sorted(wanted - given | given - allowed):
            msg = f'a stream of kind {self.kind} {"needs" if key in wanted else "has no"} {key}'
            raise ValueError(msg)
        if self.qos != QOS[0] and self.kind in ('measured', 'text'):
            msg = f'a stream of kind {self.kind} has no qos'
            raise ValueError(msg)
        if self.joints is not None and self.size != len(self.joints):
            msg = f'size is {self.size} but {len(self.joints)} joints are listed'
            raise ValueError(msg)
        return self

    @property
    def is_image(self) -> bool:
        """Whether it is a camera."""
        return 'image' in self.kind

    @property
    def is_numeric(self) -> bool:
        """Whether it is a vector of numbers."""
        return not self.is_image and self.kind != 'text'

    @property
    def shape(self) -> tuple[int, ...]:
        """What the policy gets, without batch; text has no dimensions."""
        if not self.is_image:
            return (self.size,) if self.size else ()
        height, width = self.resize or (self.height or 0, self.width or 0)
        return (3, height, width) if self.channels_first else (height, width, 3)


class Scale(Settings):
    """Two positions of a joint, in the units of this package and in the driver's.

    Attributes:
        joint: [rad, m, or a share of the range].
        driver: In the driver's unit.
    """

    joint: tuple[float, float]
    driver: tuple[float, float]

    @model_validator(mode='after')
    def _apart(self) -> Scale:
        if self.joint[0] == self.joint[1] or self.driver[0] == self.driver[1]:
            msg = f'the two positions must differ: joint {self.joint}, driver {self.driver}'
            raise ValueError(msg)
        return self


class Wire(Settings):
    """A topic that holds some of the joints.

    Attributes:
        topic: Relative to the robot's namespace.
        joints: Names in the robot's description, in the order of the message.
        names: The driver's names, if they differ.
        motors: Places in the message, for drivers that count motors instead of naming them.
        scales: Joint -> units, where the driver's differ.
    """

    topic: Name
    joints: tuple[Name, ...] = Field(min_length=1)
    names: tuple[Name, ...] | None = None
    motors: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    scales: dict[Name, Scale] = Field(default_factory=dict)

    @model_validator(mode='after')
    def _fitting(self) -> Wire:
        for key in ('names', 'motors'):
            values = getattr(self, key)
            if values is not None and not len(set(values)) == len(values) == len(self.joints):
                msg = f'{self.topic}: {key} must hold {len(self.joints)} different values'
                raise ValueError(msg)
        for joint in set(self.scales) - set(self.joints):
            msg = f'{self.topic}: scales name {joint}, which is not among its joints'
            raise ValueError(msg)
        return self

    @property
    def driver_names(self) -> tuple[str, ...]:
        """Names in the message, in its order."""
        return self.names or self.joints

    @property
    def driver_motors(self) -> tuple[int, ...]:
        """Places in the message, in its order; empty where the driver names its joints."""
        return self.motors or ()

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Gain and bias, each [joints]: driver's value = gain * joint + bias."""
        gain, bias = np.ones(len(self.joints)), np.zeros(len(self.joints))
        for joint, scale in self.scales.items():
            (a, b), (x, y) = scale.joint, scale.driver
            index = self.joints.index(joint)
            gain[index] = (y - x) / (b - a)
            bias[index] = x - gain[index] * a
        return gain, bias

    def _check_motors(self, kind: str) -> None:
        if (self.motors is not None) != (kind in BY_MOTOR):
            msg = f'{self.topic}: {kind} {"has no" if self.motors else "needs"} motors'
            raise ValueError(msg)


class Source(Wire):
    """A topic on which some of the joints are measured.

    The first source of a robot sets the pace: each of its messages makes a measurement, with the
    newest value of the others.

    Attributes:
        kind: Kind of message.
        max_age_s: An older value of a source that does not set the pace is not used [s].
        qos: 'sensor_data' (best effort) or 'reliable'.
    """

    kind: Literal[SOURCES] = 'joint_state'
    max_age_s: Positive = 0.25
    qos: Literal[QOS] = QOS[0]

    @model_validator(mode='after')
    def _complete(self) -> Source:
        self._check_motors(self.kind)
        return self


class Command(Wire):
    """A topic on which some of the joints are commanded.

    Attributes:
        sink: Kind of message.
        options: Options of the sink; see its class in `async_chunking.nodes.sinks`.
    """

    sink: Literal[tuple(SINKS)]
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode='after')
    def _complete(self) -> Command:
        self._check_motors(self.sink)
        check_options(self.topic, self.sink, self.options)
        return self


def check_names(kind: str, names: Iterable[str]) -> None:
    """Refuse a name that is listed twice.

    Raises:
        ValueError: Says what kind of name it is.
    """
    known: set[str] = set()
    for name in names:
        if name in known:
            msg = f'{kind} {name} is listed twice'
            raise ValueError(msg)
        known.add(name)


def check_partition(kind: str, parts: Iterable[tuple[str, ...]], joints: tuple[str, ...]) -> None:
    """Refuse parts that leave a joint out, name one twice or name an unknown one.

    Raises:
        ValueError: The message names the joints.
    """
    named = [name for part in parts for name in part]
    wrong = set(named) ^ set(joints) or {name for name in joints if named.count(name) > 1}
    if wrong:
        msg = (
            f'{kind} must name each joint once; check {", ".join(sorted(wrong))}. '
            f'Joints: {", ".join(joints)}'
        )
        raise ValueError(msg)


def check_timing(command: Command, control_rate_hz: float) -> None:
    """Refuse times of a sink that do not go with the control rate.

    Raises:
        ValueError: A trajectory's point is reached before the next is sent, so the robot stops at
            each; a rate of commands is another than the robot's; or one of them is no number.
    """
    for key in ('lead_s', 'rate_hz'):
        value = command.options.get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            msg = f'{command.topic}: {key} is {value!r}, not a number'
            raise ValueError(msg)
    period_ms = 1e3 / control_rate_hz
    lead_s = command.options.get('lead_s')
    if command.sink == 'joint_trajectory' and lead_s is not None and 1e3 * lead_s < period_ms:
        msg = (
            f'{command.topic}: lead_s {lead_s:g} is less than the {period_ms:.1f} ms between two '
            f'commands at control_rate_hz {control_rate_hz:g}, so the robot would stop at each; '
            'leave it out for two periods'
        )
        raise ValueError(msg)
    if command.sink == 'joint_trajectory' and lead_s is not None and lead_s > _LONGEST_LEAD_S:
        msg = (
            f'{command.topic}: lead_s is {lead_s:g} s, at most {_LONGEST_LEAD_S:g}; it is seconds'
        )
        raise ValueError(msg)
    rate_hz = command.options.get('rate_hz')
    if command.sink == 'unitree_arm_sdk' and rate_hz not in (None, control_rate_hz):
        msg = (
            f'{command.topic}: rate_hz {rate_hz:g} differs from control_rate_hz '
            f'{control_rate_hz:g}, with which commands are sent; leave it out'
        )
        raise ValueError(msg)
