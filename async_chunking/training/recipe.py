# SPDX-License-Identifier: Apache-2.0
"""What a recipe is: what the loop needs to train it, resume it and save it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.dataset.reading import Demonstrations
from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import Settings
from async_chunking.training.windows import Windows, split

if TYPE_CHECKING:
    from typing_extensions import Self

Draws = dict[str, Tensor]
"""Name -> [B, ...]: everything random about one batch."""


class TrainingError(AsyncChunkingError):
    """A recipe cannot be trained as asked."""


class TrainConfig(Settings):
    """
    What all recipes have in common.

    Attributes:
        steps: Updates.
        batch_size: Chunks per update, over all processes.
        parts: In how many parts each batch is computed, one after the other, to save memory.
        learning_rate: Highest; it rises over `warmup_steps` and falls to 0 along a cosine.
        warmup_steps: Updates until then.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradient.
        ema: Decay of the averaged weights, which are the ones that are saved.
        seed: Seed of everything random.
        validation_share: Share of the episodes.
        validate_every: Updates between two validations.
        save_every: Updates between two saved states to resume from.
    """

    steps: int = Field(default=4000, ge=1)
    batch_size: int = Field(default=128, ge=1)
    parts: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=1e-2, ge=0.0)
    clip: float = Field(default=10.0, gt=0.0)
    ema: float = Field(default=0.995, ge=0.0, lt=1.0)
    seed: int = 0
    validation_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    validate_every: int = Field(default=500, ge=1)
    save_every: int = Field(default=500, ge=1)

    def debug(self) -> Self:
        """Return a configuration that runs in seconds and learns nothing."""
        return self.shrunk()

    def shrunk(self, **smaller: Any) -> Self:
        """Return a copy with few updates and the values given."""
        few = {'steps': 6, 'batch_size': 8, 'warmup_steps': 2}
        return self.model_copy(update={**few, 'validate_every': 3, 'save_every': 3, **smaller})


@dataclass(frozen=True)
class TrainingInputs:
    """
    What a recipe is given beside its configuration.

    Attributes:
        data: Demonstrations.
        task: Name of the task, or of the data.
        robot: Name of the embodiment.
        joint_names: [D].
        base: Checkpoint to start from, `DIR/flow`, where the recipe needs one.
    """

    data: Demonstrations
    task: str
    robot: str
    joint_names: tuple[str, ...]
    base: Path | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What every checkpoint says about where it comes from; fields of `Sidecar`."""
        return {
            'task': self.task,
            'robot': self.robot,
            'joint_names': self.joint_names,
            'policy_rate_hz': self.data.fps,
            'data': self.data.facts,
        }


class Recipe(ABC):
    """
    One way of training. The loop owns time and order, the recipe what is learned.

    Attributes:
        name: In the command line, of the checkpoint and in its sidecar.
        config: Frozen.
        network: What is trained.
        device: Where it is trained.
        train, validation: Windows to learn from and to check by.
    """

    name: ClassVar[str]
    config: TrainConfig
    network: nn.Module

    def __init__(self, config: TrainConfig, inputs: TrainingInputs, device: str = 'cpu') -> None:
        self.config = config
        self.inputs = inputs
        self.device = torch.device(device)
        self.train, self.validation = split(
            inputs.data, config.validation_share, config.seed, self.windows
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.prepare()

    def windows(self, data: Demonstrations, episodes: np.ndarray) -> Windows:
        """Return the frames of some episodes; a policy that sees pictures has others."""
        return Windows(data, episodes)

    @abstractmethod
    def prepare(self) -> None:
        """Build `network`; torch's global generator is seeded."""

    @abstractmethod
    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """
        Draw everything random about a batch, on the CPU.

        Args:
            windows: To pick from.
            count: Samples B.
            progress: Share of the updates that are done, 0 to 1.
            generator: Source of all randomness.
        """

    @abstractmethod
    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """
        Return each sample's loss [b]; the batch's is their mean.

        Args:
            network: `self.network`, possibly wrapped; called exactly once.
            windows: From which the draws' frames come.
            draws: Some of the rows of what `draw` returned, on the recipe's device.
        """

    @abstractmethod
    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write a checkpoint of these weights of `network`."""

    @property
    def milestones(self) -> dict[int, str]:
        """Update -> name of the checkpoint to save after it; the last one is the recipe's."""
        return {self.config.steps: self.name}

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same to resume."""
        return {
            'recipe': self.name,
            'data': self.inputs.data.facts.fingerprint,
            **self.config.model_dump(mode='json'),
        }
