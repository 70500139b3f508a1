# SPDX-License-Identifier: Apache-2.0
"""The newest value that one process has for another, in shared memory: no lock, no queue."""

from __future__ import annotations

import mmap
import os
import struct
import zlib

_HEAD = struct.Struct('=QII')  # Number of the value, its length, checksum of both and of it.
_NUMBER = struct.Struct('=QI')


class Mailbox:
    """Holds one value of at most `capacity` bytes; one process writes it, one reads it.

    Two slots take turns, each with a number and a checksum. So a reader finds the last complete
    value whenever it looks, also if the writer was stopped or killed in the midst of the next.

    Args:
        capacity: [bytes].
        descriptor: Memory of a mailbox that another process made; none makes one.

    Attributes:
        descriptor: To hand to another process.
    """

    def __init__(self, capacity: int, descriptor: int | None = None) -> None:
        self._capacity = capacity
        self._stride = _HEAD.size + capacity
        if descriptor is None:
            descriptor = os.memfd_create('mailbox')
            os.ftruncate(descriptor, 2 * self._stride)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, 2 * self._stride)
        self._number = 0

    def put(self, value: bytes) -> None:
        """Replace the value.

        Raises:
            ValueError: It is longer than the capacity.
        """
        if len(value) > self._capacity:
            msg = f'a mailbox of {self._capacity} bytes cannot hold {len(value)}'
            raise ValueError(msg)
        self._number += 1
        begin = self._number % 2 * self._stride
        head = _NUMBER.pack(self._number, len(value))
        checksum = zlib.crc32(value, zlib.crc32(head))
        self._memory[begin : begin + _HEAD.size + len(value)] = (
            _HEAD.pack(self._number, len(value), checksum) + value
        )

    def get(self) -> bytes | None:
        """Return the newest complete value, None before the first."""
        slots = [slot for slot in (self._slot(0), self._slot(1)) if slot is not None]
        return max(slots)[1] if slots else None

    def _slot(self, index: int) -> tuple[int, bytes] | None:
        begin = index * self._stride
        number, length, checksum = _HEAD.unpack_from(self._memory, begin)
        if not number or length > self._capacity:
            return None
        value = self._memory[begin + _HEAD.size : begin + _HEAD.size + length]
        whole = checksum == zlib.crc32(value, zlib.crc32(_NUMBER.pack(number, length)))
        return (number, value) if whole else None

    def close(self) -> None:
        """Give the memory back; it lives on in the other process."""
        self._memory.close()
        os.close(self.descriptor)
