# SPDX-License-Identifier: Apache-2.0
"""The policy node: answers the executor's requests; may be killed and restarted at any time."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter

import numpy as np
import torch
from rclpy.qos import QoSProfile

from async_chunking.chunk import ChunkRequest as RequestValue
from async_chunking.latency import parse_latency
from async_chunking.msg import ActionChunk, ChunkRequest
from async_chunking.nodes import convert, diagnostics
from async_chunking.nodes.base import RobotNode, run
from async_chunking.nodes.observations import Observations
from async_chunking.nodes.streams import Sample
from async_chunking.parameters import PolicyParameters
from async_chunking.policies.directory import PolicyDirectory
from async_chunking.policies.responder import Answer, Responder
from async_chunking.policies.shipped import policy_directory

_WARM_UP = 'naive'


class PolicyNode(RobotNode):
    """Assembles observations, and runs the policy in a thread of its own.

    Only the newest request is kept: one that still waits when the next arrives is never answered,
    since the executor asks again only when it has given the old one up.
    """

    Parameters = PolicyParameters

    def __init__(self) -> None:
        super().__init__('policy')
        self._arrived = threading.Condition()
        self._waiting: tuple[ChunkRequest, int] | None = None  # Request and when it was received.
        self._active = False
        self._thread: threading.Thread | None = None
        self._counters: Counter[str] = Counter()

    # --- lifecycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        """Load the policy, answer a made-up request, subscribe."""
        torch.set_num_threads(self.parameters.threads)
        self._latency = parse_latency(self.parameters.delay_ms)
        self._rng = np.random.default_rng(self.parameters.seed)
        robot = self.embodiment
        directory = PolicyDirectory(
            policy_directory(self.parameters.policy_path or robot.policy.path)
        )
        self._responder = Responder(directory, self.parameters.seed)
        zeros = {name: np.zeros(stream.size) for name, stream in robot.observations.items()}
        self._responder.warm_up(_WARM_UP, zeros)
        self._observations = Observations(self, robot.observations, robot, self._now_ns)
        self._chunks = self.create_publisher(ActionChunk, 'action_chunk', QoSProfile(depth=2))
        self.create_subscription(
            ChunkRequest, 'chunk_request', self._on_request, QoSProfile(depth=2)
        )
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self._last_refusal = ''
        self.create_timer(1.0, self._diagnose)

    def activate(self) -> None:
        """Start the inference thread."""
        self._active = True
        self._waiting = None
        self._thread = threading.Thread(target=self._work, name='inference', daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stop it; an inference in progress is finished."""
        with self._arrived:
            self._active = False
            self._arrived.notify()
        self._thread.join(timeout=10.0)

    def apply(self, parameters: PolicyParameters) -> None:
        """Change the latency."""
        self._latency = parse_latency(parameters.delay_ms)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds if self._simulated else time.monotonic_ns()

    @property
    def _simulated(self) -> bool:
        return self.get_parameter('use_sim_time').value

    # --- requests -------------------------------------------------------------------------------

    def _on_request(self, request: ChunkRequest) -> None:
        with self._arrived:
            if not self._active:
                return
            if self._waiting is not None:
                self._counters['overridden'] += 1
            self._waiting = request, self._now_ns()
            self._arrived.notify()

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting is not None or not self._active)
                if not self._active:
                    return
                (request, received_ns), self._waiting = self._waiting, None
            try:
                self._answer(request, received_ns)
            except Exception as error:  # The next request may be answered all the same.
                self._counters['failed'] += 1
                self.get_logger().error(f'request {request.request_id}: {error!r}')

    def _answer(self, request: ChunkRequest, received_ns: int) -> None:
        start_ns = self._now_ns()
        samples = self._observations.newest(received_ns)
        refusal = self._missing(samples, start_ns)
        if refusal:
            answer = Answer(np.empty((0, len(self.embodiment.joints))), refusal=refusal)
        else:
            observation = {name: sample.values for name, sample in samples.items()}
            answer = self._translated(convert.request_value(request), observation)
        self._sleep_until(received_ns + round(self._latency.draw(self._rng) * 1e9))
        message = convert.answer_message(request, self.embodiment.joint_names)
        message.rows, message.columns = answer.actions.shape
        message.actions = convert.to_array(answer.actions)
        message.conditioned_delay = answer.conditioned_delay
        message.policy_calls = answer.calls
        message.checkpoint = answer.checkpoint
        message.refusal = answer.refusal
        ages = {n: (start_ns - s.received_ns) * 1e-9 for n, s in samples.items() if s is not None}
        message.observation_names = list(ages)
        message.observation_ages = list(ages.values())
        message.observation_age = max(ages.values(), default=float('nan'))
        message.waiting_duration = (start_ns - received_ns) * 1e-9
        message.inference_duration = (self._now_ns() - start_ns) * 1e-9
        message.header.stamp = self.get_clock().now().to_msg()
        self._chunks.publish(message)
        self._counters['refused' if answer.refusal else 'answered'] += 1
        self._last_refusal = answer.refusal

    def _translated(self, request: RequestValue, observation: dict[str, np.ndarray]) -> Answer:
        """Return the policy's answer, in positions whatever its own numbers mean."""
        modes = self.embodiment.action_modes
        if modes.trivial:
            return self._responder.answer(request, observation)
        name = next(
            name for name, stream in self.embodiment.observations.items()
            if stream.kind in ('joint_state', 'measured')
        )  # fmt: skip
        measured = observation[name]
        previous = modes.to_actions(request.boundary.previous, measured)
        boundary = dataclasses.replace(request.boundary, previous=previous)
        answer = self._responder.answer(
            dataclasses.replace(request, boundary=boundary), observation
        )
        return dataclasses.replace(answer, actions=modes.to_positions(answer.actions, measured))

    def _missing(self, samples: dict[str, Sample | None], now_ns: int) -> str:
        """Return why there is no complete observation; empty if there is one."""
        oldest = self.parameters.max_observation_age_s
        for name, sample in samples.items():
            topic = self.embodiment.observations[name].topic or self.embodiment.joint_topics
            if sample is None:
                fault = self._observations.last_fault
                return f'{name} ({topic}) was not received' + (f': {fault}' if fault else '')
            age = (now_ns - sample.received_ns) * 1e-9
            if age > oldest:
                return f'{name} ({topic}) is {age:.2f} s old, at most {oldest} s are allowed'
        return ''

    def _sleep_until(self, wake_ns: int) -> None:
        """Sleep on this node's clock, which may run at another pace than the wall clock."""
        while self._active and (left := (wake_ns - self._now_ns()) * 1e-9) > 0.0:
            time.sleep(min(left, 0.001) if self._simulated else left)

    # --- diagnostics ----------------------------------------------------------------------------

    def _diagnose(self) -> None:
        values = {
            name: self._counters[name] for name in ('answered', 'refused', 'overridden', 'failed')
        }
        faults = {f'faults {name}': count for name, count in self._observations.faults.items()}
        level, message = diagnostics.OK, 'active' if self._active else 'inactive'
        if self._last_refusal:
            level, message = diagnostics.WARN, self._last_refusal
        self._diagnostics.publish(level, message, values | faults)


def main() -> int:
    """Run the node."""
    return run(PolicyNode)


if __name__ == '__main__':
    raise SystemExit(main())
