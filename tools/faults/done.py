# SPDX-License-Identifier: Apache-2.0
"""What a fault did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Done:
    """
    What a fault did, and what it found out beyond the stream.

    Attributes:
        count: Things done: messages spoiled, processes killed, clocks set.
        checks: Name -> whether it is as it must be.
        note: For people.
    """

    count: int = 0
    checks: dict[str, bool] = field(default_factory=dict)
    note: str = ''
