# SPDX-License-Identifier: Apache-2.0
"""The policy node: answers the executor's requests; may be killed and restarted at any time."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import torch
from rclpy.qos import QoSProfile

from async_chunking import chunk
from async_chunking.bringup.parameters import PolicyParameters
from async_chunking.errors import AsyncChunkingError
from async_chunking.latency import parse_latency
from async_chunking.msg import ActionChunk, ChunkRequest
from async_chunking.nodes import convert, diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.deadline import Deadline
from async_chunking.nodes.observations.inputs import PolicyInputs, Samples
from async_chunking.nodes.observations.robot import Observations
from async_chunking.nodes.observations.sample import Sample
from async_chunking.nodes.policy_setup import MEASURED, make_ready
from async_chunking.nodes.process import run
from async_chunking.nodes.succession import Preparation
from async_chunking.nodes.worker import Worker
from async_chunking.policies.fit import check_instruction
from async_chunking.policies.opening import open_policy
from async_chunking.policies.responder import refused
from async_chunking.policies.source import PolicySource, PolicySpec
from async_chunking.robot.embodiment import Stream

_PATIENCE_S = 10.0  # An inference in progress is waited for at most so long [s].
_COUNTERS = ('answered', 'refused', 'incomplete', 'overridden', 'failed', 'horizon_too_short')
_LOOK_S = 0.001  # At a clock that may run at any pace [s].
_NONE = np.empty(0)
_QOS = QoSProfile(depth=2)


class PolicyNode(RobotNode):
    """Answers the newest request, with what the robot's streams say, in a thread of its own."""

    Parameters = PolicyParameters

    def __init__(self) -> None:
        super().__init__('policy')
        self._worker = Worker('inference', self._serve)
        self._source: PolicySource | None = None
        self._streams: dict[str, Stream] = {}
        self._counters: Counter[str] = Counter()

    # --- lifecycle ------------------------------------------------------------------------------

    def check(self, parameters: PolicyParameters) -> None:
        """Refuse an empty instruction if the policy reads it, and a latency that is too long."""
        check_instruction(self._streams, parameters.instruction)
        if self._source is not None:
            typical_s = parse_latency(parameters.latency_ms).typical
            self._ready.check(self._preparation.wanted, typical_s)

    def configure(self) -> None:
        """Open the policy, see whether it fits, answer made-up requests, subscribe."""
        torch.set_num_threads(self.parameters.threads)
        self._latency = parse_latency(self.parameters.latency_ms)
        self._rng = np.random.default_rng(self.parameters.seed)
        robot = self.embodiment
        self._worker = Worker('inference', self._serve)
        self._deadline = Deadline('an inference', self.parameters.inference_deadline_s)
        self._source = open_policy(PolicySpec(robot, self.parameters, self._gives_up))
        try:
            self._ready = make_ready(
                self._source, self.parameters, robot, self._latency.typical, not self._simulated
            )
        except AsyncChunkingError:
            self.cleanup()
            raise
        self._streams = self._ready.streams
        self._observations = Observations(self, self._streams, robot, self._now_ns)
        self._inputs = PolicyInputs(
            self._observations, self._streams, self._source.observation_steps,
            1.0 / robot.policy.policy_rate_hz, self._source.resizing,
        )  # fmt: skip
        self._instruct(self.parameters.instruction)
        self._chunks = self.create_publisher(ActionChunk, 'action_chunk', _QOS)
        listen(self, ChunkRequest, 'chunk_request', self._on_request, _QOS)
        self._preparation = Preparation(
            self, self._worker, self.parameters.strategy, self._ready.rehearse,
            lambda name, seconds: self._ready.check(name, self._latency.typical, seconds),
        )  # fmt: skip
        self._diagnostics = diagnostics.Diagnostics(self, robot.name)
        self._last_refusal = self._too_slow = self._late = ''
        self.create_timer(1.0, self._diagnose)

    def _gives_up(self) -> bool:
        return self._worker.stopping or self.interrupted()

    def activate(self) -> None:
        """Start the inference thread; one that is still busy since before goes on."""
        self._worker.start()

    def deactivate(self) -> None:
        """Stop it; an inference in progress is finished, a wait for a server is not."""
        self._worker.stop(0.0 if self.failure else _PATIENCE_S)

    def cleanup(self) -> None:
        """Close the policy."""
        if self._source is not None:
            self._source.close()
            self._source = None
        self._streams = {}

    def apply(self, parameters: PolicyParameters) -> None:
        """Change the latency and the instruction."""
        self._latency = parse_latency(parameters.latency_ms)
        self._instruct(parameters.instruction)

    def _instruct(self, instruction: str) -> None:
        for name in [n for n, s in self._streams.items() if s.kind == 'text' and not s.topic]:
            self._observations.put(name, Sample(self._now_ns(), instruction))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds if self._simulated else time.monotonic_ns()

    @property
    def _simulated(self) -> bool:
        return self.get_parameter('use_sim_time').value

    # --- requests -------------------------------------------------------------------------------

    def _on_request(self, request: ChunkRequest) -> None:
        self._counters['overridden'] += self._worker.offer((request, self._now_ns()))

    def _serve(self, asked: tuple[ChunkRequest, int]) -> None:
        try:
            self._answer(*asked)
        except Exception as error:  # The next request may be answered all the same.
            self._counters['failed'] += 1
            self._last_refusal = f'{error!r}'
            self.get_logger().error(f'request {asked[0].request_id}: {error!r}')

    def _answer(self, request: ChunkRequest, received_ns: int) -> None:
        start_ns = self._now_ns()
        samples = self._observations.newest(received_ns)
        asked = convert.request_value(request)
        with self._deadline:
            answer = self._answer_to(asked, samples, received_ns, start_ns)
        self._worker.sleep(self._now_ns, received_ns, self._latency.draw(self._rng), _LOOK_S)
        message = convert.answer_message(request, self.embodiment.joint_names)
        convert.fill(message, answer)
        ages, message.observation_age = self._inputs.ages(samples, start_ns)
        message.observation_names, message.observation_ages = list(ages), list(ages.values())
        message.waiting_duration = (start_ns - received_ns) * 1e-9
        message.inference_duration = (self._now_ns() - start_ns) * 1e-9
        message.header.stamp = self.get_clock().now().to_msg()
        self._chunks.publish(message)
        self._counters['refused' if answer.refusal else 'answered'] += 1
        self._last_refusal = answer.refusal
        self._too_slow = self._ready.too_slow(request.delay, request.execution_horizon)
        self._counters['horizon_too_short'] += bool(self._too_slow)

    def _answer_to(
        self, request: chunk.ChunkRequest, samples: Samples, received_ns: int, now_ns: int
    ) -> chunk.ActionChunk:
        """Return the policy's answer, in positions whatever its own numbers mean."""
        try:
            values = self._inputs.values(samples, now_ns, self.parameters.max_observation_age_s)
            observation = {
                name: self._inputs.with_past(name, value, received_ns)
                for name, value in values.items()
                if name != MEASURED
            }
        except AsyncChunkingError as error:
            self._counters['incomplete'] += 1
            return refused(request, len(self.embodiment.joints), str(error))
        return self._ready.responder.answer(request, observation, values.get(MEASURED, _NONE))

    # --- diagnostics ----------------------------------------------------------------------------

    def _diagnose(self) -> None:
        values = {name: self._counters[name] for name in _COUNTERS}
        values |= self._source.counters() if self._source else {}
        values |= {f'faults {name}': n for name, n in self._observations.faults.items()}
        level, message = diagnostics.OK, 'active' if self._worker.active else 'inactive'
        if trouble := self._last_refusal or self._too_slow:
            level, message = diagnostics.WARN, trouble
        if late := self._deadline.passed:
            self.failure, level, message = self._late, diagnostics.ERROR, late  # Said twice.
        self._late = late
        self._diagnostics.publish(level, message, values)


def main() -> int:
    """Run the node."""
    return run(PolicyNode)


if __name__ == '__main__':
    raise SystemExit(main())
