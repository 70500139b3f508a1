# SPDX-License-Identifier: Apache-2.0
"""Which options each kind of sink has, known before ROS is there."""

from __future__ import annotations

from collections.abc import Iterable

# Kind of sink -> its options, fields of its class's `Options`.
OPTIONS: dict[str, tuple[str, ...]] = {
    'joint_trajectory': ('lead_s',),
    'interbotix_group': ('group',),
    'gripper_command': ('opened', 'closed', 'open_above', 'close_below', 'max_effort'),
    'unitree_arm_sdk': ('state_topic', 'kp', 'kd', 'ramp_s', 'rate_hz'),
    'unitree_hand': ('kp', 'kd'),
    'unitree_motor_cmds': ('motors',),
}


def check_options(topic: str, sink: str, given: Iterable[str]) -> None:
    """Refuse an option that a sink does not have.

    Raises:
        ValueError: Names the topic, the option and the choices.
    """
    known = OPTIONS.get(sink, ())
    for key in given:
        if key not in known:
            choices = ', '.join(known) or 'none'
            msg = f'{topic}: {sink} has no option {key!r}. Choices: {choices}'
            raise ValueError(msg)
