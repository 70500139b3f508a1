# SPDX-License-Identifier: Apache-2.0
"""The checksum of a unitree_hg/LowCmd: CRC-32/MPEG-2 over its fields as 32-bit words."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import Any

# Modes (2 bytes, padded), 35 motors (mode padded, q, dq, tau, kp, kd, reserve), reserve.
_LAYOUT = struct.Struct('<2B2x' + 'B3x5fI' * 35 + '4I')
_REVERSED = bytes(int(f'{byte:08b}'[::-1], 2) for byte in range(256))


def mpeg2(data: bytes) -> int:
    """Return the CRC-32/MPEG-2 (polynomial 0x04C11DB7, not reflected, no final xor).

    It is zlib's CRC with the bits of all bytes, and those of the result, in reverse order.
    """
    reflected = zlib.crc32(data.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int(f'{reflected:032b}'[::-1], 2)


def checksum(message: Any) -> int:
    """Return the checksum that belongs into `message.crc`."""
    fields: list[Any] = [message.mode_pr, message.mode_machine]
    for motor in message.motor_cmd:
        fields += (motor.mode, motor.q, motor.dq, motor.tau, motor.kp, motor.kd, motor.reserve)
    words = array('I', _LAYOUT.pack(*fields, *message.reserve))
    words.byteswap()  # Each word is taken from its highest bit on.
    return mpeg2(words.tobytes())
