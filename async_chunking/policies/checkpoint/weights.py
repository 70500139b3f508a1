# SPDX-License-Identifier: Apache-2.0
"""Save and load policies: safetensors and a JSON sidecar, verified; nothing is unpickled."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from async_chunking import __version__
from async_chunking.policies.checkpoint.sidecar import (
    CheckpointError,
    Sidecar,
    read_sidecar,
    read_weights,
    weights_path,
)
from async_chunking.policies.networks.act import ActArchitecture, ActPolicy
from async_chunking.policies.networks.gated_mixer import GatedMixerArchitecture
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.transformer import TransformerArchitecture
from async_chunking.storage import sha256, write_files

# Name in the sidecar -> (architecture, policy built around its network).
ARCHITECTURES: dict[str, tuple[type, type]] = {
    'mixer': (MixerArchitecture, NetworkPolicy),
    'gated_mixer': (GatedMixerArchitecture, NetworkPolicy),
    'act': (ActArchitecture, ActPolicy),
    'transformer': (TransformerArchitecture, NetworkPolicy),
}


def save_policy(path: Path | str, policy: NetworkPolicy, recipe: str, **facts: Any) -> Sidecar:
    """
    Save a policy; a crash or a full disk leaves the files that were there before.

    Args:
        path: `DIR/flow`, with or without suffix.
        policy: What to save.
        recipe: How it was trained.
        facts: Further fields of `Sidecar`.

    Returns:
        The sidecar as written.

    Raises:
        StorageError: The files could not be written.
    """
    sidecar = Sidecar(
        recipe=recipe,
        architecture=describe(policy.architecture),
        normalization=policy.normalizer.statistics,
        num_steps=policy.num_steps,
        **facts,
    )
    return save_weights(path, sidecar, policy.network.state_dict())


def save_weights(path: Path | str, sidecar: Sidecar, weights: Mapping[str, Tensor]) -> Sidecar:
    """Write weights and their sidecar, completed by versions and the digest."""
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    )
    versions = {
        'async_chunking': __version__,
        'numpy': np.__version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
    }
    sidecar = sidecar.model_copy(update={'versions': versions, 'weights_sha256': sha256(content)})
    file = weights_path(path)
    write_files({file: content, file.with_suffix('.json'): sidecar.dump()})
    return sidecar


def load_policy(path: Path | str, device: torch.device | str = 'cpu') -> NetworkPolicy:
    """
    Load a policy in evaluation mode.

    Raises:
        CheckpointError: A file is missing or torn, or does not fit; names file, key and choices.
    """
    sidecar = read_sidecar(path)
    file = weights_path(path)
    content = read_weights(path, sidecar)
    architecture, policy = build(sidecar, file.with_suffix('.json'))
    _check_scales(sidecar, architecture, file.with_suffix('.json'))
    network = architecture.build().to(device)
    weights = parse(content, file)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    if wrong := sorted(k for k in expected | shapes if expected.get(k) != shapes.get(k)):
        name = wrong[0]
        msg = (
            f'{file}: {name} has shape {shapes.get(name, "(absent)")}, the architecture in '
            f'{file.with_suffix(".json").name} wants {expected.get(name, "(absent)")}'
        )
        raise CheckpointError(msg)
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    return policy(architecture, network, sidecar.normalization, sidecar.num_steps)


def _check_scales(sidecar: Sidecar, architecture: Any, file: Path) -> None:
    """Refuse a checkpoint in which a feature has no statistics, or those of another one."""
    scales = sidecar.normalization.features
    for name, size in (*architecture.observation, ('action', architecture.action_dim)):
        size_saved = len(scales[name].offset) if name in scales else 0
        if size_saved != size:
            msg = (
                f'{file}: normalization.features has {size_saved} numbers for {name}, the '
                f'architecture reads {size}. Features: {", ".join(scales)}'
            )
            raise CheckpointError(msg)


def parse(content: bytes, file: Path) -> dict[str, Tensor]:
    """
    Return the tensors of a safetensors file.

    Raises:
        CheckpointError: It is no such file, or torn.
    """
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        msg = f'{file}: not a complete safetensors file ({error})'
        raise CheckpointError(msg) from error


def describe(architecture: Any) -> dict[str, Any]:
    """Return an architecture as it stands in a sidecar."""
    name = next(n for n, (cls, _) in ARCHITECTURES.items() if type(architecture) is cls)
    return {'name': name, **dataclasses.asdict(architecture)}


def build(sidecar: Sidecar, file: Path) -> tuple[Any, type]:
    """
    Return the architecture that a sidecar describes, and the class of its policy.

    Raises:
        CheckpointError: The name or a key is unknown, or a value is missing.
    """
    keys = dict(sidecar.architecture)
    name = keys.pop('name', None)
    if name not in ARCHITECTURES:
        msg = f'{file}: architecture.name is {name!r}. Choices: {", ".join(ARCHITECTURES)}'
        raise CheckpointError(msg)
    cls, policy = ARCHITECTURES[name]
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(keys) - known):
        msg = f'{file}: architecture.{unknown[0]} is unknown. Choices: {", ".join(sorted(known))}'
        raise CheckpointError(msg)
    try:
        keys['observation'] = tuple((str(name), int(size)) for name, size in keys['observation'])
        return cls(**keys), policy
    except (KeyError, TypeError, ValueError) as error:
        msg = f'{file}: architecture is incomplete ({error}). Keys: {", ".join(sorted(known))}'
        raise CheckpointError(msg) from error
