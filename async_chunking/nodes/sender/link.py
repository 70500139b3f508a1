# SPDX-License-Identifier: Apache-2.0
"""All that joins a node and its sender: orders one way, the newest values both ways, a clock.

Neither side ever waits for the other here: what the other cannot take is dropped, and told of.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
from collections.abc import Sequence
from typing import Any

from async_chunking.nodes.sender.mailbox import Mailbox
from async_chunking.nodes.sender.values import Status

_KNOWN, _STATUS = 1 << 18, 1 << 16  # Capacity of the mailboxes [bytes].
_DATAGRAM = 1 << 14  # A longer order travels as a file in memory [bytes].
_LONGEST = 1 << 27  # Order [bytes].
_TIME = struct.Struct('=q')


class Link:
    """One end of the link.

    Values are pickled: both ends are one program of one user, and no peer reaches either.

    Args:
        descriptors: What the other end offers, for the sender; none makes a link, for the node.
    """

    def __init__(self, descriptors: Sequence[int] = ()) -> None:
        if descriptors:
            orders, clock, known, status = descriptors
            self._orders, self._clock = socket.socket(fileno=orders), socket.socket(fileno=clock)
            self._known, self._status = Mailbox(_KNOWN, known), Mailbox(_STATUS, status)
            self._offer: list[socket.socket] = []
        else:
            self._orders, orders_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._clock, clock_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._known, self._status = Mailbox(_KNOWN), Mailbox(_STATUS)
            self._offer = [orders_end, clock_end]
        self._orders.setblocking(False)
        self._clock.setblocking(False)

    @property
    def descriptors(self) -> list[int]:
        """What the sender needs to attach to the link."""
        ends = [end.fileno() for end in self._offer]
        return [*ends, self._known.descriptor, self._status.descriptor]

    def attached(self) -> None:
        """Let go of the other end, so that its death is seen."""
        for end in self._offer:
            end.close()
        self._offer = []

    def close(self) -> None:
        """End the link; the other side sees it."""
        self.attached()
        for part in (self._orders, self._clock, self._known, self._status):
            part.close()

    # --- orders: node to sender -----------------------------------------------------------------

    def order(self, value: Any) -> bool:
        """Send an order; False if there are too many already, or nobody takes them any more."""
        data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        try:
            if len(data) <= _DATAGRAM:
                return self._orders.send(data) > 0
            return self._order_file(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False

    def _order_file(self, data: bytes) -> bool:
        descriptor = os.memfd_create('order')
        try:
            with open(descriptor, 'wb', closefd=False) as file:
                file.write(data)
            return socket.send_fds(self._orders, [b''.ljust(1, b'f')], [descriptor]) > 0
        finally:
            os.close(descriptor)

    def next_order(self) -> Any:
        """Return the next order, None if there is none.

        Raises:
            EOFError: The node is gone.
        """
        try:
            data, descriptors, _, _ = socket.recv_fds(self._orders, _DATAGRAM, 1)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data, descriptors = b'', []
        if descriptors:
            with open(descriptors[0], 'rb') as file:
                file.seek(0)
                data = file.read(_LONGEST)
        if not data:
            raise EOFError
        return pickle.loads(data)

    def wait_for_order(self, seconds: float) -> None:
        """Sleep until there is an order, at most for some time."""
        select.select([self._orders], [], [], seconds)

    # --- newest values --------------------------------------------------------------------------

    def tell_known(self, data: bytes) -> None:
        """Put what the node knows, as `KnownLayout` packs it."""
        self._known.put(data)

    def known(self) -> bytes | None:
        """Return what the node knows."""
        return self._known.get()

    def tell_status(self, status: Status) -> None:
        """Put the state of the sender."""
        self._status.put(pickle.dumps(status, pickle.HIGHEST_PROTOCOL))

    def status(self) -> Status:
        """Return the state of the sender."""
        data = self._status.get()
        return pickle.loads(data) if data else Status()

    # --- the clock of a simulation --------------------------------------------------------------

    def tell_time(self, now_ns: int) -> None:
        """Send what the simulation's clock shows [ns]."""
        try:
            self._clock.send(_TIME.pack(now_ns))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return  # It does not look; it will see the next one.

    def next_time(self, seconds: float) -> int | None:
        """Return the next time of the simulation's clock [ns], None if none comes."""
        if not select.select([self._clock], [], [], seconds)[0]:
            return None
        data = self._clock.recv(_TIME.size)
        return _TIME.unpack(data)[0] if data else None
