# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: lifecycle, parameters from a pydantic model, and an orderly end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterValueException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import SignalHandlerOptions
from rclpy.timer import Timer

from async_chunking import ros_environment
from async_chunking.bringup.parameters import PARENT_VARIABLE, STANDARD, NodeParameters
from async_chunking.errors import COULD_NOT_START, AsyncChunkingError
from async_chunking.nodes.descriptors import descriptor
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.settings import unknown, validated

_PR_SET_PDEATHSIG = 1


class RobotNode(LifecycleNode):
    """A lifecycle node of a robot.

    Subclasses name their `Parameters` and override the methods from `configure` to `apply`. What
    a user did wrong raises an `AsyncChunkingError` there: it is logged, the transition fails.

    Args:
        name: Of the node, unless remapped.

    Attributes:
        parameters: As configured, then as changed.
        embodiment: The robot.
        failure: Why the process must end; empty while it need not.
        status: Of the process, if it fails.
        interrupted: Whether the process was told to end; for whatever waits.
    """

    Parameters: type[NodeParameters]
    parameters: Any
    embodiment: Embodiment

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.failure, self.status = '', 1
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.interrupted: Callable[[], bool] = lambda: False
        self._configured = False
        for key, field in self.Parameters.model_fields.items():
            self.declare_parameter(key, field.default, descriptor(field))
        for key in self._parameter_overrides:
            if key not in self.Parameters.model_fields and not key.startswith(STANDARD):
                message = unknown('parameter', key, self.Parameters.model_fields)
                self.get_logger().warning(f'ignored: {message}')
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._on_changed)
        self._permanent = set(self._entities())

    # --- for subclasses -------------------------------------------------------------------------

    def configure(self) -> None:
        """Check everything and create what the node needs; `on_cleanup` destroys it."""

    def activate(self) -> None:
        """Begin."""

    def deactivate(self) -> None:
        """End, leaving the robot in a safe state."""

    def cleanup(self) -> None:
        """Give back what `configure` took, except for topics, services and timers."""

    def check(self, parameters: Any) -> None:
        """Refuse parameters that the model alone cannot judge, by raising."""

    def apply(self, parameters: Any) -> None:
        """Use parameters that were changed while configured."""

    def create_timer(self, *arguments: Any, **options: Any) -> Timer:
        """Create a timer as every node does, but on the steady clock.

        On the wall clock, which is the default, it would be silent for as long as somebody set
        that clock back.
        """
        return super().create_timer(*arguments, **{'clock': self._steady, **options})

    def create_publisher(self, kind: Any, topic: str, qos: Any, **options: Any) -> Any:
        """Create a publisher whose QoS a parameter file may override."""
        return super().create_publisher(
            kind, topic, qos, **{**self._overriding(topic, 'publisher'), **options}
        )

    def create_subscription(
        self, kind: Any, topic: str, callback: Any, qos: Any, **options: Any
    ) -> Any:
        """Create a subscription whose QoS a parameter file may override."""
        return super().create_subscription(
            kind, topic, callback, qos, **{**self._overriding(topic, 'subscription'), **options}
        )

    def _overriding(self, topic: str, entity: str) -> dict[str, Any]:
        """Return options that let QoS be overridden, where that was asked for."""
        asked = f'qos_overrides.{self.resolve_topic_name(topic)}.{entity}.'
        if not any(key.startswith(asked) for key in self._parameter_overrides):
            return {}  # Three parameters for every topic would hide the node's own.
        return {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}

    # --- parameters -----------------------------------------------------------------------------

    def _read(self, changed: list[Parameter]) -> NodeParameters:
        values = {key: self.get_parameter(key).value for key in self.Parameters.model_fields}
        values |= {p.name: p.value for p in changed if p.name in values}
        return validated(self.Parameters, values, f'node {self.get_name()}')

    def _on_set(self, changed: list[Parameter]) -> SetParametersResult:
        try:
            new = self._read(changed)
            if self._configured:
                self.check(new)
        except AsyncChunkingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _on_changed(self, changed: list[Parameter]) -> None:
        if self._configured:
            self.parameters = self._read(changed)
            self.apply(self.parameters)

    # --- lifecycle ------------------------------------------------------------------------------

    def _transition(self, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except AsyncChunkingError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would fail the transition without a word.
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self.parameters = self._read([])
        self.embodiment = load(self.parameters.embodiment, self.parameters.sim)
        self.check(self.parameters)
        try:
            self.configure()
        except Exception:
            self._destroy_entities()
            raise
        self._configured = True

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `configure`."""
        return self._transition(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `activate`."""
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `deactivate`."""
        return self._transition(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy what `configure` made."""
        self._configured = False
        self.cleanup()
        self._destroy_entities()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate if active, and destroy what `configure` made."""
        if state.label == 'active':
            self._transition(self.deactivate)
        return self.on_cleanup(state) if self._configured else TransitionCallbackReturn.SUCCESS

    def _entities(self) -> list[Any]:
        return [*self.publishers, *self.subscriptions, *self.timers, *self.services, *self.clients]

    def _destroy_entities(self) -> None:
        for made in self._entities():
            if made not in self._permanent:
                for kind in ('publisher', 'subscription', 'timer', 'service', 'client'):
                    if getattr(self, f'destroy_{kind}')(made):
                        break

    def begin(self) -> None:
        """Configure and, unless told to wait, activate; if that fails, the process must end."""
        wanted = [self.trigger_configure]
        if self.get_parameter('activate').value:
            wanted.append(self.trigger_activate)
        for transition in wanted:
            if transition() is not TransitionCallbackReturn.SUCCESS:
                self.failure = self.failure or 'it could not start'
                self.status = COULD_NOT_START
                return

    def end(self) -> None:
        """Deactivate if active, and destroy the node."""
        if self._state_machine.current_state[1] == 'active':
            self.trigger_deactivate()
        if self._configured:
            self.cleanup()
        self.destroy_node()


def run(make: Callable[[], RobotNode]) -> NoReturn:
    """Run a node until SIGINT or SIGTERM, then end the process; with its status if it failed.

    Signals do not shut ROS down at once, so that a robot can be brought to rest first.
    """
    if PARENT_VARIABLE in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(os.environ[PARENT_VARIABLE]):  # It died before that.
            return 0
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    ros_environment.activate()  # Only this host finds it, unless the user says otherwise.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except InvalidParameterValueException as error:  # Its range is rclpy's to check.
        rclpy.logging.get_logger('rclpy').fatal(str(error))
        os._exit(COULD_NOT_START)
    node.interrupted = lambda: bool(stopped)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter('autostart').value:
        node.begin()
    while not stopped and not node.failure:
        try:
            executor.spin_once(timeout_sec=0.1)
        except Exception:  # Whatever a peer sent, the command stream goes on.
            node.get_logger().error(traceback.format_exc())
    node.end()
    executor.shutdown()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking torch apart, as Python would, takes seconds.
    os._exit(node.status if node.failure else 0)
