# SPDX-License-Identifier: Apache-2.0
"""
The recipes on a LeRobot policy: `train remac --policy lerobot:DIR`.

Low-rank adapters on the action expert learn; the rest stays as it is. So what the large model made
of a frame is computed once, without gradients, and serves the base and the adapted pass. Losses
count the robot's columns of the rows before an episode's end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from async_chunking.dataset.reading import Demonstrations
from async_chunking.policies.base import Encoding, FlowPolicy
from async_chunking.policies.lerobot.adapters import AdaptedFlow, Adapters
from async_chunking.policies.lerobot.source import LeRobotSource
from async_chunking.policies.lerobot.trained import Trained, write_base
from async_chunking.policies.placed import Placement, place
from async_chunking.storage import sha256, write_files
from async_chunking.strategies import STRATEGIES
from async_chunking.training.flow_recipe import FlowRecipe
from async_chunking.training.pictures import Pictures, PictureWindows
from async_chunking.training.recipe import Draws, TrainConfig, TrainingError
from async_chunking.training.remac import (
    RemacFlowConfig,
    RemacPairedConfig,
    RemacPairedRecipe,
    RemacRecipe,
)
from async_chunking.training.tt_rtc import TtRtcConfig, TtRtcRecipe
from async_chunking.training.vlash import VlashConfig, VlashRecipe
from async_chunking.training.windows import Windows


class AdapterConfig(TrainConfig):
    """
    What all recipes on a LeRobot policy have in common.

    Attributes:
        rank, alpha: Size and scale of the adapters; their product is scaled by alpha / rank.
        flow_times: 'uniform', or 'beta' as LeRobot's own training draws them: more near noise.
        precision: Number format of the weights that are not trained.
        recompute: Compute the expert a second time going back, to save memory.
    """

    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0)
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0.0)
    flow_times: Literal['uniform', 'beta'] = 'uniform'
    precision: Literal['float32', 'bfloat16'] = 'float32'
    recompute: bool = False


class LeRobotRecipe(FlowRecipe):
    """What the recipes on a LeRobot policy share; stands before the recipe in its bases."""

    config: AdapterConfig
    policy: FlowPolicy

    def windows(self, data: Demonstrations, episodes: np.ndarray) -> Windows:
        """Return frames with pictures and words."""
        source = self.source
        if data.action_dim != source.action_dim:
            msg = f'{source.title} has {source.action_dim} joints, {data.source} {data.action_dim}'
            raise TrainingError(msg)
        for name, shape in source.expects.items():
            there = {n: v.shape[1] for n, v in data.observations.items()}
            if len(shape) == 1 and there.get(name) != shape[0]:
                msg = f'{source.title} reads {name} {list(shape)}, {data.source} has {there}'
                raise TrainingError(msg)
        if not hasattr(self, '_pictures'):
            self._pictures = Pictures(data, source.expects)
        return PictureWindows(data, episodes, self._pictures)

    @property
    def source(self) -> LeRobotSource:
        """The checkpoint, opened once."""
        if not hasattr(self, '_source'):
            if self.inputs.base is None:
                raise TrainingError('name the checkpoint with --policy lerobot:DIR')
            self._source = LeRobotSource(self.inputs.base)
            self._source.check()
            if 'velocity' not in self._source.offers:
                msg = f'{self._source.title} is {self._source.type}, which has no velocity; '
                raise TrainingError(msg + 'choose pi0, pi05 or smolvla')
        return self._source

    def start_from_base(self) -> None:
        """Load the checkpoint and add adapters that change nothing yet."""
        config = self.config
        flow = self.source.policy_for(STRATEGIES['naive'], self.device)
        assert isinstance(flow, FlowPolicy)
        flow = place(flow, Placement(str(self.device), config.precision))
        self.adapters = Adapters(flow.networks()[0])
        weights = self.adapters.add(self.name, config.rank, config.alpha)
        self.policy = AdaptedFlow(flow, self.adapters, '')
        adapted = AdaptedFlow(flow, self.adapters, self.name)
        self.network = AdaptedVelocity(adapted, weights, config.recompute)

    def start_beside_base(self) -> None:
        """Do the same: the base is the policy without its adapter."""
        self.start_from_base()

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw as the recipe does, with flow times as configured."""
        draws = super().draw(windows, count, progress, generator)
        if self.config.flow_times == 'beta':  # Beta(1.5, 1) of LeRobot's time, 1 at noise.
            theirs = 0.999 * draws['flow_time'] ** (1 / 1.5) + 0.001
            draws['flow_time'] = 1.0 - theirs
        return draws

    def encoded(self, observation: dict[str, Any]) -> Encoding:
        """Return what the large model makes of an observation."""
        with torch.no_grad():
            return self.policy.encode(observation)

    @property
    def width(self) -> int:
        """Columns of the network's actions."""
        return self.source.config.get('max_action_dim', 32)

    def counted(self, windows: Windows, frame: Tensor) -> Tensor:
        """Return which rows are before the end of their episodes [b, H]."""
        return windows.before_end(frame.cpu(), self.policy.horizon).to(frame.device)

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the adapter, and beside it what it was trained on."""
        config, base = self.config, self.source.path
        path.mkdir(parents=True, exist_ok=True)
        write_base(path.parent, base)
        named = {_back(name): value for name, value in weights.items()}
        about = {'rank': config.rank, 'alpha': config.alpha, 'base': str(base.resolve())}
        content = self.adapters.save(path, named, about)
        assert self.delay_range is not None
        trained = Trained(
            recipe=self.name,
            delay_range=self.delay_range,
            weights_sha256=sha256(content),
            training=training,
            **self.inputs.facts,
        )
        text = trained.model_dump_json(indent=1) + '\n'
        write_files({path / f'{self.name}.json': text.encode()})

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same to resume; the base too."""
        return {**super(FlowRecipe, self).identity, 'base': self.source.weights_digest}


