# SPDX-License-Identifier: Apache-2.0
"""A network that does as it is told, between the nodes of a robot, and sees all that they send."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from async_chunking.bringup.nodes import NodeSpec
from async_chunking.msg import ActionChunk, ChunkRequest, ControlStep, DelayEstimate
from async_chunking.nodes import convert
from async_chunking.nodes.bounded import Unwatched
from async_chunking.nodes.qos import LATCHED
from async_chunking.robot.embodiment import Embodiment
from tools.faults.log import Arrival, Log, SeenTakeover, SentCommand

_ALL = QoSProfile(depth=2000)
_AT_ONCE = 100  # Messages of a topic.
_TRANSITIONS = {
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
}
_LOOK_S = 0.001  # [s].
_BEFORE = 'before_the_link'  # Topics of this namespace have not gone through the link yet.

# Topic -> type, QoS, and the node that sends.
RELAYED: dict[str, tuple[type, QoSProfile, str]] = {
    'action_chunk': (ActionChunk, QoSProfile(depth=10), 'policy'),
    'joint_states': (JointState, qos_profile_sensor_data, 'sim'),
    'delay_estimate': (DelayEstimate, LATCHED, 'delay_monitor'),
}

Filter = Callable[[Any], Iterable[Any]]


def linked(node: NodeSpec) -> dict[str, str]:
    """Return how the topics of a node that sends through the link are renamed."""
    return {t: f'{_BEFORE}/{t}' for t, (_, _, name) in RELAYED.items() if name == node.name}


class LossyLink:
    """Relays what the nodes send, through a filter where there is one, and writes down the rest.

    Args:
        robot: Description of the robot.
        namespace: Namespace of the robot.

    Attributes:
        filters: Topic of `RELAYED` -> what is sent on instead of each message.
        log: What was seen.
        request: Newest of the executor, None before the first.
        on_request: Is called with every request.
    """

    def __init__(self, robot: Embodiment, namespace: str) -> None:
        self.filters: dict[str, Filter] = {}
        self.log = Log()
        self.request: ChunkRequest | None = None
        self.on_request: Callable[[ChunkRequest], None] | None = None
        self._names = robot.joint_names
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            'link', namespace=namespace, context=self._context,
            start_parameter_services=False, enable_rosout=False,
        )  # fmt: skip
        self._status = f'{namespace.strip("/")}/'
        self._relays = {}
        self._others: dict[str, Any] = {}
        self._heard: list[tuple[Any, type, Callable[[Any], None]]] = []
        for topic, (kind, qos, _) in RELAYED.items():
            self._relays[topic] = self._node.create_publisher(kind, topic, qos)
            self._hear(kind, f'{_BEFORE}/{topic}', partial(self._relay, topic), qos)
        self._peer = self._node.create_publisher(ActionChunk, 'action_chunk', QoSProfile(depth=10))
        (command,) = robot.commands
        few = QoSProfile(depth=100)
        self._hear(Float64MultiArray, command.topic, self._on_command, _ALL)
        self._hear(ControlStep, 'control_step', self._on_step, _ALL)
        self._hear(ChunkRequest, 'chunk_request', self._on_request, few)
        self._hear(DiagnosticArray, '/diagnostics', self._on_diagnostics, few)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def _hear(
        self, kind: type, topic: str, take: Callable[[Any], None], profile: QoSProfile
    ) -> None:
        made = self._node.create_subscription(
            kind, topic, take, profile, callback_group=Unwatched()
        )
        self._heard.append((made.handle, kind, take))

    def spin(self, seconds: float) -> None:
        """Relay for some time, all that there is at least once.

        All messages of a topic are taken at once: to wait for each costs more than there is time
        for on a busy machine, and whoever comes last is never heard.
        """
        end = time.monotonic() + seconds
        while True:
            taken = sum(self._drain(*heard) for heard in self._heard)
            self._executor.spin_once(timeout_sec=0.0)  # For answers of services.
            if time.monotonic() >= end:
                return
            if not taken:
                time.sleep(_LOOK_S)

    @staticmethod
    def _drain(handle: Any, kind: type, take: Callable[[Any], None]) -> int:
        count = 0
        with handle:
            while count < _AT_ONCE and (taken := handle.take_message(kind, False)) is not None:
                take(taken[0])
                count += 1
        return count

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.shutdown()

    # --- what is seen ---------------------------------------------------------------------------

    def _relay(self, topic: str, message: Any) -> None:
        through = self.filters.get(topic)
        if topic == 'action_chunk' and not message.refusal:
            steps = self.log.steps
            late = bool(steps) and steps[-1].tick - message.tick >= message.rows
            self.log.arrivals.append(Arrival(message.run_id, message.request_id, late))
        for sent in (message,) if through is None else through(message):
            self._relays[topic].publish(sent)

    def _on_command(self, message: Float64MultiArray) -> None:
        self.log.commands.append(np.array(message.data))

    def _on_step(self, step: ControlStep) -> None:
        log = self.log
        if step.took_over:
            arrived = len(log.arrivals)
            log.takeovers.append(
                SeenTakeover(len(log.steps), step.run_id, step.request_id, arrived)
            )
        log.steps.append(
            SentCommand(
                step.run_id, step.tick, step.phase, step.missed, step.deadline_ns,
                np.array(step.command), step.teleported, time.monotonic_ns(),
            )
        )  # fmt: skip

    def _on_request(self, request: ChunkRequest) -> None:
        self.request = request
        if self.on_request is not None:
            self.on_request(request)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(self._status):
                name = status.name.removeprefix(self._status)
                values = {item.key: item.value for item in status.values}
                self.log.states[name] = values
                self.log.sentences.setdefault(name, []).append(status.message)

    # --- what is done ---------------------------------------------------------------------------

    def answer(self, request: ChunkRequest, rows: np.ndarray) -> None:
        """Answer a request as another peer than the policy, with rows [H, D] [rad, m]."""
        message = convert.answer_message(request, self._names)
        message.rows, message.columns = rows.shape
        message.actions = convert.to_array(rows)
        self._peer.publish(message)

    def send(self, chunk: ActionChunk | bytes) -> None:
        """Send a chunk, or bytes that claim to be one, as another peer than the policy."""
        self._peer.publish(chunk)

    def wire(self, chunk: ActionChunk) -> bytes:
        """Return a chunk as it goes over the wire."""
        return serialize_message(chunk)

    def chunk(self, names: int = 0, floats: int = 0) -> bytes:
        """Return a chunk of so many names and floats, as it goes over the wire."""
        message = ActionChunk(joint_names=[''] * names, actions=array('f', bytes(4 * floats)))
        return serialize_message(message)

    def _to(self, kind: type, topic: str) -> Any:
        if topic not in self._others:
            self._others[topic] = self._node.create_publisher(kind, topic, QoSProfile(depth=10))
        return self._others[topic]

    def publish_numbers(self, topic: str, values: np.ndarray) -> None:
        """Publish numbers as another peer than the robot."""
        self._to(Float64MultiArray, topic).publish(Float64MultiArray(data=values.tolist()))

    def publish_joints(self, count: int) -> None:
        """Publish joint states of no joint that there is, as fast as it goes."""
        data = serialize_message(JointState(name=['nobody'], position=[0.0]))
        for _ in range(count):
            self._relays['joint_states'].publish(data)

    def publish_clock(self, ahead_s: float) -> None:
        """Publish a simulation's time that is so much ahead of the newest deadline [s]."""
        now_ns = self.log.steps[-1].deadline_ns + round(ahead_s * 1e9)
        message = Clock()
        convert.set_time(message.clock, now_ns)
        self._to(Clock, '/clock').publish(message)

    def set_parameter(self, node: str, name: str, new: Any) -> Callable[[], str | None]:
        """Set a parameter of a node: a text, several, or a truth.

        Returns:
            What tells why it was refused, '' if it was not; None while there is no answer.
        """
        if isinstance(new, bool):
            value = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=new)
        elif isinstance(new, str):
            value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=new)
        else:
            kind = ParameterType.PARAMETER_STRING_ARRAY
            value = ParameterValue(type=kind, string_array_value=new)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        future = self._call(SetParameters, f'{node}/set_parameters', request)
        return lambda: future.result().results[0].reason if future.done() else None

    def order(self, name: str) -> Callable[[], str | None]:
        """Call a service of the executor, `reset` or `stop`; returns as `set_parameter`."""
        future = self._call(Trigger, f'executor/{name}', Trigger.Request())

        def reason() -> str | None:
            if not future.done():
                return None
            return '' if future.result().success else future.result().message

        return reason

    def change_state(self, node: str, transition: str) -> Callable[[], str | None]:
        """Ask a node for a transition of its lifecycle; returns as `set_parameter`."""
        request = ChangeState.Request(transition=Transition(id=_TRANSITIONS[transition]))
        future = self._call(ChangeState, f'{node}/change_state', request)

        def reason() -> str | None:
            if not future.done():
                return None
            return '' if future.result().success else f'{node} did not {transition}'

        return reason

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._node.create_client(kind, name)
        deadline = time.monotonic() + 10.0
        while not client.service_is_ready() and time.monotonic() < deadline:
            self.spin(0.02)
        future = client.call_async(request)
        future.add_done_callback(lambda _: self._node.destroy_client(client))
        return future
