# SPDX-License-Identifier: Apache-2.0
"""Bytes gone wrong: what a broken or hostile peer may put into a message."""

from __future__ import annotations

import numpy as np

_MOST_BYTES = 8
_MOST_ADDED = 64


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a message with some bytes replaced, cut off, added, or filled with ones or zeros."""
    changed = bytearray(data)
    kind = rng.integers(10)
    if kind == 0:  # Cut off.
        return bytes(changed[: rng.integers(len(changed))])
    if kind == 1:  # Something behind the end.
        return bytes(changed) + rng.bytes(int(rng.integers(1, _MOST_ADDED)))
    if kind == 2:  # A length or a number of all ones or zeros.
        start = 4 * int(rng.integers(len(changed) // 4))
        changed[start : start + 4] = bytes([int(rng.choice([0x00, 0x7F, 0xFF]))]) * 4
        return bytes(changed)
    for place in rng.integers(len(changed), size=rng.integers(1, _MOST_BYTES + 1)):
        changed[place] = rng.integers(256)
    return bytes(changed)
