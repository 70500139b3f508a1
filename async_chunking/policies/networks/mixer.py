# SPDX-License-Identifier: Apache-2.0
"""
A small flow network for low-dimensional observations: an MLP mixer with a flow time per row.

Each row of the chunk is a token: its noisy action beside the whole observation. Blocks mix first
over the rows, then over the channels; both are scaled, shifted and gated by the row's flow time,
from zero (adaLN-zero, Peebles & Xie 2023). The shape is that of the benchmark of Black et al. 2025
(RTC); widths are free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from async_chunking.policies.networks.architecture import Architecture


@dataclass(frozen=True)
class MixerArchitecture(Architecture):
    """
    What is needed to build the network.

    Attributes:
        width: Channels of a token.
        token_width: Hidden units that mix over the rows.
        channel_width: Hidden units that mix over the channels.
        blocks: How often both are done.
    """

    width: int = 128
    token_width: int = 64
    channel_width: int = 256
    blocks: int = 4

    def build(self) -> nn.Module:
        """Return a network with fresh weights from torch's global generator."""
        return Mixer(self)


class Mixer(nn.Module):
    """The network; see the module."""

    def __init__(self, architecture: MixerArchitecture) -> None:
        super().__init__()
        a = architecture
        inputs = a.action_dim + a.observed
        self.time = TimeEmbedding(a.width)
        self.embed = nn.Linear(inputs, a.width)
        self.blocks = nn.ModuleList(MixerBlock(a) for _ in range(a.blocks))
        self.modulation = zeroed(nn.Linear(a.width, 2 * a.width))
        self.head = zeroed(nn.Linear(a.width, a.action_dim))

    def forward(self, actions: Tensor, flow_time: Tensor, features: Tensor) -> Tensor:
        """Return the velocity [B, H, D] for actions [B, H, D] at flow time [B] or [B, H]."""
        # Every different time is embedded once: rows mostly share theirs. Not so on CUDA, which
        # would have to be waited for, and could not be captured into a graph.
        if flow_time.ndim == 2 and not flow_time.is_cuda:
            times, which = torch.unique(flow_time, return_inverse=True)
        else:
            times = flow_time.flatten()
            which = torch.arange(len(times), device=times.device).view(len(flow_time), -1)
        time = self.time(times)
        rows = features[:, None].expand(-1, actions.shape[1], -1)
        x = self.embed(torch.cat([actions, rows], dim=-1))
        for block in self.blocks:
            x = block(x, time, which)
        scale, shift = self.modulation(time)[which].chunk(2, dim=-1)
        return self.head(modulate(x, scale, shift))


class MixerBlock(nn.Module):
    """Mix over rows, then over channels, each gated by the flow time."""

    def __init__(self, architecture: MixerArchitecture) -> None:
        super().__init__()
        a = architecture
        self.modulation = zeroed(nn.Linear(a.width, 6 * a.width))
        self.over_rows = mlp(a.horizon, a.token_width)
        self.over_channels = mlp(a.width, a.channel_width)

    def forward(self, x: Tensor, time: Tensor, which: Tensor) -> Tensor:
        """Return x [B, H, width], changed; its rows have the times [U, width] at `which`."""
        parts = self.modulation(time)[which].chunk(6, dim=-1)
        scale_r, shift_r, gate_r, scale_c, shift_c, gate_c = parts
        rows = modulate(x, scale_r, shift_r).transpose(1, 2)
        x = x + gate_r * self.over_rows(rows).transpose(1, 2)
        return x + gate_c * self.over_channels(modulate(x, scale_c, shift_c))


class TimeEmbedding(nn.Module):
    """Flow time [...] to [..., width]: sines and cosines of periods 4e-3 to 4, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        periods = torch.logspace(math.log10(4e-3), math.log10(4.0), width // 2)
        self.frequencies: Tensor
        self.register_buffer('frequencies', 2.0 * math.pi / periods, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, flow_time: Tensor) -> Tensor:
        """Embed."""
        angles = flow_time[..., None] * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], dim=-1))


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise each token of x [B, R, C], then scale and shift it."""
    return functional.layer_norm(x, x.shape[-1:]) * (1.0 + scale) + shift


def mlp(width: int, hidden: int) -> nn.Sequential:
    """Two layers without biases, as in the benchmark's network."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, width, bias=False)
    )


def zeroed(layer: nn.Linear) -> nn.Linear:
    """Start a layer at zero, so that a block begins as the identity and the velocity as 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
