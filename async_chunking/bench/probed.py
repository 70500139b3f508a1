# SPDX-License-Identifier: Apache-2.0
"""What `probe` measures: a flow policy of any kind, and observations as it meets them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from async_chunking.environments.arena import is_task, open_arena
from async_chunking.environments.demonstrations import Collection, has_expert, record
from async_chunking.environments.gym import GymEnvironment
from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import FlowPolicy
from async_chunking.policies.checkpoint.directory import PolicyDirectory
from async_chunking.policies.checkpoint.shipped import policy_directory
from async_chunking.policies.checkpoint.sidecar import read_sidecar, weights_path
from async_chunking.policies.checkpoint.weights import load_policy
from async_chunking.policies.named import policy_options
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import OWN_KIND
from async_chunking.policies.source import PolicySpec
from async_chunking.sim import episodes as simulated
from async_chunking.sim import make_task
from async_chunking.strategies import resolve

EPISODES = 4
STARTS = 32


def opened(word: str, env: str) -> tuple[str, FlowPolicy, str]:
    """
    Return a policy that one word names: its title, itself, and the task of its training.

    Args:
        word: A checkpoint, or what `policies.named` reads.
        env: Environment that it is for; kinds that do not know theirs need it.

    Raises:
        AsyncChunkingError: It cannot be had, or has no velocity, so that no noise moves it.
    """
    if weights_path(word).is_file():
        return word, _flow(word, load_policy(Path(word))), read_sidecar(word).task
    options = policy_options(word)
    if options.policy == OWN_KIND:
        folder = PolicyDirectory(policy_directory(options.policy_path))
        path = folder.path / folder.base
        return str(path), _flow(word, load_policy(path)), read_sidecar(path).task
    if not env:
        msg = f"'{word}' does not know its environment: name it with --env"
        raise AsyncChunkingError(msg)
    source = open_policy(PolicySpec(open_arena(env).robot, options))
    return source.title, _flow(source.title, source.policy_for(resolve('naive'))), env


def _flow(title: str, policy: Any) -> FlowPolicy:
    if isinstance(policy, FlowPolicy):
        return policy
    msg = f'{title} answers with chunks and has no velocity: there is no noise to probe'
    raise AsyncChunkingError(msg)


def observed(name: str, seed: int) -> tuple[dict[str, Any], str]:
    """
    Return what is observed in an environment, and where that is from.

    Real observations matter: on made-up ones, far from the training data, a policy's noise acts
    much more locally than it does in use.

    Raises:
        AsyncChunkingError: There is no such environment, or its expert failed.
    """
    if is_task(name):
        task = make_task(name)
        episodes = [simulated.record(task, seed, k, action_noise=0.01) for k in range(EPISODES)]
        each = [episode.observations for episode in episodes if episode]
    else:
        arena = open_arena(name)
        environment: GymEnvironment = arena.make()
        if not has_expert(name):
            rng = np.random.default_rng(seed)
            return _stacked([environment.reset(rng) for _ in range(STARTS)]), (
                f'the beginnings of {STARTS} episodes of {name}, which has no expert'
            )
        how = Collection(name, EPISODES, seed)
        demonstrations = [record(environment, how, k) for k in range(EPISODES)]
        each = [
            {k: v for k, v in one.features.items() if k != 'action'}
            for one in demonstrations
            if one
        ]
    if not each:
        msg = f"the expert solved none of {EPISODES} episodes of '{name}': give --data"
        raise AsyncChunkingError(msg)
    joined = {key: np.concatenate([seen[key] for seen in each]) for key in each[0]}
    return joined, f'demonstrations of {name} made for this'


def _stacked(seen: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: [one[key] for one in seen]
        if isinstance(value, str)
        else np.array([one[key] for one in seen])
        for key, value in seen[0].items()
    }


def chosen(recorded: Mapping[str, Any], count: int, generator: torch.Generator) -> dict[str, Any]:
    """Return a batch of some of the observations, drawn with replacement."""
    total = len(next(iter(recorded.values())))
    frames = torch.randint(total, (count,), generator=generator).tolist()
    return {name: _entry(values, frames) for name, values in recorded.items()}


def _entry(values: Any, frames: list[int]) -> Any:
    if isinstance(values, list):
        return [values[frame] for frame in frames]
    picked = torch.as_tensor(values[frames])
    return picked if picked.dtype == torch.uint8 else picked.float()
