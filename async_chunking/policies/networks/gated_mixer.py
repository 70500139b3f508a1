# SPDX-License-Identifier: Apache-2.0
"""
The mixer with low-rank adapters that are told which rows are executed meanwhile (REMAC).

An adapter on a layer that sees rows one by one adds to the rows from the delay on and to no other;
it sees them with a learned offset that marks them. Adapters on the layers that mix over rows add
to all. So the network of REMAC's code (hatchetProject/REMAC) has it, arXiv 2601.20130.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from async_chunking.policies.networks.mixer import Mixer, MixerArchitecture


@dataclass(frozen=True)
class GatedMixerArchitecture(MixerArchitecture):
    """
    What is needed to build the network; its last feature is the number of committed rows.

    Attributes:
        rank: Numbers between the two layers of an adapter.
        alpha: An adapter's output is scaled by alpha / rank.
    """

    rank: int = 4
    alpha: float = 8.0

    def build(self) -> nn.Module:
        """Return a network with fresh weights from torch's global generator."""
        return GatedMixer(self)


class RowGate:
    """
    What the adapters of one network are told during a call.

    Attributes:
        rows: [B, H, 1]; 1 on rows from the delay on, 0 before.
    """

    rows: Tensor


class GatedMixer(Mixer):
    """The network; see the module. Begins as the mixer that its layers are taken from."""

    def __init__(self, architecture: GatedMixerArchitecture) -> None:
        a = architecture
        super().__init__(
            MixerArchitecture(
                a.horizon, a.action_dim, a.observation[:-1], a.width, a.token_width,
                a.channel_width, a.blocks,
            )
        )  # fmt: skip
        self._gate = RowGate()
        self._horizon = a.horizon
        scale = a.alpha / a.rank
        for name, layer in list(self.named_modules()):
            if isinstance(layer, nn.Linear) and 'time' not in name and 'modulation' not in name:
                gate = None if 'over_rows' in name else self._gate
                self.set_submodule(name, Adapted(layer, a.rank, scale, gate))

    def forward(self, actions: Tensor, flow_time: Tensor, features: Tensor) -> Tensor:
        """Return the velocity; `features` [B, O + 1] end with the committed rows."""
        row = torch.arange(self._horizon, device=features.device)
        self._gate.rows = (row >= features[:, -1:]).to(actions.dtype)[..., None]
        return super().forward(actions, flow_time, features[:, :-1])

    def adapters(self) -> list[nn.Parameter]:
        """Return the weights of the adapters, the only ones that are trained."""
        return [p for n, p in self.named_parameters() if '.base.' not in n and _adapts(n)]


class Adapted(nn.Module):
    """
    A linear layer with an adapter, which begins as nothing.

    Args:
        base: The layer.
        rank: See `GatedMixerArchitecture`.
        scale: Factor of the adapter's output.
        gate: Tells the rows; None where the layer mixes over them.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, gate: RowGate | None) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)
        self.mark = None if gate is None else nn.Linear(1, base.in_features)
        self._scale, self._gate = scale, gate

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output and the adapter's."""
        if self.mark is None or self._gate is None:
            return self.base(x) + self._scale * self.up(self.down(x))
        rows = self._gate.rows
        added = self._scale * self.up(self.down(x + self.mark(rows)))
        return self.base(x) + rows * added


def base_weights(weights: dict[str, Tensor], network: GatedMixer) -> dict[str, Tensor]:
    """Return a mixer's weights under the names that they have in `network`."""
    expected = network.state_dict()
    renamed = {}
    for name, value in weights.items():
        layer, _, kind = name.rpartition('.')
        wrapped = f'{layer}.base.{kind}'
        renamed[wrapped if wrapped in expected else name] = value
    return renamed


def _adapts(name: str) -> bool:
    return any(part in name.split('.') for part in ('down', 'up', 'mark'))
