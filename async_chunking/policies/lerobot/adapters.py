# SPDX-License-Identifier: Apache-2.0
"""
Low-rank adapters on the action expert of a LeRobot policy, several on one base, in PEFT's form.

The large model that sees and reads has none. So what it made of an observation serves the base and
every adapter alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from async_chunking.policies.base import Encoding, FlowPolicy, WrappedPolicy
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.storage import json_bytes, read_json, write_files

WEIGHTS = 'adapter_model.safetensors'
CONFIG = 'adapter_config.json'
_PREFIX = 'base_model.model.'  # PEFT's, before the names of a model's layers.
_EXPERTS = ('.gemma_expert.model.layers.', '.lm_expert.layers.')
_ENDS = ('model.action_in_proj', 'model.action_out_proj')


class Adapters:
    """
    The adapters of a policy, of which one or none is at work.

    Args:
        policy: LeRobot's; its layers are replaced by such that can be adapted.

    Raises:
        CheckpointError: peft is not installed, or the policy has no action expert.
    """

    def __init__(self, policy: nn.Module) -> None:
        try:
            import peft  # noqa: F401
        except ImportError as error:
            msg = "adapters need peft: pip install '.[vla]' in the checkout"
            raise CheckpointError(msg) from error
        self._policy = policy
        self.layers = sorted(
            name
            for name, layer in policy.named_modules()
            if isinstance(layer, nn.Linear)
            and (name in _ENDS or any(part in name for part in _EXPERTS))
            and not name.endswith('.dense')  # Of π0.5's norms, which bring the flow time in.
        )
        if not any(name not in _ENDS for name in self.layers):
            msg = f'{type(policy).__name__} has no action expert that is known here'
            raise CheckpointError(msg)
        self._used: str | None = None
        self._names: set[str] = set()

    def add(self, name: str, rank: int, alpha: float) -> dict[str, nn.Parameter]:
        """Add an adapter that changes nothing yet; returns its weights by PEFT's names."""
        from peft import LoraConfig, inject_adapter_in_model

        values: dict[str, Any] = {'r': rank, 'lora_alpha': alpha}
        config = LoraConfig(target_modules=self.layers, **values)
        with warnings.catch_warnings():  # PEFT warns of several adapters, which are meant.
            warnings.simplefilter('ignore')
            inject_adapter_in_model(config, self._policy, adapter_name=name)
        self._names.add(name)
        self._used = None
        self._policy.requires_grad_(False)
        self.use('')
        return self.weights(name)

    def weights(self, name: str) -> dict[str, nn.Parameter]:
        """Return the weights of an adapter by PEFT's names."""
        mark = f'.{name}.'
        return {
            _PREFIX + key.replace(mark, '.'): value
            for key, value in self._policy.named_parameters()
            if '.lora_' in key and mark in key
        }

    def use(self, name: str) -> None:
        """Put an adapter to work, '' for the base alone."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        if name == self._used:
            return
        for layer in self._policy.modules():
            if isinstance(layer, BaseTunerLayer):
                wanted = {n: p.requires_grad for n, p in layer.named_parameters()}
                layer.enable_adapters(enabled=bool(name))
                if name:
                    layer.set_adapter(name)
                for key, weight in layer.named_parameters():  # PEFT decides that by itself.
                    weight.requires_grad_(wanted[key])
        self._used = name

    def save(self, folder: Path, weights: Mapping[str, Tensor], about: dict[str, Any]) -> bytes:
        """
        Write an adapter as PEFT does; returns the file of its weights.

        Args:
            folder: Made if it is not there.
            weights: By PEFT's names.
            about: `rank`, `alpha` and `base`, the name of what it adapts.
        """
        from peft import LoraConfig

        config = LoraConfig(
            r=about['rank'], lora_alpha=about['alpha'], target_modules=self.layers,
            base_model_name_or_path=about['base'], inference_mode=True,
        )  # fmt: skip
        values = {
            key: sorted(value) if isinstance(value, set) else getattr(value, 'value', value)
            for key, value in config.to_dict().items()
        }
        content = safetensors.torch.save(
            {name: value.detach().cpu().float().contiguous() for name, value in weights.items()},
            {'format': 'pt'},
        )
        write_files({folder / WEIGHTS: content, folder / CONFIG: json_bytes(values)})
        return content

    def load(self, name: str, folder: Path, content: bytes) -> None:
        """
        Add an adapter from its files.

        Args:
            name: To call it by.
            folder: Folder of `CONFIG`.
            content: Bytes of `WEIGHTS`.

        Raises:
            CheckpointError: It is of another kind of policy, or not complete.
        """
        about = read_adapter(folder)
        saved = safetensors.torch.load(content)
        wanted = self.add(name, about['r'], about['lora_alpha'])
        for key, weight in wanted.items():
            if key not in saved or saved[key].shape != weight.shape:
                msg = (
                    f'{folder / WEIGHTS} lacks {key} {list(weight.shape)}: the adapter is of '
                    'another kind or size of policy'
                )
                raise CheckpointError(msg)
        if others := sorted(set(saved) - set(wanted)):
            msg = f'{folder / WEIGHTS}: {others[0]} has no place in this policy'
            raise CheckpointError(msg)
        with torch.no_grad():
            for key, weight in wanted.items():
                weight.copy_(saved[key])


class AdaptedFlow(WrappedPolicy):
    """
    A flow of LeRobot with one of its adapters, or none, at work whenever it is asked.

    Args:
        policy: The flow, of whatever wrapping.
        adapters: Adapters of LeRobot's policy in it.
        name: Adapter; '' for the base.
    """

    def __init__(self, policy: FlowPolicy, adapters: Adapters, name: str) -> None:
        super().__init__(policy)
        self._adapters, self._name = adapters, name

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity with the adapter at work."""
        self._adapters.use(self._name)
        return super().velocity(actions, flow_time, encoding)


def read_adapter(folder: Path) -> dict[str, Any]:
    """
    Return what an adapter says about itself.

    Raises:
        CheckpointError: It is no adapter, or of a kind that is not run here.
    """
    file = folder / CONFIG
    try:
        about = dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f'{file}: not the description of an adapter ({error})') from error
    if about.get('peft_type') != 'LORA':
        msg = f'{file}: peft_type is {about.get("peft_type")!r}. Choices: LORA'
        raise CheckpointError(msg)
    for key, kinds in (('r', (int,)), ('lora_alpha', (int, float))):
        if type(about.get(key)) not in kinds:  # A bool is an int.
            raise CheckpointError(f'{file}: {key} is {about.get(key)!r}, not a number')
    return about
