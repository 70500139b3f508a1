# SPDX-License-Identifier: Apache-2.0
"""
A policy that was found and may not be loaded yet: what every kind of policy is to the nodes.

Never imports torch. Opening should cost no more than it takes to tell `horizon`, `action_dim` and
`offers` (reading a JSON file); `policy_for` loads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from async_chunking.policies.options import PolicyOptions
from async_chunking.strategies import Strategy

if TYPE_CHECKING:
    import torch

    from async_chunking.policies.base import ChunkPolicy, FlowPolicy
    from async_chunking.robot.embodiment import Embodiment

SEEN_STATE, COMMITTED = 'observation.seen_state', 'observation.committed'
BY_SAMPLER = frozenset({SEEN_STATE, COMMITTED})
"""
What a sampler adds to what a robot observes: where the robot was when the rest was observed, for a
policy that plans from a later state; and how many rows of the old plan will be executed.
"""


@dataclass(frozen=True)
class PolicySpec:
    """
    Which policy, and for whom.

    Attributes:
        robot: Whose streams are observed and whose joints are driven.
        options: What was asked for. `policy_path` is the folder of correctors for kinds that need
            no checkpoint.
        give_up: Asked while waiting; true ends the wait.
    """

    robot: Embodiment
    options: PolicyOptions = field(default_factory=PolicyOptions)
    give_up: Callable[[], bool] = field(default=lambda: False, compare=False)


class PolicySource(ABC):
    """
    A policy of any kind.

    Attributes:
        title: What it is, begins messages about it: a folder, an address, an entry.
        horizon: Rows of a chunk [steps].
        action_dim: Columns of a chunk.
        offers: What strategies may rely on, names of `strategies.NEEDS`.
        expects: Observations that it reads, by name -> shape without batch. Images are
            (height, width, 3), text is (). Empty if it does not say.
        joint_names: [D] in the order of the columns; empty if it does not say.
        policy_rate_hz: Rows of a chunk per second; 0 if it does not say.
        delays: Name of `strategies.NEEDS` -> smallest and largest delay that its training knew
            [steps].
        observation_steps: How much it reads of the past, the present counted, one policy step
            apart. If more than 1, numbers and images arrive as [n, ...], the oldest first.
        anchored: Whether its actions are counted from `observation.state`.
        resizing: How its training scaled pictures, see `cameras.resizing`.
    """

    observation_steps: int = 1
    resizing: str = 'openpi'
    anchored: bool = False
    joint_names: tuple[str, ...] = ()
    policy_rate_hz: float = 0.0
    delays: Mapping[str, tuple[int, int]] = MappingProxyType({})
    title: str
    horizon: int
    action_dim: int
    offers: frozenset[str]
    expects: Mapping[str, tuple[int, ...]]

    def recipe_for(self, strategy: Strategy) -> str:
        """
        Return what a strategy runs on, where there is more than one thing to run on.

        Raises:
            AsyncChunkingError: The strategy needs what is not there.
        """
        del strategy  # Unused.
        return ''

    @abstractmethod
    def policy_for(
        self, strategy: Strategy, device: torch.device | str = 'cpu'
    ) -> FlowPolicy | ChunkPolicy:
        """Load the policy that a strategy runs on; imports torch."""

    def weak_policy(self, device: torch.device | str = 'cpu') -> FlowPolicy:
        """Load the weaker policy that BID compares with; only where 'weak_policy' is offered."""
        raise NotImplementedError

    def digest(self, strategy: Strategy) -> str:
        """Return the hash of the weights that a strategy runs on; empty if it is unknown."""
        del strategy  # Unused.
        return ''

    def counters(self) -> Mapping[str, int]:
        """Return what to show in diagnostics, by name."""
        return {}

    def close(self) -> None:
        """Give back connections; by default there are none."""
        return
