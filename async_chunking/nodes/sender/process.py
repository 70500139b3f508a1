# SPDX-License-Identifier: Apache-2.0
"""The sender: `python -m async_chunking.nodes.sender.process DESCRIPTOR...`, started by the node.

It has publishers alone: no subscription, no service, no parameter, and one thread of Python.
Orders come over the link; when the node ends, however that happens, it brings the robot to rest.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from async_chunking.executor import Admitted, Behaviour
from async_chunking.gate import Gate
from async_chunking.nodes.command_loop import CommandLoop
from async_chunking.nodes.overriding import QosOverriding
from async_chunking.nodes.pacing import Pace, SimPace, SteadyPace, prepare, raise_all_threads
from async_chunking.nodes.sender.link import Link
from async_chunking.nodes.sender.output import SenderOutput
from async_chunking.nodes.sender.ready import ReadyPublisher
from async_chunking.nodes.sender.transport import off_shared_memory
from async_chunking.nodes.sender.values import (
    Begin,
    KnownLayout,
    Setup,
    Start,
    Status,
    Word,
)

_ORDERS_PER_TICK = 8
_IDLE_S = 1.0  # How often an idle sender looks up [s].


class SenderNode(QosOverriding, Node):
    """Has publishers alone."""

    def create_publisher(self, kind: Any, topic: str, qos: Any, **options: Any) -> Any:
        """Create a publisher that can have its message ready."""
        options.setdefault('publisher_class', ReadyPublisher)
        return super().create_publisher(kind, topic, qos, **options)


@dataclass
class Opened:
    """What a setup makes."""

    setup: Setup
    context: rclpy.Context
    node: Node
    pace: Pace
    output: SenderOutput
    layout: KnownLayout


class Sender:
    """Carries out orders, and sends from `Start` to `Word.REST`.

    Args:
        link: To the node.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._opened: Opened | None = None
        self._loop: CommandLoop | None = None
        self._status = Status()
        self._gate: Gate | None = None  # Of the last command since a setup.
        self._done = 0
        self._gone = False  # The node.

    def run(self) -> None:
        """Carry out orders until the node is gone."""
        while not self._gone:
            self._link.wait_for_order(_IDLE_S)
            order = self._next_order()
            if order is None:
                continue
            try:
                self._idle_order(order)
            except Exception as error:
                self._status = self._status._replace(error=str(error) or repr(error))
            self._tell(active=False)

    def _next_order(self) -> Any:
        try:
            number, order = self._link.next_order() or (self._done, None)
        except EOFError:
            self._gone = True
            return None
        self._done = number
        return order

    # --- while nothing is sent ------------------------------------------------------------------

    def _idle_order(self, order: Any) -> None:
        if isinstance(order, Setup):
            self._close()
            self._open(order)
        elif isinstance(order, Start) and self._opened is not None:
            self._send(self._opened, order)
        elif order is Word.CLOSE:
            self._close()

    def _open(self, setup: Setup) -> None:
        self._status, self._gate = Status(), None
        context = rclpy.Context()
        name, namespace = setup.node
        with off_shared_memory():
            rclpy.init(
                args=list(setup.arguments), context=context, domain_id=setup.domain,
                signal_handler_options=SignalHandlerOptions.NO,
            )  # fmt: skip
            silent = Parameter('start_type_description_service', value=False)
            node = SenderNode(
                f'_{name}_sender', namespace=namespace, context=context, enable_rosout=False,
                start_parameter_services=False, parameter_overrides=[silent, *setup.overrides],
            )  # fmt: skip
        period_ns = round(1e9 / setup.config.control_rate_hz)
        simulated = setup.simulated
        pace = SimPace(period_ns, self._link.next_time) if simulated else SteadyPace(period_ns)
        try:
            output = SenderOutput(node, setup, pace)
        except Exception:
            node.destroy_node()
            context.shutdown()
            raise
        self._opened = Opened(setup, context, node, pace, output, KnownLayout(setup))
        if setup.priority > 1:  # Those of the middleware come next to this thread, not before it.
            raise_all_threads(setup.priority - 1)
        denied = prepare(setup.priority, setup.lock_memory)
        self._status = self._status._replace(denied=tuple(denied))

    def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.node.destroy_node()
            opened.context.shutdown()

    # --- while commands are sent ----------------------------------------------------------------

    @property
    def _making(self) -> Opened:
        """What a setup made; no loop runs without."""
        assert self._opened is not None
        return self._opened

    @property
    def _running(self) -> CommandLoop:
        """The loop, for what it calls itself."""
        assert self._loop is not None
        return self._loop

    def _send(self, opened: Opened, order: Start) -> None:
        self._status = Status(denied=self._status.denied)  # Of the run before is nothing left.
        loop = self._loop = CommandLoop(
            opened.setup.config, order.behaviour, opened.pace, self, self._listen, self._gate,
            order.displaced,
        )  # fmt: skip
        self._tell()
        loop.run()
        self._gate = loop.gate
        opened.output.release()
        if loop.error is not None:
            self._status = self._status._replace(error=repr(loop.error))
        self._loop = None

    def _listen(self) -> None:
        """Take what the node has, between two ticks."""
        data = self._link.known()
        if data is not None:
            known = self._making.layout.unpack(data)
            self._running.known = known
            self._making.output.hear(known.reported)
        before = self._done
        for _ in range(_ORDERS_PER_TICK):
            order = self._next_order()
            if order is None:
                break
            self._obey(order)
        if self._gone:
            self._running.rest()
        if self._done != before:
            self._tell()

    def _obey(self, order: Any) -> None:
        loop = self._running
        if isinstance(order, Admitted):
            loop.deliver(order)
        elif isinstance(order, Behaviour):
            loop.behaviour = order
        elif isinstance(order, Begin) and loop.known.pose is not None:
            loop.begin(order.most, order.displaced)
        elif order is Word.BRAKE:
            loop.brake()
        elif order is Word.REST:
            loop.rest()

    # --- what the loop calls --------------------------------------------------------------------

    def prepare(self, step: Any) -> None:
        """See `braking.Output`."""
        self._making.output.prepare(step)

    def command(self, step: Any) -> Any:
        """See `braking.Output`."""
        return self._making.output.command(step)

    def report(self, step: Any, deadline_ns: int, emitted_ns: int, loop: CommandLoop) -> None:
        """See `braking.Output`; the node is told too."""
        self._making.output.report(step, deadline_ns, emitted_ns, loop)
        self._tell()

    def ask(self, request: Any) -> None:
        """See `braking.Output`."""
        self._making.output.ask(request)

    def _tell(self, active: bool = True) -> None:
        status = self._status._replace(done=self._done, active=active)
        loop = self._loop
        if loop is not None and loop.executor is not None:
            executor, output = loop.executor, self._making.output
            status = status._replace(
                run_id=executor.run_id,
                tick=executor.tick,
                phase=int(executor.phase),
                strategy=executor.behaviour.name,
                served=loop.served,
                command=loop.last,
                counters=dict(loop.counters + output.counters()),
                trouble=output.reason,
            )
        self._status = status
        self._link.tell_status(status)


def main() -> int:
    """Run the sender; signals are for the node, which brings the robot to rest first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sender = Sender(Link([int(word) for word in sys.argv[1:]]))
    sender.run()
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
