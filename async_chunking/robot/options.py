# SPDX-License-Identifier: Apache-2.0
"""What can be set for each kind of sink, known before ROS is there."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from async_chunking.settings import Settings


class JointTrajectoryOptions(Settings):
    """What can be set.

    Attributes:
        lead_s: From stamp to point, at least the time between two commands; more than a
            message is ever on its way, or the controller refuses it as past. None for two
            periods [s].
    """

    lead_s: float | None = Field(None, gt=0.0)


class InterbotixGroupOptions(Settings):
    """What can be set.

    Attributes:
        group: Group of joints, as the driver's motor file names it.
    """

    group: str = 'arm'


class GripperCommandOptions(Settings):
    """What can be set, in the driver's unit.

    Attributes:
        opened: Position when open [m].
        closed: Position when closed [m].
        open_above: Opens when the command is above this [m].
        close_below: Closes when the command is below this [m].
        max_effort: Largest force of the grip [N].
    """

    opened: float = 0.04
    closed: float = 0.0
    open_above: float = 0.025
    close_below: float = 0.015
    max_effort: float = Field(20.0, gt=0.0)


class UnitreeArmOptions(Settings):
    """What can be set.

    Attributes:
        state_topic: Where mode_machine is from.
        kp: Stiffness, one number or one a joint [Nm/rad].
        kd: Damping, one number or one a joint [Nm s/rad].
        ramp_s: Time of taking over and of handing back [s].
        rate_hz: Rate of the commands, the robot's control rate; need not be given [Hz].
    """

    state_topic: str = 'lowstate'
    kp: float | tuple[float, ...] = 60.0
    kd: float | tuple[float, ...] = 1.5
    ramp_s: float = Field(2.0, ge=0.1)
    rate_hz: float | None = Field(None, ge=10.0)


class UnitreeHandOptions(Settings):
    """What can be set.

    Attributes:
        kp: Stiffness [Nm/rad].
        kd: Damping [Nm s/rad].
    """

    kp: float = 1.5
    kd: float = 0.2


class UnitreeMotorsOptions(Settings):
    """What can be set.

    Attributes:
        motors: In the message: right hand, then left.
    """

    motors: int = Field(12, ge=1)


# Kind of sink -> what can be set; of other kinds nothing.
OPTIONS: dict[str, type[Settings]] = {
    'joint_trajectory': JointTrajectoryOptions,
    'interbotix_group': InterbotixGroupOptions,
    'gripper_command': GripperCommandOptions,
    'unitree_arm_sdk': UnitreeArmOptions,
    'unitree_hand': UnitreeHandOptions,
    'unitree_motor_cmds': UnitreeMotorsOptions,
}


def check_options(topic: str, sink: str, given: Iterable[str]) -> None:
    """Refuse an option that a sink does not have.

    Raises:
        ValueError: Names the topic, the option and the choices.
    """
    known = OPTIONS[sink].model_fields if sink in OPTIONS else ()
    for key in given:
        if key not in known:
            choices = ', '.join(known) or 'none'
            msg = f'{topic}: {sink} has no option {key!r}. Choices: {choices}'
            raise ValueError(msg)
