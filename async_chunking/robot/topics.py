# SPDX-License-Identifier: Apache-2.0
"""What a robot's topics hold: messages of one type, in which every place belongs to one joint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from async_chunking.robot.options import InterbotixGroupOptions
from async_chunking.robot.wiring import BY_MOTOR, Command, Source, Stream

# Kind of stream, source or sink -> type of its messages. An action has no topic.
TYPES = {
    'joint_state': 'sensor_msgs/msg/JointState',
    'float64_multi_array': 'std_msgs/msg/Float64MultiArray',
    'image': 'sensor_msgs/msg/Image',
    'compressed_image': 'sensor_msgs/msg/CompressedImage',
    'text': 'std_msgs/msg/String',
    'joint_trajectory': 'trajectory_msgs/msg/JointTrajectory',
    'interbotix_group': 'interbotix_xs_msgs/msg/JointGroupCommand',
    'interbotix_single': 'interbotix_xs_msgs/msg/JointSingleCommand',
    'unitree_arm_sdk': 'unitree_hg/msg/LowCmd',
    'unitree_hand': 'unitree_hg/msg/HandCmd',
    'unitree_motor_cmds': 'unitree_go/msg/MotorCmds',
    'unitree_low_state': 'unitree_hg/msg/LowState',
    'unitree_hand_state': 'unitree_hg/msg/HandState',
    'unitree_motor_states': 'unitree_go/msg/MotorStates',
}
# Messages that do not say for whom they are: the next one replaces all of the last.
_WHOLE = {'float64_multi_array', 'joint_trajectory', 'gripper_command', 'unitree_hand'}


def kind_of(wire: Command | Source | Stream) -> str:
    """Return the kind of a topic's messages."""
    return wire.sink if isinstance(wire, Command) else wire.kind


def group_of(command: Command) -> str:
    """Return the driver's name of the joints together; '' where it has none."""
    grouped = command.sink == 'interbotix_group'
    return str(command.options.get('group', InterbotixGroupOptions().group)) if grouped else ''


def places(wire: Source | Command) -> tuple[str, ...]:
    """Return what of a topic's messages belongs to a source or a command."""
    if isinstance(wire, Command) and wire.sink in _WHOLE:
        return ('the whole message',)
    if isinstance(wire, Command) and wire.sink == 'interbotix_group':
        return (f'group {group_of(wire)}',)
    if kind_of(wire) in BY_MOTOR:
        return tuple(f'motor {motor}' for motor in wire.driver_motors)
    return tuple(f'joint {name}' for name in wire.driver_names)


def check_topics(
    sources: Iterable[Source], commands: Iterable[Command], observations: Mapping[str, Stream]
) -> None:
    """
    Refuse topics of two types, and what would be read or written twice.

    Names with and without '/' in front count as one, as they are where a robot has no namespace.

    Raises:
        ValueError: Names the topic, the place in its messages, and both who claim it.
    """
    wires = [('joint_states', source) for source in sources]
    wires += [('commands', command) for command in commands]
    streams = [(f'observations.{n}', stream) for n, stream in observations.items() if stream.topic]
    kinds: dict[str, tuple[str, str]] = {}
    for key, wire in (*wires, *streams):
        if (kind := kind_of(wire)) in TYPES:  # An action has no topic.
            first, other = kinds.setdefault(_bare(wire.topic), (key, kind))
            if TYPES[kind] != TYPES[other]:
                msg = f'{wire.topic} is of kind {other} in {first}, of kind {kind} in {key}'
                raise ValueError(msg)
    claims = [
        ((_bare(wire.topic), place), f'{key} of {", ".join(wire.joints)}')
        for key, wire in wires
        for place in places(wire)
    ]
    pictures = [((_bare(s.topic), s.model_dump_json()), key) for key, s in streams if s.is_image]
    owners: dict[tuple[str, str], str] = {}
    for (topic, place), owner in (*claims, *pictures):
        if (first := owners.setdefault((topic, place), owner)) is not owner:
            what = place if (topic, place) in dict(claims) else 'the same picture'
            msg = f'{what} on {topic} is told twice, in {first} and in {owner}; it is of one alone'
            raise ValueError(msg)


def _bare(topic: str) -> str:
    return topic.strip('/')
