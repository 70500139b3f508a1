# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: lifecycle, and parameters from a pydantic model."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from async_chunking.bringup.parameters import STANDARD, NodeParameters
from async_chunking.errors import COULD_NOT_START, AsyncChunkingError
from async_chunking.nodes.descriptors import descriptor
from async_chunking.nodes.entities import EntityNode
from async_chunking.robot.embodiment import Embodiment, load
from async_chunking.settings import unknown, validated


class RobotNode(EntityNode):
    """A lifecycle node of a robot.

    Subclasses name their `Parameters` and override the methods from `configure` to `apply`. What
    a user did wrong raises an `AsyncChunkingError` there: it is logged, the transition fails.

    Args:
        name: Name of the node, unless remapped.

    Attributes:
        parameters: As configured, then as changed.
        embodiment: The robot.
        failure: Why the process must end; empty while it need not.
        status: Status of the process, if it fails.
        interrupted: Whether the process was told to end; for whatever waits.
        activated: What the process does after every activation.
    """

    Parameters: type[NodeParameters]
    parameters: Any
    embodiment: Embodiment

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.failure, self.status = '', 1
        self._error = 'it could not start'  # Of the last transition that failed.
        self.interrupted: Callable[[], bool] = lambda: False
        self.activated: Callable[[], None] = lambda: None
        self._configured = False
        for key, field in self.Parameters.model_fields.items():
            self.declare_parameter(key, field.default, descriptor(field))
        for key in self._parameter_overrides:
            if key not in self.Parameters.model_fields and not key.startswith(STANDARD):
                message = unknown('parameter', key, self.Parameters.model_fields)
                self.get_logger().warning(f'ignored: {message}')
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._on_changed)

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

    # --- parameters -----------------------------------------------------------------------------

    def _read(self, changed: list[Parameter]) -> NodeParameters:
        values = {key: self.get_parameter(key).value for key in self.Parameters.model_fields}
        values |= {p.name: p.value for p in changed if p.name in values}
        return validated(self.Parameters, values, f'node {self.get_name()}')

    def _on_set(self, changed: list[Parameter]) -> SetParametersResult:
        try:
            new = self._read(changed)
            if self._configured:
                self._refuse_clock(changed)
                self.check(new)
        except AsyncChunkingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _refuse_clock(self, changed: list[Parameter]) -> None:
        """Refuse to change the clock under what runs by it."""
        now = self.get_parameter('use_sim_time').value
        if any(p.name == 'use_sim_time' and p.value != now for p in changed):
            msg = 'use_sim_time cannot be changed after configure'
            raise AsyncChunkingError(msg)

    def _on_changed(self, changed: list[Parameter]) -> None:
        if self._configured:
            self.parameters = self._read(changed)
            self.apply(self.parameters)

    # --- lifecycle ------------------------------------------------------------------------------

    def _transition(self, action: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except AsyncChunkingError as error:
            self._error = str(error)
            self.get_logger().error(self._error)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would fail the transition without a word.
            self._error = repr(error)
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
            self.destroy_entities()
            raise
        self._configured = True

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `configure`."""
        return self._transition(self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `activate`."""
        done = self._transition(self.activate)
        self.activated()
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """See `deactivate`."""
        return self._transition(self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy what `configure` made."""
        self._configured = False
        self.cleanup()
        self.destroy_entities()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate if active, and destroy what `configure` made."""
        if state.label == 'active':
            self._transition(self.deactivate)
        return self.on_cleanup(state) if self._configured else TransitionCallbackReturn.SUCCESS

    def begin(self) -> None:
        """Configure and, unless told to wait, activate; if that fails, the process must end."""
        wanted = [self.trigger_configure]
        if self.get_parameter('activate').value:
            wanted.append(self.trigger_activate)
        for transition in wanted:
            if transition() is not TransitionCallbackReturn.SUCCESS:
                self.failure = self.failure or self._error
                self.status = COULD_NOT_START
                return

    def end(self) -> None:
        """Deactivate if active, and destroy the node."""
        if self._state_machine.current_state[1] == 'active':
            self.trigger_deactivate()
        if self._configured:
            self.cleanup()
        self.destroy_node()
