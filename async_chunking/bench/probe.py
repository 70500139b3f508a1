# SPDX-License-Identifier: Apache-2.0
"""
Where noise acts: how much each row of noise moves each row of actions.

PAINT chooses the noise of the first rows so that the first actions come out as planned. That can
work only as far as these actions come from that noise. So one row of noise at a time is drawn
anew, and the change of every action row is measured::

              noise row 0   1   2   3
    action  0        .9  .2  .1  .0
    row     1        .3  .8  .2  .1     influence [i, j]: RMS change of action row i,
            2        .1  .2  .8  .2     when noise row j is another
            3        .0  .1  .3  .9
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from async_chunking.policies.base import Encoding, FlowPolicy, Observation
from async_chunking.samplers.base import field, integrate, normal


@dataclass(frozen=True)
class Influence:
    """
    The measured matrix.

    Attributes:
        matrix: [H, H] in units of the network's actions; rows are action rows.
    """

    matrix: np.ndarray

    def within(self, rows: int) -> float:
        """Return the part of what moves an action row that comes from at most so far away.

        Parts are of the squared influence, averaged over the action rows.
        """
        power = self.matrix**2
        index = np.arange(len(power))
        near = np.abs(index[:, None] - index) <= rows
        return float(((power * near).sum(1) / power.sum(1)).mean())

    def uniform(self, rows: int) -> float:
        """Return `within` for a policy in which every noise row moves every action row alike."""
        return Influence(np.ones_like(self.matrix)).within(rows)

    def prefix(self, rows: int) -> float:
        """Return the part of what moves the first action rows that is the same rows' noise."""
        power = self.matrix[:rows] ** 2
        return float(power[:, :rows].sum() / power.sum())


def influence(
    policy: FlowPolicy,
    observation: Observation,
    generator: torch.Generator,
    num_steps: int = 0,
    draws: int = 8,
) -> Influence:
    """
    Measure a policy.

    Args:
        policy: Any flow policy.
        observation: Batch B of observations, to average over.
        generator: Source of the noise.
        num_steps: Solver steps; 0 for the policy's own.
        draws: Noises for each observation, to average over.
    """
    num_steps = num_steps or policy.num_steps
    horizon = policy.horizon
    total = np.zeros((horizon, horizon))
    with torch.no_grad():
        encoding = policy.encode(observation)
        count = len(next(iter(observation.values())))
        for _ in range(draws):
            total += _squared_changes(policy, encoding, count, num_steps, generator)
    return Influence(np.sqrt(total / draws))


def _squared_changes(
    policy: FlowPolicy,
    encoding: Encoding,
    count: int,
    num_steps: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Return the mean square change [H, H] for one noise at each of `count` observations."""
    horizon, dim = policy.horizon, policy.action_dim
    like = torch.zeros(1, device=generator.device)
    base = normal((count, horizon, dim), generator, like)
    fresh = normal((count, horizon, dim), generator, like)
    own = torch.eye(horizon, dtype=torch.bool, device=base.device)[:, :, None]
    changed = torch.where(own, fresh[:, None], base[:, None])  # [B, j, H, D]
    noises = torch.cat((base[:, None], changed), 1).flatten(0, 1)
    velocity = field(policy, policy.repeat(encoding, horizon + 1))
    chunks = integrate(velocity, noises, num_steps).unflatten(0, (count, horizon + 1))
    change = (chunks[:, 1:] - chunks[:, :1]).square().mean((0, 3))  # [j, i]
    return change.T.double().cpu().numpy()
