# SPDX-License-Identifier: Apache-2.0
"""
An ACT-style policy: a conditional variational autoencoder of transformers (Zhao et al. 2023).

While it is trained, an encoder looks at the demonstrated chunk and says in a few numbers how it
was done; the decoder gives the chunk back from these and the observation. Afterwards the numbers
are 0, the mean of their prior, so a chunk takes one pass and no noise. Strategies that steer a
flow do not apply, those that only join chunks do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from async_chunking.policies.base import Observation
from async_chunking.policies.networks.architecture import Architecture
from async_chunking.policies.networks.network import NetworkPolicy


@dataclass(frozen=True)
class ActArchitecture(Architecture):
    """
    What is needed to build the network.

    Attributes:
        width: Channels of a token.
        encoder_layers: Layers of the encoder of a chunk, and of that of the observation.
        decoder_layers: Layers of the decoder.
        heads: Heads of the attention; divides `width`.
        latent: Numbers that say how a chunk is done.
    """

    width: int = 96
    encoder_layers: int = 2
    decoder_layers: int = 2
    heads: int = 4
    latent: int = 8

    def build(self) -> nn.Module:
        """Return a network with fresh weights from torch's global generator."""
        return ActNetwork(self)


class ActNetwork(nn.Module):
    """The networks; without dropout, so that a resumed run is the same as one without a break."""

    def __init__(self, architecture: ActArchitecture) -> None:
        super().__init__()
        a = architecture
        observed = a.observed
        self.latent = a.latent
        self.scale = _places(observed, a.width)
        self.place = _places(observed, a.width)
        self.row_place = _places(a.horizon, a.width)
        self.first = _places(1, a.width)
        self.rows = nn.Linear(a.action_dim, a.width)
        self.style = _encoder(a)
        self.to_latent = nn.Linear(a.width, 2 * a.latent)
        self.from_latent = nn.Linear(a.latent, a.width)
        self.encoder = _encoder(a)
        layer = nn.TransformerDecoderLayer(a.width, a.heads, 4 * a.width, 0.0, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, a.decoder_layers)
        self.head = nn.Linear(a.width, a.action_dim)

    def forward(
        self, seen: Tensor, actions: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Give a chunk back.

        Args:
            seen: [B, O] features.
            actions: [B, H, D] demonstrated, normalised.
            noise: [B, latent] standard normal.

        Returns:
            The chunk [B, H, D], and mean and log variance [B, latent] of how it is done.
        """
        tokens = torch.cat([self._observed(seen), self.rows(actions) + self.row_place], dim=1)
        first = self.first.expand(len(seen), -1, -1)
        style = self.style(torch.cat([first, tokens], dim=1))[:, 0]
        mean, log_variance = self.to_latent(style).chunk(2, dim=-1)
        latent = mean + noise * (0.5 * log_variance).exp()
        return self.decode(seen, latent), mean, log_variance

    def decode(self, seen: Tensor, latent: Tensor) -> Tensor:
        """Return the chunk [B, H, D] for features [B, O] and latent numbers [B, latent]."""
        tokens = [self.from_latent(latent)[:, None], self._observed(seen)]
        memory = self.encoder(torch.cat(tokens, dim=1))
        return self.head(self.decoder(self.row_place.expand(len(seen), -1, -1), memory))

    def _observed(self, seen: Tensor) -> Tensor:
        return seen[..., None] * self.scale + self.place


class ActPolicy(NetworkPolicy):
    """
    Answers with the chunk of the prior's mean.

    As a flow it leads straight from any noise to that chunk, which is the encoding of a request;
    so it can be sampled like any other, and offers nothing that a strategy could steer.
    """

    offers = frozenset()
    network: ActNetwork

    def encode(self, observation: Observation) -> Tensor:
        """Return the chunk [B, H, D] that will be the answer, normalised."""
        seen = self.features(observation)
        return self.network.decode(seen, seen.new_zeros(len(seen), self.network.latent))

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Tensor) -> Tensor:
        """Return the velocity [B, H, D] that arrives at the chunk at flow time 1."""
        return (encoding - actions) / (1.0 - flow_time.reshape(len(flow_time), -1, 1))


def _places(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(count, width) / math.sqrt(width))


def _encoder(architecture: ActArchitecture) -> nn.Module:
    a = architecture
    layer = nn.TransformerEncoderLayer(a.width, a.heads, 4 * a.width, 0.0, batch_first=True)
    return nn.TransformerEncoder(layer, a.encoder_layers, enable_nested_tensor=False)
