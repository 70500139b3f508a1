# SPDX-License-Identifier: Apache-2.0
"""
Environments by LeRobot's names: `lerobot:TYPE` or `lerobot:TYPE:TASK`, as `--env.type`, `.task`.

Their description is what LeRobot's `EnvConfig` says: rate, actions, observations by the names that
its policies know. It does not say whether actions are positions, so they pass without limits; a
description of one's own (`entry: async_chunking.environments.lerobot:make`) may say more.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import Any

from async_chunking.environments.vector import single
from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import SettingsError, unknown

LONGEST_S = 600.0
"""End of an episode that LeRobot does not end [s]."""


def _config(name: str) -> Any:
    """Return LeRobot's settings of an environment."""
    try:
        from lerobot.envs import HubEnvConfig, make_env_config
        from lerobot.envs.configs import EnvConfig
    except ImportError as error:
        msg = f"environment 'lerobot:{name}' needs lerobot ({error}): make setup-lerobot"
        raise SettingsError(msg) from error
    kind, _, task = name.partition(':')
    known = [
        choice
        for choice, cls in EnvConfig.get_known_choices().items()
        if not issubclass(cls, HubEnvConfig) and choice != 'gym_manipulator'
    ]
    if kind not in known:
        raise SettingsError(unknown('environment of LeRobot', kind, known))
    return make_env_config(kind, **({'task': task} if task else {}))


def described_by_lerobot(name: str) -> dict[str, Any]:
    """
    Return the description of an environment, as its file would have it.

    Raises:
        SettingsError: LeRobot is not installed or has none such. Those of the hub are left out:
            they are code from elsewhere that would be run.
    """
    config = _config(name)
    features = dict(config.features)
    (size,) = features.pop('action').shape
    return {
        'entry': 'async_chunking.environments.lerobot:make',
        'arguments': {'name': name},
        'setup': f"LeRobot's extra '{config.type}'",
        'instruction': 'do the task',
        'control_rate_hz': float(config.fps),
        'max_s': (getattr(config, 'episode_length', None) or LONGEST_S * config.fps) / config.fps,
        'success': 'is_success',
        'positions': False,
        'actions': [{'name': f'action_{i}'} for i in range(size)],
        'observations': {
            config.features_map.get(key, f'observation.{key}'): {'key': key.replace('/', '.')}
            for key in features
        },
    }


def make(name: str) -> Any:
    """
    Return an environment as LeRobot makes it.

    Raises:
        AsyncChunkingError: The name stands for several tasks.
    """
    with redirect_stdout(io.StringIO()):  # It tells which package it imports.
        suites = _config(name).create_envs(n_envs=1)
    each = [vector for tasks in suites.values() for vector in tasks.values()]
    if len(each) != 1:
        msg = f"'lerobot:{name}' has {len(each)} tasks ({', '.join(suites)}); name one, as "
        raise AsyncChunkingError(msg + 'lerobot:TYPE:TASK')
    return single(each[0])
