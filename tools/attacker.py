# SPDX-License-Identifier: Apache-2.0
"""
A peer that means harm, beside a robot: `python -m tools.attacker NAMESPACE SEED`, until SIGINT.

It sends broken, huge and wild chunks, numbers and joint states, and asks for resets and nonsense.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from async_chunking.msg import ActionChunk, ChunkRequest, DelayEstimate
from async_chunking.nodes import convert
from tools.faults.mutation import mutate

_PAUSE_S = 0.1  # Between two attacks.
_SELDOM = 0.03  # Share of what costs seconds.
_LONG = 1_000_000


class Attacker:
    """Attacks now and then.

    Args:
        namespace: Namespace of the robot.
        seed: Seed of all chance.
    """

    def __init__(self, namespace: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.node = rclpy.create_node('attacker', namespace=namespace)
        few = QoSProfile(depth=10)
        self.request: ChunkRequest | None = None
        self.node.create_subscription(ChunkRequest, 'chunk_request', self._hear, few)
        kinds = {
            'action_chunk': ActionChunk, 'joint_states': JointState,
            'delay_estimate': DelayEstimate, 'environment_state': Float64MultiArray,
        }  # fmt: skip
        # A latched publisher reaches both kinds of subscription.
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.to = {
            name: self.node.create_publisher(kind, name, latched) for name, kind in kinds.items()
        }
        self.reset = self.node.create_client(Trigger, 'executor/reset')
        self.parameters = self.node.create_client(SetParameters, 'executor/set_parameters')
        self.often: list[Callable[[], Any]] = [
            self.wild_chunk, self.mutated_chunk, self.joints, self.numbers, self.estimate,
        ]  # fmt: skip
        self.seldom: list[Callable[[], Any]] = [self.huge_chunk, self.new_run, self.nonsense]

    def _hear(self, request: ChunkRequest) -> None:
        self.request = request

    def _answer(self) -> ActionChunk:
        if self.request is None:
            return ActionChunk()
        message = convert.answer_message(self.request, tuple(self.request.joint_names))
        rows = self.rng.uniform(-1.5, 1.5, (16, len(self.request.joint_names)))
        message.rows, message.columns = rows.shape
        message.actions = convert.to_array(rows)
        return message

    def wild_chunk(self) -> None:
        """Answer the open request with poses at random."""
        self.to['action_chunk'].publish(self._answer())

    def mutated_chunk(self) -> None:
        """Send bytes that were a chunk."""
        self.to['action_chunk'].publish(mutate(serialize_message(self._answer()), self.rng))

    def huge_chunk(self) -> None:
        """Send a chunk of a million names."""
        message = ActionChunk(joint_names=[''] * _LONG, actions=array('f', bytes(4 * _LONG)))
        self.to['action_chunk'].publish(message)

    def joints(self) -> None:
        """Send measurements that cannot be, a hundred at once."""
        names = list(self.request.joint_names) if self.request else ['nobody']
        value = float(self.rng.choice([np.nan, np.inf, 1e300, 5.0]))
        for _ in range(100):
            self.to['joint_states'].publish(JointState(name=names, position=[value] * len(names)))

    def numbers(self) -> None:
        """Send huge numbers to whoever reads the environment."""
        self.to['environment_state'].publish(Float64MultiArray(data=[1e306] * 7))

    def estimate(self) -> None:
        """Claim a delay."""
        delay = int(self.rng.integers(0, 1 << 31))
        self.to['delay_estimate'].publish(DelayEstimate(delay=delay, estimator='x'))

    def new_run(self) -> None:
        """Ask for a new run."""
        self.reset.call_async(Trigger.Request())

    def nonsense(self) -> None:
        """Set a parameter to a hundred thousand texts."""
        value = ParameterValue(
            type=ParameterType.PARAMETER_STRING_ARRAY, string_array_value=['x'] * 100_000
        )
        request = SetParameters.Request(parameters=[Parameter(name='strategy', value=value)])
        self.parameters.call_async(request)

    def run(self) -> None:
        """Attack until the context ends."""
        while rclpy.ok():
            attacks = self.seldom if self.rng.random() < _SELDOM else self.often
            attacks[int(self.rng.integers(len(attacks)))]()
            rclpy.spin_once(self.node, timeout_sec=_PAUSE_S)


def main() -> None:
    """Run in a process of its own."""
    rclpy.init()
    try:
        Attacker(sys.argv[1], int(sys.argv[2])).run()
    except KeyboardInterrupt:
        return


if __name__ == '__main__':
    main()
