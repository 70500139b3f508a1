# SPDX-License-Identifier: Apache-2.0
"""The delay monitor: measures request to takeover, and tells the executor what to expect."""

from __future__ import annotations

from typing import Any

from rclpy.qos import QoSProfile

from async_chunking.bringup.parameters import DelayMonitorParameters
from async_chunking.delay import ESTIMATORS, DelayEstimator, to_steps
from async_chunking.delay_ledger import DelayLedger, Measurement
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep, DelayEstimate
from async_chunking.nodes import diagnostics
from async_chunking.nodes.base import RobotNode
from async_chunking.nodes.bounded import listen
from async_chunking.nodes.process import run
from async_chunking.nodes.qos import LATCHED


class DelayMonitorNode(RobotNode):
    """Listens to executor and policy; owns no clock.

    The first chunks of a run are left out once there are others: they pay for what happens once.
    """

    Parameters = DelayMonitorParameters

    def __init__(self) -> None:
        super().__init__('delay_monitor')
        self._active = False

    def configure(self) -> None:
        """Create topics."""
        self._estimator = self._make_estimator()
        self._ledger = DelayLedger()
        self._warming = 0  # Chunks of this run that are still to be left out.
        self._excluded = 0
        self._newest: Measurement | None = None
        self._policy_rate_hz = 1.0
        self._estimates = self.create_publisher(DelayEstimate, 'delay_estimate', LATCHED)
        depth = QoSProfile(depth=100)
        listen(self, ChunkRequest, 'chunk_request', self._on_request, depth)
        listen(self, ActionChunk, 'action_chunk', self._on_chunk, depth)
        listen(self, ControlStep, 'control_step', self._on_step, depth)
        self._diagnostics = diagnostics.Diagnostics(self, self.embodiment.name)
        self.create_timer(1.0, self._diagnose)

    def activate(self) -> None:
        """Begin to publish."""
        self._active = True

    def deactivate(self) -> None:
        """Be silent."""
        self._active = False

    def _make_estimator(self) -> DelayEstimator:
        parameters = self.parameters
        options: dict[str, Any] = {'window': parameters.window}
        if parameters.estimator == 'quantile':
            options['quantile'] = parameters.quantile
        return ESTIMATORS[parameters.estimator](**options)

    # --- what arrives ---------------------------------------------------------------------------

    def _on_request(self, message: ChunkRequest) -> None:
        begins = self._ledger.request(
            message.run_id, message.request_id, message.tick, message.control_rate_hz
        )
        if 0.0 < message.policy_rate_hz <= message.control_rate_hz:
            self._policy_rate_hz = message.policy_rate_hz
        if begins:
            self._warming = self.parameters.warmup

    def _on_chunk(self, message: ActionChunk) -> None:
        if not message.refusal:
            self._ledger.answer(
                message.run_id, message.request_id, message.observation_age,
                message.waiting_duration, message.inference_duration,
            )  # fmt: skip

    def _on_step(self, message: ControlStep) -> None:
        if message.took_over:
            measurement = self._ledger.takeover(message.run_id, message.request_id, message.tick)
            if measurement is not None:
                self._add(measurement, message.delay)

    def _add(self, measurement: Measurement, delay: int) -> None:
        self._newest = measurement
        if self._warming:
            self._warming -= 1
            self._excluded += 1
        else:
            self._estimator.add(measurement.total)
        if self._active:
            self._publish(measurement, delay)

    @property
    def _estimate(self) -> float:
        """Seconds to expect; a warm-up measurement is better than none."""
        if len(self._estimator) or self._newest is None:
            return self._estimator.estimate
        return self._newest.total

    def _publish(self, measurement: Measurement, delay: int) -> None:
        message = DelayEstimate(
            run_id=measurement.run_id,
            request_id=measurement.request_id,
            delay=to_steps(self._estimate, self._policy_rate_hz),
            delay_seconds=self._estimate,
            last_delay=max(delay, 0),
            last_total=measurement.total,
            last_observation_age=measurement.observation_age,
            last_inference=measurement.inference,
            last_waiting=measurement.waiting,
            last_transport=measurement.transport,
            estimator=self.parameters.estimator,
            window=self.parameters.window,
            samples=len(self._estimator),
            warmup_excluded=self._excluded,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._estimates.publish(message)

    def _diagnose(self) -> None:
        values: dict[str, object] = {
            'estimator': self.parameters.estimator,
            'samples': len(self._estimator),
            'warmup_excluded': self._excluded,
            'delay_s': round(self._estimate, 4),
        }
        if self._newest is not None:
            for name in ('total', 'observation_age', 'waiting', 'inference', 'transport'):
                values[f'last_{name}_s'] = round(getattr(self._newest, name), 4)
        self._diagnostics.publish(diagnostics.OK, 'active' if self._active else 'inactive', values)


def main() -> int:
    """Run the node."""
    return run(DelayMonitorNode)


if __name__ == '__main__':
    raise SystemExit(main())
