# SPDX-License-Identifier: Apache-2.0
"""
A flow transformer whose chunks can share one observation while it is trained.

Tokens: one per observed number, except for the joint state, which is one token; one per row of the
chunk. The observation's tokens see each other; a branch (state and rows) sees them and itself::

               observation   branch 1   branch 2
    observation     x
    branch 1        x            x
    branch 2        x                       x

So several branches over one observation cost its tokens once (VLASH, arXiv 2512.01031). The mask
is never built: each branch attends to the shared keys and to its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from async_chunking.policies.networks.architecture import Architecture
from async_chunking.policies.networks.mixer import TimeEmbedding, mlp, modulate, zeroed
from async_chunking.policies.networks.normalizer import STATE


@dataclass(frozen=True)
class TransformerArchitecture(Architecture):
    """
    What is needed to build the network.

    Attributes:
        width: Channels of a token.
        blocks: Attention and MLP, so many times.
        heads: Heads of the attention; divides `width`.
    """

    width: int = 96
    blocks: int = 3
    heads: int = 4

    def build(self) -> nn.Module:
        """Return a network with fresh weights from torch's global generator."""
        return Transformer(self)


class Transformer(nn.Module):
    """The network; see the module."""

    def __init__(self, architecture: TransformerArchitecture) -> None:
        super().__init__()
        a = architecture
        is_state = torch.tensor(
            [name == STATE for name, size in a.observation for _ in range(size)]
        )
        self.is_state: Tensor
        self.register_buffer('is_state', is_state, persistent=False)
        shared, state = int((~is_state).sum()), int(is_state.sum())
        self.scale = nn.Parameter(torch.randn(shared, a.width) / math.sqrt(a.width))
        self.place = nn.Parameter(torch.randn(shared, a.width) / math.sqrt(a.width))
        self.state = nn.Linear(state, a.width)
        self.rows = nn.Linear(a.action_dim, a.width)
        self.row_place = nn.Parameter(torch.randn(a.horizon, a.width) / math.sqrt(a.width))
        self.time = TimeEmbedding(a.width)
        self.blocks = nn.ModuleList(TransformerBlock(a) for _ in range(a.blocks))
        self.modulation = zeroed(nn.Linear(a.width, 2 * a.width))
        self.head = zeroed(nn.Linear(a.width, a.action_dim))

    def forward(self, actions: Tensor, flow_time: Tensor, features: Tensor) -> Tensor:
        """
        Return the velocity, of the actions' shape.

        Args:
            actions: [B, H, D], or [B, K, H, D] for K branches over one observation.
            flow_time: [B] or [B, H]; [B, K] with branches.
            features: [B, O]; [B, K, O] with branches, which differ in the state alone.
        """
        if actions.ndim == 3:
            time = flow_time.reshape(len(flow_time), 1, -1)
            return self._branches(actions[:, None], time, features[:, None])[:, 0]
        return self._branches(actions, flow_time[..., None], features)

    def _branches(self, actions: Tensor, flow_time: Tensor, features: Tensor) -> Tensor:
        observed = features[:, 0, ~self.is_state, None] * self.scale + self.place
        state = self.state(features[..., self.is_state])[:, :, None]
        x = torch.cat([state, self.rows(actions) + self.row_place], dim=2)
        time = self.time(flow_time)
        if time.shape[2] > 1:  # A time per row: the state's token is no noise, so it is at 1.
            time = torch.cat([self.time(torch.ones_like(flow_time[..., :1])), time], dim=2)
        for block in self.blocks:
            observed, x = block(observed, x, time)
        scale, shift = self.modulation(time).chunk(2, dim=-1)
        return self.head(modulate(x, scale, shift)[:, :, 1:])


class TransformerBlock(nn.Module):
    """One set of weights for both kinds of tokens; only a branch's see its flow time."""

    def __init__(self, architecture: TransformerArchitecture) -> None:
        super().__init__()
        a = architecture
        self.heads = a.heads
        self.modulation = zeroed(nn.Linear(a.width, 6 * a.width))
        self.attend = nn.Linear(a.width, 3 * a.width)
        self.join = nn.Linear(a.width, a.width)
        self.mlp = mlp(a.width, 2 * a.width)

    def forward(self, observed: Tensor, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """Return observed [B, O, C] and branches x [B, K, T, C], changed."""
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = self.modulation(time).chunk(6, -1)
        shared = self._heads(functional.layer_norm(observed, observed.shape[-1:]))
        own = self._heads(modulate(x, scale_a, shift_a))
        x = x + gate_a * self._merge(attend_to_both(*own, *shared[1:]))
        x = x + gate_m * self.mlp(modulate(x, scale_m, shift_m))
        seen = functional.scaled_dot_product_attention(*shared)
        observed = observed + self._merge(seen)
        rest = functional.layer_norm(observed, observed.shape[-1:])
        return observed + self.mlp(rest), x

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key, value [..., heads, tokens, channels of a head]."""
        parts = self.attend(x).unflatten(-1, (3, self.heads, -1))
        return tuple(part.transpose(-3, -2) for part in parts.unbind(-3))

    def _merge(self, x: Tensor) -> Tensor:
        return self.join(x.transpose(-3, -2).flatten(-2))


def attend_to_both(
    query: Tensor, key: Tensor, value: Tensor, shared_key: Tensor, shared_value: Tensor
) -> Tensor:
    """
    Let each branch attend to what is shared and to itself.

    Args:
        query: [B, K, heads, T, C] of the branches.
        key: Like the query.
        value: Like the query.
        shared_key: [B, heads, O, C].
        shared_value: Like the shared key.
    """
    branches = (-1, key.shape[1], -1, -1, -1)
    key = torch.cat([shared_key[:, None].expand(branches), key], dim=-2)
    value = torch.cat([shared_value[:, None].expand(branches), value], dim=-2)
    return functional.scaled_dot_product_attention(query, key, value)
