# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of LeRobot and of this package, whole and not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lerobot_files

from async_chunking.policies.checkpoint.shipped import SHIPPED
from async_chunking.policies.opening import open_policy
from async_chunking.policies.options import PolicyOptions
from async_chunking.policies.source import PolicySpec
from async_chunking.robot.embodiment import load
from odd_files import Case

ACT = {
    'type': 'act', 'chunk_size': 50, 'n_action_steps': 50,
    'input_features': {'observation.state': {'type': 'STATE', 'shape': [6]}},
    'output_features': {'action': {'type': 'ACTION', 'shape': [6]}},
}  # fmt: skip


def lerobot(config: dict[str, Any] | None = None, **files: Any) -> Callable[[Path], None]:
    content = {**ACT, **(config or {})}
    return lambda folder: lerobot_files.write(folder / 'policy', content, **files) and None


def _opened(kind: str) -> Callable[[Path], str]:
    def ask(folder: Path) -> str:
        spec = PolicySpec(
            load('viperx'), PolicyOptions(policy=kind, policy_path=str(folder / 'policy'))
        )
        source = open_policy(spec)
        return f'{source.horizon} rows of {source.action_dim}'

    return ask


def own(change: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return what copies a shipped checkpoint and changes it."""

    def make(folder: Path) -> None:
        (folder / 'policy').mkdir()
        for suffix in ('json', 'safetensors'):
            shutil.copy(SHIPPED / f'viperx_slalom/flow.{suffix}', folder / 'policy')
        change(folder / 'policy')

    return make


def _loaded(folder: Path) -> str:
    from async_chunking.policies.checkpoint.weights import load_policy

    policy = load_policy(folder / 'policy/flow')
    return f'{policy.horizon} rows of {policy.action_dim}'


def _edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / 'flow.json').read_text())
        change(content)
        (folder / 'flow.json').write_text(json.dumps(content))

    return edit


def _no_scale(content: dict[str, Any]) -> None:
    del content['normalization']['features']['observation.state']


def _one_scale(content: dict[str, Any]) -> None:
    content['normalization']['features']['action'] = {'offset': [0.0], 'scale': [1.0]}


def _torn(folder: Path) -> None:
    file = folder / 'flow.safetensors'
    file.write_bytes(file.read_bytes()[:-100])


def _exchanged(folder: Path) -> None:
    shutil.copy(SHIPPED / 'viperx_slalom/weak.safetensors', folder / 'flow.safetensors')


NO_STATE = ('observation.state', 'no mean and no std')
RENAMED = {'so100.buffer.observation.state.mean': 6, 'so100.buffer.observation.state.std': 6}

CASES = [
    Case('LeRobot checkpoint', lerobot(), _opened('lerobot'), '50 rows of 6'),
    Case('LeRobot, no statistics', lerobot(state={}), _opened('lerobot'), NO_STATE),
    Case('LeRobot, no statistics of actions', lerobot(action={}), _opened('lerobot'),
         ('policy_postprocessor.json: action', 'no mean and no std')),
    Case('LeRobot, statistics of other names', lerobot(state=RENAMED), _opened('lerobot'),
         (*NO_STATE, 'so100.buffer.observation.state')),
    Case('LeRobot, statistics of another mode',
         lerobot(modes={'STATE': 'QUANTILES'}), _opened('lerobot'),
         ('observation.state', 'no q01 and no q99')),
    Case('LeRobot, not normalised on purpose',
         lerobot(modes={'STATE': 'IDENTITY'}, state={}), _opened('lerobot'), '50 rows of 6'),
    Case('LeRobot, saved before 0.4', lerobot(processors=False), _opened('lerobot'),
         ('policy_preprocessor.json is missing', 'before 0.4')),
    Case('LeRobot, n_action_steps above chunk_size', lerobot({'n_action_steps': 60}),
         _opened('lerobot'), ('n_action_steps 60', 'chunk_size 50')),
    Case('LeRobot, weights in shards', lerobot(shards=True), _opened('lerobot'),
         ('model.safetensors.index.json', 'shards')),
    Case('LeRobot, an adapter', lerobot(adapter=True), _opened('lerobot'),
         ('adapter_config.json', 'PEFT')),
    Case('LeRobot, no weights', lerobot(weights=False), _opened('lerobot'),
         ('no model.safetensors',)),
    Case('LeRobot, another policy', lerobot({'type': 'tdmpc'}), _opened('lerobot'),
         ("'tdmpc'", 'Choices')),
    Case('checkpoint of this package', own(lambda _: None), _loaded, '16 rows of 7'),
    Case('checkpoint, a feature without scale', own(_edit(_no_scale)), _loaded,
         ('observation.state', '0 numbers')),
    Case('checkpoint, one scale for all joints', own(_edit(_one_scale)), _loaded,
         ('action', '1 numbers', 'reads 7')),
    Case('checkpoint, torn weights', own(_torn), _loaded, ('flow.safetensors', 'torn')),
    Case('checkpoint, weights of another', own(_exchanged), _loaded,
         ('flow.safetensors', 'exchanged')),
]  # fmt: skip
