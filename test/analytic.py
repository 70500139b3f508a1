# SPDX-License-Identifier: Apache-2.0
"""Flow policies whose answers are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from async_chunking.policies.base import Encoding, FlowPolicy, Observation
from async_chunking.strategies import RECIPES


class Analytic(FlowPolicy):
    """
    Base: the observation's only part is 'observation.state' [B, D], which shifts nothing unless
    the subclass reads the encoding.
    """

    offers = frozenset(
        {
            'velocity',
            'gradients',
            'per_token_time',
            'weak_policy',
            *RECIPES,
        }
    )

    def __init__(self, horizon: int = 8, action_dim: int = 2, num_steps: int = 5) -> None:
        self.horizon = horizon
        self.action_dim = action_dim
        self.num_steps = num_steps

    def encode(self, observation: Observation) -> Encoding:
        return {'state': observation['observation.state']}

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        time = flow_time.reshape(*flow_time.shape, *[1] * (3 - flow_time.ndim))
        return self.flow(actions, time, encoding['state'][:, None])

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        """Return the velocity [B, H, D] at times [B, 1 or H, 1] and states [B, 1, D]."""
        raise NotImplementedError


class ConstantPolicy(Analytic):
    """v = 0.3 + state, a view that must not be written to."""

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        return (state + 0.3 + 0 * x[:, :1]).expand_as(x)


class Linear(Analytic):
    """v = rate x, mixing no rows."""

    def __init__(self, rate: float, **sizes: int) -> None:
        super().__init__(**sizes)
        self.rate = rate

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        return self.rate * x


class RowWise(Analytic):
    """Nonlinear, each row on its own."""

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        row = torch.arange(self.horizon, dtype=x.dtype)[:, None]
        return torch.sin(2 * x + row + state) * (1 + time) + 0.5 * torch.cos(x.flip(-1))


class Gaussian(Analytic):
    """
    The exact flow from white noise to a Gaussian over whole chunks, mean `0.5 + state`.

    Rows are correlated: the covariance of rows i and j is scale^2 exp(-((i - j) / width)^2 / 2),
    plus `jitter` on the diagonal. The flow map is `mean + covariance^(1/2) noise`.
    """

    def __init__(
        self, width: float = 1.5, scale: float = 0.5, jitter: float = 0.02, **sizes: int
    ) -> None:
        super().__init__(**sizes)
        row = torch.arange(self.horizon, dtype=torch.float64)
        covariance = scale**2 * torch.exp(-(((row[:, None] - row) / width) ** 2) / 2)
        covariance += jitter * torch.eye(self.horizon, dtype=torch.float64)
        self.variances, self.basis = torch.linalg.eigh(covariance)

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        mean, basis = 0.5 + state, self.basis.to(x)
        variance = self.variances.to(x)[:, None]
        gain = (time * variance - (1 - time)) / ((1 - time) ** 2 + time**2 * variance)
        return mean + basis @ (gain * (basis.T @ (x - time * mean)))

    def flow_map(self, noise: Tensor, state: Tensor) -> Tensor:
        """Return the chunk that the exact flow makes of noise [B, H, D] at state [B, D]."""
        root = (self.basis * self.variances.sqrt()) @ self.basis.T
        return 0.5 + state[:, None] + root.to(noise) @ noise

    def noise_of(self, actions: Tensor, state: Tensor) -> Tensor:
        """Return the inverse of `flow_map`."""
        root = (self.basis / self.variances.sqrt()) @ self.basis.T
        return root.to(actions) @ (actions - 0.5 - state[:, None])


class Modes(Analytic):
    """
    The exact flow to a mixture of narrow Gaussians around whole chunks: ramps of three slopes.

    Chunks around different modes disagree in every row, as two ways around an obstacle do.
    """

    def __init__(self, scale: float = 0.1, **sizes: int) -> None:
        super().__init__(**sizes)
        row = torch.arange(1, self.horizon + 1, dtype=torch.float64)[:, None] / self.horizon
        slopes = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None, None]
        self.centres = (slopes * row).expand(3, self.horizon, self.action_dim)
        self.scale = scale

    def flow(self, x: Tensor, time: Tensor, state: Tensor) -> Tensor:
        time = time.mean(1, keepdim=True)[:, None]  # [B, 1, 1, 1]; modes are of whole chunks
        centre = self.centres.to(x) + state[:, None]  # [B, 3, H, D]
        variance = (1 - time) ** 2 + (time * self.scale) ** 2
        offset = x[:, None] - time * centre
        logit = -(offset**2).sum((2, 3), keepdim=True) / (2 * variance)
        gain = (time * self.scale**2 - (1 - time)) / variance
        return (logit.softmax(1) * (centre + gain * offset)).sum(1)
