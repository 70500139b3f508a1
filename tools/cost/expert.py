# SPDX-License-Identifier: Apache-2.0
"""
A flow policy of the size of a vision-language-action model's action expert, with random weights.

For measuring cost only. Shape of pi0's expert (Gemma of 300 M parameters): the rows of the chunk
attend to each other and to keys and values that the large model left in a cache, one per layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from async_chunking.policies.base import Encoding, FlowPolicy, Observation


@dataclass(frozen=True)
class ExpertShape:
    """
    Sizes.

    Attributes:
        horizon: Rows of a chunk [steps].
        action_dim: Columns.
        context: Tokens in the cache: images, text and state.
        width: Width of a token.
        layers: Number of blocks.
        heads: Query heads; there is one head of keys and values.
        head_dim: Width of each head.
        hidden: Width of the gated MLP.
    """

    horizon: int = 50
    action_dim: int = 32
    context: int = 800
    width: int = 1024
    layers: int = 18
    heads: int = 8
    head_dim: int = 256
    hidden: int = 4096


class ActionExpert(FlowPolicy):
    """
    The policy; its observation is a cached context made from 'seed' [B].

    Args:
        shape: Sizes.
        num_steps: Solver steps.
        device: Where it runs.
        dtype: Type of weights and activations; actions go in and come out in their own type.
        seed: Seed of the weights.
    """

    offers = frozenset({'velocity', 'gradients', 'per_token_time'})

    def __init__(
        self,
        shape: ExpertShape,
        num_steps: int = 10,
        device: torch.device | str = 'cpu',
        dtype: torch.dtype = torch.bfloat16,
        seed: int = 0,
    ) -> None:
        self.shape = shape
        self.horizon = shape.horizon
        self.action_dim = shape.action_dim
        self.num_steps = num_steps
        self.dtype = dtype
        with torch.random.fork_rng(devices=[]), torch.device('cpu'):
            torch.manual_seed(seed)
            self.network = ExpertNetwork(shape)
        self.network.to(device, dtype).eval().requires_grad_(False)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.network.parameters())

    def encode(self, observation: Observation) -> Encoding:
        """Return random keys and values [B, 2, layers, 1, context, head_dim]."""
        s, batch = self.shape, len(observation['seed'])
        size = (batch, 2, s.layers, 1, s.context, s.head_dim)
        generator = torch.Generator().manual_seed(int(observation['seed'][0]))
        cache = torch.randn(size, generator=generator)
        return cache.to(next(self.network.parameters()))

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity [B, H, D]."""
        if flow_time.ndim == 1:
            flow_time = flow_time[:, None]
        made = self.network(actions.to(self.dtype), flow_time.to(self.dtype), encoding)
        return made.to(actions.dtype)


class ExpertNetwork(nn.Module):
    """Tokens from actions and time, blocks, actions from tokens."""

    frequencies: Tensor

    def __init__(self, shape: ExpertShape) -> None:
        super().__init__()
        self.embed = nn.Linear(shape.action_dim, shape.width)
        self.merge = nn.Sequential(
            nn.Linear(2 * shape.width, shape.width), nn.SiLU(), nn.Linear(shape.width, shape.width)
        )
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.action_dim)
        periods = torch.logspace(math.log10(4e-3), math.log10(4.0), shape.width // 2)
        self.register_buffer('frequencies', 2 * math.pi / periods)

    def forward(self, actions: Tensor, flow_time: Tensor, cache: Tensor) -> Tensor:
        """Return the velocity for actions [B, H, D] at times [B, 1 or H]."""
        angle = flow_time[..., None] * self.frequencies
        time = torch.cat((angle.sin(), angle.cos()), -1).expand(*actions.shape[:2], -1)
        x = self.merge(torch.cat((self.embed(actions), time), -1))
        for layer, block in enumerate(self.blocks):
            x = block(x, cache[:, 0, layer], cache[:, 1, layer])
        return self.head(self.norm(x))


class Block(nn.Module):
    """Attention over cache and chunk, then a gated MLP."""

    def __init__(self, shape: ExpertShape) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        inner = shape.heads * shape.head_dim
        self.before_attention = nn.RMSNorm(shape.width)
        self.project = nn.Linear(shape.width, inner + 2 * shape.head_dim, bias=False)
        self.merge = nn.Linear(inner, shape.width, bias=False)
        self.before_mlp = nn.RMSNorm(shape.width)
        self.widen = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.narrow = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return x [B, H, width], changed; keys and values are [B, 1, context, head_dim]."""
        own = self.project(self.before_attention(x)).unflatten(-1, (-1, self.head_dim))
        own = own.transpose(1, 2)  # [B, heads + 2, H, head_dim]
        query, key, value = own.split((self.heads, 1, 1), 1)
        attended = functional.scaled_dot_product_attention(
            query, torch.cat((keys, key), 2), torch.cat((values, value), 2), enable_gqa=True
        )
        x = x + self.merge(attended.transpose(1, 2).flatten(2))
        gate, up = self.widen(self.before_mlp(x)).chunk(2, -1)
        return x + self.narrow(functional.gelu(gate, approximate='tanh') * up)
