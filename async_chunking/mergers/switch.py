# SPDX-License-Identifier: Apache-2.0
"""Switch: from the takeover on, execute the new chunk as it is (naive asynchronous execution)."""

from __future__ import annotations

from dataclasses import dataclass

from async_chunking.mergers.base import Merger


@dataclass(frozen=True)
class Switch(Merger):
    """
    Leave the old plan for the new chunk at the row that belongs to now, whatever the jump.

    Every strategy whose sampler already agrees with the old plan uses it too.
    """
