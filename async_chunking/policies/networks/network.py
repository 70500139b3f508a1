# SPDX-License-Identifier: Apache-2.0
"""A flow policy around a network: named observations in, velocity out, normalisation inside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import FlowPolicy, Observation
from async_chunking.policies.checkpoint.sidecar import Normalization
from async_chunking.policies.networks.architecture import Architecture
from async_chunking.policies.networks.normalizer import Normalizer


class ObservationError(AsyncChunkingError):
    """An observation lacks a feature that the policy reads, or has it in another size."""


class NetworkPolicy(FlowPolicy):
    """
    A network velocity(actions [B, H, D], flow_time [B] or [B, H], features [B, O]).

    Args:
        architecture: Sizes; features are concatenated in the order of its `observation`.
        network: Built from it.
        statistics: Statistics of the normalisation.
        num_steps: Solver steps that it is meant to be sampled with.
    """

    offers = frozenset({'velocity', 'gradients', 'per_token_time'})

    def __init__(
        self,
        architecture: Architecture,
        network: nn.Module,
        statistics: Normalization,
        num_steps: int = 5,
    ) -> None:
        self.architecture = architecture
        self.horizon = architecture.horizon
        self.action_dim = architecture.action_dim
        self.num_steps = num_steps
        self.network = network
        self.normalizer = Normalizer(statistics, next(network.parameters()).device)

    def encode(self, observation: Observation) -> Tensor:
        """Return the normalised features [B, O]."""
        return self.features(observation)

    def features(self, observation: Observation) -> Tensor:
        """
        Concatenate what the network reads of an observation, normalised, to [B, O].

        Raises:
            ObservationError: A feature is missing or has another size.
        """
        for name, size in self.architecture.observation:
            if name not in observation:
                msg = f"the policy reads '{name}', the observation has {', '.join(observation)}"
                raise ObservationError(msg)
            if (shape := tuple(observation[name].shape))[1:] != (size,):
                msg = f"'{name}' must be [batch, {size}] for this policy, got {list(shape)}"
                raise ObservationError(msg)
        names = (name for name, _ in self.architecture.observation)
        parts = [self.normalizer.feature(name, observation[name]) for name in names]
        return torch.cat(parts, dim=-1)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        """Return the velocity [B, H, D]; see `FlowPolicy.velocity`."""
        return self.network(actions, flow_time, encoding)

    def networks(self) -> tuple[nn.Module, ...]:
        """Return the network."""
        return (self.network,)

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] [rad, m] as the network's, in single precision."""
        return self.normalizer.normalize(actions, observation)

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return the network's actions [B, R, D] in robot units [rad, m]."""
        return self.normalizer.denormalize(actions, observation)
