# SPDX-License-Identifier: Apache-2.0
"""Policies that run time the other way: noise at 1, actions at 0, as openpi and LeRobot do."""

from __future__ import annotations

from torch import Tensor

from async_chunking.policies.base import Encoding, WrappedPolicy


class Reversed(WrappedPolicy):
    """
    The same flow in the package's direction: flow time is 1 - t, the velocity changes sign.

    A foreign model is written as a `FlowPolicy` with its own time t, 1 at noise and 0 at actions
    (x_t = t noise + (1 - t) actions, velocity noise - actions), and wrapped in this.
    """

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity from noise to actions."""
        return -super().velocity(actions, 1 - flow_time, encoding)
