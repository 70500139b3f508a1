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


def _edited(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what writes a LeRobot checkpoint and changes the bytes of one of its files."""

    def make(folder: Path) -> None:
        lerobot()(folder)
        file = folder / 'policy' / name
        file.write_bytes(change(file.read_bytes()))

    return make


def _tiny_scale(content: dict[str, Any]) -> None:
    scales = content['normalization']['features']['action']
    scales['scale'][3] = 1e-300


def _quoted(content: dict[str, Any]) -> None:
    content['architecture']['horizon'] = '16'


def _true(*path: str) -> Callable[[dict[str, Any]], None]:
    """Return what puts true where a number is wanted."""

    def change(content: dict[str, Any]) -> None:
        *folders, name = path
        for folder in folders:
            content = content[folder]
        content[name] = [True] * len(content[name]) if isinstance(content[name], list) else True

    return change


def _unnamed(content: dict[str, Any]) -> None:
    content['joint_names'] = content['joint_names'][:6]


def _turned(content: dict[str, Any]) -> None:
    content['delay_range'] = [9, 1]


def _pointer(folder: Path) -> None:
    (folder / 'flow.safetensors').write_bytes(POINTER)


_opened_own = _opened('checkpoint')
SIX = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
MOVES = {'action.mean': SIX, 'action.std': SIX}
STATES = {'observation.state.mean': SIX, 'observation.state.std': SIX}
QUANTILES = {'observation.state.q01': SIX, 'observation.state.q99': [-1.0] * 6}
POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'
PI0 = {**ACT, 'type': 'pi0', 'num_inference_steps': 10}
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
    Case('LeRobot, a joint that never moved',
         lerobot(state={**STATES, 'observation.state.std': [0.0] * 6}), _opened('lerobot'),
         '50 rows of 6'),
    Case('LeRobot, one number for all joints',
         lerobot(state={**STATES, 'observation.state.std': [1.0]}), _opened('lerobot'),
         ('std of observation.state has shape [1]', 'has [6]')),
    Case('LeRobot, NaN among the statistics',
         lerobot(action={**MOVES, 'action.mean': [*SIX[:5], float('nan')]}), _opened('lerobot'),
         ('mean of action', 'not finite')),
    Case('LeRobot, quantiles turned round',
         lerobot(modes={'STATE': 'QUANTILES'}, state=QUANTILES), _opened('lerobot'),
         ('q99 of observation.state is below q01',)),
    Case('LeRobot, features of other names', lerobot(options={'features': {}}),
         _opened('lerobot'), ('observation.state is not among the features of the step',)),
    Case('LeRobot, two files that contradict',
         lerobot({'normalization_mapping': {'ACTION': 'QUANTILES'}}), _opened('lerobot'),
         ('action is normalised by MEAN_STD', 'config.json says QUANTILES')),
    Case('LeRobot, statistics given twice', lerobot(options={'stats': {'other': {}}}),
         _opened('lerobot'), ('config.stats stands before',)),
    Case('LeRobot, plans without statistics', lerobot(PI0, state=STATES), _opened('lerobot'),
         ('policy_preprocessor.json: action has no mean',)),
    Case('LeRobot, plans with those of others',
         lerobot(PI0, state={**STATES, **MOVES}), _opened('lerobot'),
         ('differ in the statistics of action',)),
    Case('LeRobot, a pointer of Git LFS',
         _edited('model.safetensors', lambda _: POINTER), _opened('lerobot'),
         ('model.safetensors', 'a pointer of Git LFS')),
    Case('LeRobot, torn weights',
         _edited('model.safetensors', lambda content: content[:-4]), _opened('lerobot'),
         ('model.safetensors', 'torn')),
    Case('LeRobot, no shape', lerobot({'input_features': {'observation.state': {}}}),
         _opened('lerobot'), ('input_features', 'type, shape')),
    Case('checkpoint of this package', own(lambda _: None), _loaded, '16 rows of 7'),
    Case('checkpoint, a feature without scale', own(_edit(_no_scale)), _loaded,
         ('observation.state', '0 numbers')),
    Case('checkpoint, one scale for all joints', own(_edit(_one_scale)), _loaded,
         ('action', '1 numbers', 'reads 7')),
    Case('checkpoint, a scale that is 0 in single precision', own(_edit(_tiny_scale)), _loaded,
         ('normalization.features.action', 'scale', '1e-30')),
    Case('checkpoint, a horizon in quotes', own(_edit(_quoted)), _opened_own,
         ('architecture', 'horizon and action_dim, whole numbers')),
    *(
        Case(f'checkpoint, true for {".".join(path)}', own(_edit(_true(*path))), _opened_own,
             (f'{".".join(path)} = ', 'true and false are no numbers'))
        for path in (('policy_rate_hz',), ('num_steps',),
                     ('normalization', 'features', 'action', 'scale'))
    ),
    Case('checkpoint, fewer names than joints', own(_edit(_unnamed)), _opened_own,
         ('joint_names has 6 different names, action_dim is 7',)),
    Case('checkpoint, delays turned round', own(_edit(_turned)), _opened_own,
         ('delay_range is 9 to 1',)),
    Case('checkpoint, a pointer of Git LFS', own(_pointer), _loaded,
         ('flow.safetensors is a pointer of Git LFS',)),
    Case('checkpoint, torn weights', own(_torn), _loaded, ('flow.safetensors', 'torn')),
    Case('checkpoint, weights of another', own(_exchanged), _loaded,
         ('flow.safetensors', 'exchanged')),
]  # fmt: skip
