# SPDX-License-Identifier: Apache-2.0
"""Wait: rest while the policy computes, then execute its chunk from the start (synchronous)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from async_chunking.chunk import Plan
from async_chunking.mergers.base import Merger


@dataclass(frozen=True)
class Wait(Merger):
    """Anchor the chunk at its arrival, since nothing was executed since its observation."""

    waits: ClassVar[bool] = True

    def join(self, active: tuple[Plan, ...], new: Plan) -> tuple[Plan, ...]:
        """Start the new plan when it takes over, at row 0."""
        del active  # Unused.
        return (replace(new, origin=float(new.takeover)),)
