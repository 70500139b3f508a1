# SPDX-License-Identifier: Apache-2.0
"""The stage `train`: a flow policy from an expert's data; the only objective is flow matching."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from async_chunking.policies.checkpoint.sidecar import (
    DataSource,
    FeatureScale,
    Normalization,
    Sidecar,
)
from async_chunking.policies.checkpoint.weights import describe, save_weights
from async_chunking.policies.networks.mixer import MixerArchitecture
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.storage import write_files
from tools.kinetix.data import HORIZON, chunks, policy_path, read_data
from tools.kinetix.levels import ACTION_DIM, STEP_RATE_HZ

log = logging.getLogger(__name__)
OBSERVATION = 'observation.state'


@dataclass(frozen=True)
class FlowSettings:
    """
    Constants of the training; see docs/kinetix.md for what the benchmark has instead.

    Attributes:
        horizon: Rows of a chunk [steps].
        updates: Updates of the weights.
        batch: Chunks per update.
        learning_rate: Learning rate of AdamW, after the warm-up; it falls to zero along a cosine.
        warm_up: Updates over which the rate rises.
        weight_decay: Weight decay of AdamW.
        width: Channels of the network.
        token_width: Hidden units that mix the rows.
        channel_width: Hidden units that mix them.
        blocks: Blocks of the network.
    """

    horizon: int = HORIZON
    updates: int = 3000
    batch: int = 256
    learning_rate: float = 1e-3
    warm_up: int = 200
    weight_decay: float = 1e-2
    width: int = 96
    token_width: int = 16
    channel_width: int = 192
    blocks: int = 3


FLOW_RECIPE = FlowSettings()
DEBUG_FLOW_RECIPE = FlowSettings(
    updates=4, batch=16, width=16, token_width=8, channel_width=16, blocks=1
)


def train_flow(
    level: str,
    folder: Path,
    recipe: FlowSettings = FLOW_RECIPE,
    seed: int = 0,
    max_s: float = 540.0,
    clock=time.monotonic,
) -> dict:
    """
    Train the flow policy of a level, or continue to; write its `policy_path` when finished.

    Args:
        level: Name of the level.
        folder: Folder of the data, and for the policy.
        recipe: Recipe of the training.
        seed: Seed of weights, batches and noise.
        max_s: Most time of this piece [s]; then it is stored, to go on with the next call.
        clock: Seconds [s].

    Returns:
        Updates done, whether it is finished, and the loss.
    """
    data = read_data(folder, level)
    observations, actions = chunks(data, recipe.horizon)
    torch.manual_seed(seed)
    architecture = MixerArchitecture(
        recipe.horizon,
        ACTION_DIM,
        ((OBSERVATION, observations.shape[1]),),
        width=recipe.width,
        token_width=recipe.token_width,
        channel_width=recipe.channel_width,
        blocks=recipe.blocks,
    )
    policy = NetworkPolicy(architecture, architecture.build(), scales(observations))
    learner = torch.optim.AdamW(
        policy.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    resume = folder / f'{level}-{recipe.horizon}.training.safetensors'
    losses = _resume(resume, policy.network, learner)
    began = clock()
    inputs, targets = torch.from_numpy(observations), torch.from_numpy(actions)
    while len(losses) < recipe.updates and clock() - began < max_s:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + len(losses))
        pick = torch.randint(len(inputs), (recipe.batch,), generator=generator)
        for group in learner.param_groups:
            group['lr'] = recipe.learning_rate * pace(len(losses), recipe)
        loss = flow_matching_loss(policy, inputs[pick], targets[pick], generator)
        _descend(policy.network, learner, loss)
        losses.append(loss.item())
        if len(losses) % 200 == 0:
            log.info('%s: %d updates, loss %.4f', level, len(losses), np.mean(losses[-200:]))
    _store(resume, policy.network, learner, losses)
    result = {'updates': len(losses), 'finished': len(losses) >= recipe.updates}
    result['loss'] = float(np.mean(losses[-200:])) if losses else float('nan')
    if result['finished']:
        facts = {'recipe': asdict(recipe), 'seed': seed, 'loss': result['loss']}
        episodes = int(data['done'].sum())
        source = DataSource(episodes=episodes, frames=int(data['done'].size))
        save_half(policy_path(folder, level, recipe.horizon), policy, level, facts, source)
    return result


def _descend(network: nn.Module, learner: torch.optim.Optimizer, loss: Tensor) -> None:
    """Make one update."""
    learner.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    learner.step()


def flow_matching_loss(
    policy: NetworkPolicy, observations: Tensor, actions: Tensor, generator: torch.Generator
) -> Tensor:
    """Return the mean of (v - (a - noise))^2 at uniform flow times, one time to a chunk."""
    time_ = torch.rand(len(actions), generator=generator)
    noise = torch.randn(actions.shape, generator=generator)
    mixed = noise + time_[:, None, None] * (actions - noise)
    encoding = policy.encode({OBSERVATION: observations})
    return nn.functional.mse_loss(policy.velocity(mixed, time_, encoding), actions - noise)


def scales(observations: np.ndarray) -> Normalization:
    """Return the policy's scales: observations to unit spread, actions as they are."""
    offset, scale = observations.mean(0), np.maximum(observations.std(0), 0.05)
    zeros, ones = (0.0,) * ACTION_DIM, (1.0,) * ACTION_DIM
    features = {
        OBSERVATION: FeatureScale(offset=tuple(offset.tolist()), scale=tuple(scale.tolist())),
        'action': FeatureScale(offset=zeros, scale=ones),
    }
    return Normalization(kind='mean_std', actions='absolute', features=features)


def pace(done: int, recipe: FlowSettings) -> float:
    """Return the learning rate's factor before an update: linear warm-up, then a cosine to 0."""
    rise = min(1.0, (done + 1) / recipe.warm_up)
    return rise * 0.5 * (1.0 + math.cos(math.pi * done / recipe.updates))


def save_half(
    path: Path, policy: NetworkPolicy, level: str, training: dict, source: DataSource
) -> Sidecar:
    """Save a policy in half precision, as it is shipped."""
    sidecar = Sidecar(
        recipe='flow',
        task=f'kinetix/{level}',
        policy_rate_hz=STEP_RATE_HZ,
        num_steps=policy.num_steps,
        architecture=describe(policy.architecture),
        normalization=policy.normalizer.statistics,
        data=source,
        training=training,
    )
    weights = {name: value.half() for name, value in policy.network.state_dict().items()}
    return save_weights(path, sidecar, weights)


def _resume(path: Path, network: nn.Module, learner: torch.optim.Optimizer) -> list[float]:
    """Bring network and learner to where `_store` left them; return the losses until there."""
    if not path.exists():
        return []
    saved = load_file(path)
    network.load_state_dict({name: saved[f'network/{name}'] for name in network.state_dict()})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        place, *rest = name.split('/')
        if place == 'learner':
            moments.setdefault(int(rest[0]), {})[rest[1]] = value
    learner.load_state_dict({**learner.state_dict(), 'state': moments})
    return saved['losses'].tolist()


def _store(
    path: Path, network: nn.Module, learner: torch.optim.Optimizer, losses: list[float]
) -> None:
    tensors = {f'network/{name}': value for name, value in network.state_dict().items()}
    for index, state in learner.state_dict()['state'].items():
        tensors |= {f'learner/{index}/{name}': value for name, value in state.items()}
    tensors['losses'] = torch.tensor(losses)
    write_files({path: save(tensors)})