class AdaptedVelocity(nn.Module):
    """
    The velocity with an adapter at work; the adapter's weights alone are this module's.

    So the average, the state to resume from and what processes exchange are small.

    Args:
        policy: With the adapter.
        weights: Tensors of the adapter.
        recompute: See `AdapterConfig`.
    """

    def __init__(
        self, policy: FlowPolicy, weights: Mapping[str, nn.Parameter], recompute: bool
    ) -> None:
        super().__init__()
        self._call = policy.velocity
        self._recompute = recompute
        for name, weight in weights.items():
            weight.requires_grad_(True)
            self.register_parameter(name.replace('.', '/'), weight)

    def forward(self, x: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity [B, H, width] at flow times [B] or [B, H]."""
        if self._recompute and torch.is_grad_enabled():
            velocity = checkpoint(self._call, x, flow_time, encoding, use_reentrant=False)
            assert isinstance(velocity, Tensor)
            return velocity
        return self._call(x, flow_time, encoding)


def _back(name: str) -> str:
    """Return a weight's name in PEFT's form."""
    return name.replace('/', '.')


class TtRtcAdapterConfig(AdapterConfig, TtRtcConfig):
    """Configuration of `tt_rtc` on a LeRobot policy."""


class LeRobotTtRtcRecipe(LeRobotRecipe, TtRtcRecipe):
    """Adapt a LeRobot policy behind clean prefixes."""


class RemacAdapterConfig(AdapterConfig, RemacFlowConfig):
    """
    Configuration of `remac` on a LeRobot policy.

    Attributes:
        gated: Not to be had: an adapter of LeRobot's is not told the delay.
    """

    gated: Literal[False] = False


class LeRobotRemacRecipe(LeRobotRecipe, RemacRecipe):
    """Adapt a LeRobot policy to rows that it will not execute."""


class RemacPairedAdapterConfig(AdapterConfig, RemacPairedConfig):
    """
    Configuration of `remac_paired` on a LeRobot policy.

    Attributes:
        gated: Not to be had, see `RemacAdapterConfig`.
    """

    gated: Literal[False] = False


class LeRobotRemacPairedRecipe(LeRobotRecipe, RemacPairedRecipe):
    """Adapt it with chunks that go the way of the demonstration."""


class VlashAdapterConfig(AdapterConfig, VlashConfig):
    """
    Configuration of `vlash` on a LeRobot policy.

    Attributes:
        keep_state: Not to be had: its networks take one state, and its pictures show the robot.
    """

    keep_state: Literal[False] = False


class LeRobotVlashRecipe(LeRobotRecipe, VlashRecipe):
    """Adapt a LeRobot policy to future states."""
