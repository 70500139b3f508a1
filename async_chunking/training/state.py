# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk: a resumed run goes on as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from async_chunking.policies.checkpoint.weights import parse
from async_chunking.storage import write_files
from async_chunking.training.recipe import TrainingError

History = list[dict[str, float]]


@dataclass
class State:
    """
    Where a run is. Randomness needs no state: each update has a generator of its own.

    Attributes:
        network: Being trained.
        optimizer: AdamW of its parameters.
        average: Name -> averaged weights.
        step: Updates done.
        seconds: Spent on them, over all resumed parts.
        history: Losses so far.
    """

    network: nn.Module
    optimizer: Optimizer
    average: dict[str, Tensor]
    step: int = 0
    seconds: float = 0.0
    history: History = field(default_factory=list)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        """Write it; the last state survives a failure."""
        tensors = {f'network.{k}': v for k, v in self.network.state_dict().items()}
        tensors |= {f'average.{k}': v for k, v in self.average.items()}
        for name, parameter in self._trained():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f'{key}.{name}'] = value
        about = {
            'identity': identity,
            'step': self.step,
            'seconds': self.seconds,
            'history': self.history,
        }
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
        write_files({path: safetensors.torch.save(tensors, {'about': json.dumps(about)})})

    def load(self, path: Path, identity: dict[str, Any]) -> None:
        """
        Continue from a saved state.

        Raises:
            TrainingError: It is of another configuration, recipe or data.
            CheckpointError: It is torn.
        """
        content = path.read_bytes()
        tensors = parse(content, path)
        about = json.loads(_metadata(content)['about'])
        _check(path, about['identity'], json.loads(json.dumps(identity)))
        self.network.load_state_dict(_part(tensors, 'network.'))
        for name, value in _part(tensors, 'average.').items():
            self.average[name].copy_(value)
        for key in ('step', 'exp_avg', 'exp_avg_sq'):
            values = _part(tensors, f'{key}.')
            for name, parameter in self._trained():
                value = values[name] if key == 'step' else values[name].to(parameter.device)
                self.optimizer.state[parameter][key] = value
        self.step, self.seconds = about['step'], about['seconds']
        self.history = about['history']

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _metadata(content: bytes) -> dict[str, str]:
    """Return the free text of a safetensors file: JSON after eight bytes that give its length."""
    length = int.from_bytes(content[:8], 'little')
    return json.loads(content[8 : 8 + length])['__metadata__']


def _check(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    differ = [key for key in saved | wanted if saved.get(key) != wanted.get(key)]
    if differ:
        listed = '; '.join(f'{k} was {saved.get(k)}, is {wanted.get(k)}' for k in differ)
        msg = (
            f'{path} cannot be resumed: {listed}. Use the same configuration, or delete the file '
            f'to begin anew'
        )
        raise TrainingError(msg)
