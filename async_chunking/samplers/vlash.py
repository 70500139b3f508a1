# SPDX-License-Identifier: Apache-2.0
"""VLASH: ask the policy from the state in which the robot will be when the chunk takes over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from async_chunking.chunk import Boundary
from async_chunking.errors import StrategyError
from async_chunking.policies.base import Observation
from async_chunking.policies.source import SEEN_STATE
from async_chunking.samplers.base import Context, Count, Draw, Sampler, integrate


@dataclass(frozen=True)
class Vlash(Sampler):
    """
    Future-state-aware asynchronous inference (arXiv 2512.01031).

    The state in the observation is rolled forward by the committed rows; the measured one stays
    beside it, as `observation.seen_state`, for a policy that reads it: what else was seen may be
    relative to it, and the paper's pictures show it. The chunk drawn begins where the rows end,
    so the answer has committed + horizon rows, the first of which are the old plan's. A delay
    beyond the plan is cut to it; with nothing committed it is `plain`.

    Calls: n. Needs: recipe:vlash. Guarantees: the committed rows are the old plan's, exactly; what
    follows continues from them as well as the policy continues from a state.

    Attributes:
        mode: 'absolute': an action is the state it leads to, so the last committed row is the
            state. 'delta': it is a change of state, so their sum is added.
        quantization: q; the chunk is run through q times as fast. Absolute rows: every q-th;
            delta rows: sums of q. A rest of less than q rows is left out.
        state_key: Name of the state [B, action_dim] in the observation.
    """

    mode: Literal['absolute', 'delta'] = 'absolute'
    quantization: Count = 1
    state_key: str = 'observation.state'

    def condition(self, observation: Observation, boundary: Boundary) -> Observation:
        """
        Return the observation with the state rolled forward, and the measured one beside it.

        Raises:
            StrategyError: The state is missing or has not one value for each action dimension.
        """
        executed = boundary.previous[:, : boundary.committed]
        state = seen = observation.get(self.state_key)
        if boundary.committed == 0:
            return observation if seen is None else {**observation, SEEN_STATE: seen}
        if state is None or state.shape != executed[:, 0].shape:
            state_seen = 'missing' if state is None else f'of shape {list(state.shape)}'
            msg = f"vlash needs '{self.state_key}' {list(executed[:, 0].shape)} in the observation"
            raise StrategyError(f'{msg}; it is {state_seen}')
        if self.mode == 'absolute':
            state = executed[:, -1].to(state)
        else:
            state = state + executed.sum(1).to(state)
        return {**observation, self.state_key: state, SEEN_STATE: seen}

    def draw(self, context: Context) -> Draw:
        """Integrate from the noise; see `Sampler.draw`."""
        return Draw(integrate(context.velocity, context.noise, self.steps(context.policy)))

    def finish(self, actions: Tensor, boundary: Boundary) -> Tensor:
        """Return the committed rows and then the chunk, quantised; all in robot units."""
        q = self.quantization
        if q > 1:
            whole = actions[:, : actions.shape[1] // q * q].unflatten(1, (-1, q))
            actions = whole[:, :, -1] if self.mode == 'absolute' else whole.sum(2)
        committed = boundary.previous[:, : boundary.committed].to(actions)
        return torch.cat((committed, actions), 1)
