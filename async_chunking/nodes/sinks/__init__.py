# SPDX-License-Identifier: Apache-2.0
"""Where commands go: one file per kind of message; `robot.wiring` names the kinds."""

from __future__ import annotations

import importlib

from async_chunking.nodes.sinks.base import Sink

# Kind -> module:class; imported only when configured, since its messages may not be installed.
KINDS: dict[str, str] = {
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


def sink_class(kind: str) -> type[Sink]:
    """Return the class of a kind of sink."""
    module, _, name = KINDS[kind].partition(':')
    return getattr(importlib.import_module(f'async_chunking.nodes.sinks.{module}'), name)


__all__ = ['KINDS', 'Sink', 'sink_class']
