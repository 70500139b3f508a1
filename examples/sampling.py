# SPDX-License-Identifier: Apache-2.0
"""Samplers on your own flow policy, without ROS 2 or a simulator: who keeps the executed rows?

Run it: `python examples/sampling.py`. A policy is two functions; a strategy draws from it.
"""

import torch

from async_chunking.chunk import Boundary
from async_chunking.policies.base import FlowPolicy
from async_chunking.samplers.base import sample_chunk
from async_chunking.strategies import resolve

DELAY, EXECUTION_HORIZON = 3, 4


class TwoWays(FlowPolicy):
    """Flows to +1 or -1, whichever the noise is nearer to: a policy that changes its mind."""

    horizon, action_dim, num_steps = 8, 1, 5
    offers = frozenset({'velocity', 'gradients'})

    def encode(self, observation):
        """Return what the velocity needs of an observation; here nothing."""
        return observation['observation.state']

    def velocity(self, actions, flow_time, encoding):
        """Return the velocity [B, H, D] at flow time [B], from noise at 0 to actions at 1."""
        left = (1 - flow_time.reshape(len(actions), -1, 1)).clamp(min=0.1)
        return (torch.tanh(4 * actions.mean(1, keepdim=True)) - actions) / left


policy = TwoWays()
observation = {'observation.state': torch.zeros(64, 1)}
previous = torch.ones(64, 8, 1)  # The old plan goes the way of +1.
boundary = Boundary(previous, DELAY, EXECUTION_HORIZON)
for name in ('naive', 'rtc', 'paint', 'bid'):
    sampler = resolve(name).load_sampler()
    generator = torch.Generator().manual_seed(0)
    drawn = sample_chunk(policy, sampler, observation, boundary, generator, None)
    executed = (drawn.actions[:, :DELAY] - previous[:, :DELAY]).abs().mean()
    print(f'{name:>6}: CON {executed:.3f}')
