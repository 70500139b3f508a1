# SPDX-License-Identifier: Apache-2.0
"""
Checkpoints of LeRobot: what one says about itself, before anything is loaded.

A checkpoint is the folder that LeRobot's `save_pretrained` makes: config.json, model.safetensors
and the two processors. This file reads JSON only; it never imports torch or lerobot.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.statistics import check_statistics, steps_of
from async_chunking.policies.lerobot.steps import check_steps
from async_chunking.policies.lerobot.tensors import check_tensors
from async_chunking.storage import read_json

# Type of a flow policy -> its key for the number of solver steps.
FLOWS = {'pi0': 'num_inference_steps', 'pi05': 'num_inference_steps', 'smolvla': 'num_steps'}
# Type of a policy that scales pictures itself -> how; see `cameras.resizing`.
_RESIZINGS = {'pi0': 'lerobot', 'pi05': 'lerobot', 'smolvla': 'lerobot_corner'}
CHUNKS = ('act', 'diffusion')
TRAINED_DELAY = 'rtc_training_max_delay'  # Newer than 0.6.1.
TASK = 'task'  # LeRobot's name for what the robot is told.
_EMPTY_CAMERA = 'empty_camera'  # LeRobot lists cameras that are not there, and fills them itself.
_WEIGHTS = 'model.safetensors'
# Files beside config.json that say that the weights are not, or not all, in `_WEIGHTS`.
_NOT_WHOLE = {
    f'{_WEIGHTS}.index.json': f'the weights are in shards, LeRobot reads {_WEIGHTS} alone; '
    'load and save them again in one file',
    'adapter_config.json': 'this is an adapter (PEFT); merge it into its base policy first',
}


class LeRobotCheckpoint:
    """
    A LeRobot checkpoint.

    Attributes:
        path: The folder.
        config: Content of its config.json.
        type: LeRobot's name of the policy.

    Raises:
        CheckpointError: The folder is no such checkpoint, or of a policy that cannot be run.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = _folder(Path(path))
        self.title = str(self.path)
        self.config = _read(self.path / 'config.json')
        self.type = self.config.get('type')
        if self.type not in (*FLOWS, *CHUNKS):
            msg = f'{self.path}: type is {self.type!r}. Choices: {", ".join((*FLOWS, *CHUNKS))}'
            raise CheckpointError(msg)
        if self.config.get('adapt_to_pi_aloha'):
            msg = f'{self.path}: adapt_to_pi_aloha is set, which changes the joints behind the '
            raise CheckpointError(msg + 'processors; convert the checkpoint to plain joints')

    def check(self) -> None:
        """
        Refuse a checkpoint that LeRobot would not load, or would run without a word and wrongly.

        Raises:
            CheckpointError: The weights are elsewhere, its processors may run programs, it lacks
                statistics, or its numbers contradict each other.
        """
        for name, reason in _NOT_WHOLE.items():
            if (self.path / name).exists():
                raise CheckpointError(f'{self.path / name}: {reason}')
        if not (self.path / _WEIGHTS).is_file():
            raise CheckpointError(f'{self.path} has no {_WEIGHTS}: the policy has no weights')
        check_tensors(self.path / _WEIGHTS)
        rows = 'horizon' if self.type == 'diffusion' else 'chunk_size'
        played, planned = self._count('n_action_steps'), self._count(rows)
        if played > planned:
            msg = f'{self.path / "config.json"}: n_action_steps {played} is more than {rows} '
            raise CheckpointError(f'{msg}{planned}; LeRobot refuses it. Lower n_action_steps')
        read, answered = self._features('input_features'), self._features('output_features')
        if len(answered.get('action', {}).get('shape', ())) != 1:
            have = ', '.join(answered) or 'none'
            msg = f'{self.path / "config.json"}: no action of one dimension in output_features: '
            raise CheckpointError(msg + have)
        check_steps(self.path)
        features = {'input_features': read, 'output_features': answered}
        check_statistics(self.path, {**self.config, **features}, plans=self.type in FLOWS)

    @property
    def horizon(self) -> int:
        """Rows of a chunk; diffusion plans from its first observation, which has passed."""
        if self.type == 'diffusion':
            return self._count('horizon') - self._count('n_obs_steps') + 1
        return self._count('chunk_size')

    @property
    def action_dim(self) -> int:
        """Columns of a chunk, without those that the network has to spare."""
        return self._features('output_features')['action']['shape'][0]

    @property
    def offers(self) -> frozenset[str]:
        """Velocity with gradients and a time for each row, if it is a flow; see `delays`."""
        flow = {'velocity', 'gradients', 'per_token_time'} if self.type in FLOWS else set()
        return frozenset(flow | set(self.delays))

    @property
    def delays(self) -> dict[str, tuple[int, int]]:
        """What LeRobot's own training-time RTC knew; see `PolicySource`."""
        if not self.config.get(TRAINED_DELAY):
            return {}
        return {'recipe:tt_rtc': (0, self._count(TRAINED_DELAY))}

    @property
    def expects(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of what it reads; images are (height, width, 3), text is ()."""
        features = self._features('input_features')
        shapes = {
            name: _turned(feature['shape']) if feature['type'] == 'VISUAL' else feature['shape']
            for name, feature in features.items()
            if _EMPTY_CAMERA not in name
        }
        texts = {TASK: ()} if self.type in FLOWS else {}
        return {name: tuple(shape) for name, shape in shapes.items()} | texts

    @property
    def anchored(self) -> bool:
        """Whether a step of its own counts actions from the measured joints."""
        steps = steps_of(self.path / 'policy_preprocessor.json')
        return any(
            step.get('registry_name') == 'relative_actions_processor'
            and (step.get('config') or {}).get('enabled', False)
            for step in steps
        )

    @property
    def resizing(self) -> str:
        """How its training scaled pictures."""
        return _RESIZINGS.get(str(self.type), 'openpi')

    @property
    def observation_steps(self) -> int:
        """Observations that it reads at once; only diffusion looks back."""
        return self._count('n_obs_steps') if self.type == 'diffusion' else 1

    @property
    def num_steps(self) -> int:
        """Solver steps of a flow."""
        return self._count(FLOWS[str(self.type)])

    @functools.cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        with (self.path / _WEIGHTS).open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _key(self, key: str) -> Any:
        if key not in self.config:
            msg = f'{self.path / "config.json"} has no {key}, which {self.type} policies have'
            raise CheckpointError(msg)
        return self.config[key]

    def _count(self, key: str) -> int:
        value = self._key(key)
        if type(value) is not int or value < 1:  # A bool is an int.
            msg = f'{self.path / "config.json"}: {key} is {value!r}, not a whole number above 0'
            raise CheckpointError(msg)
        return value

    def _features(self, key: str) -> Mapping[str, Any]:
        """Return name -> type and shape of what is read or answered."""
        try:
            features = dict(self._key(key))
            for feature in features.values():
                whole = all(type(n) is int and n > 0 for n in feature['shape'])
                if not (whole and isinstance(feature['type'], str)):
                    raise ValueError(feature)
        except (KeyError, TypeError, ValueError) as error:
            msg = f'{self.path / "config.json"}: {key} is not name: type, shape ({error!r:.200})'
            raise CheckpointError(msg) from error
        return features


def _folder(path: Path) -> Path:
    """Return the folder of the checkpoint, which LeRobot's training puts one level down."""
    for folder in (path, path / 'pretrained_model'):
        if (folder / 'config.json').is_file():
            return folder
    msg = f'{path} holds no config.json; policy_path is a folder written by LeRobot'
    if not path.exists() and len(path.parts) == 2 and not path.parent.exists():
        msg += f'. A name on the hub? Fetch it: hf download {path} --local-dir FOLDER'
    below = [*path.glob('*/pretrained_model/config.json')]
    below += path.glob('checkpoints/*/pretrained_model/config.json')
    if below:  # Named by their steps, and 'last'.
        msg += f'. There are {len(below)} below it; name one: {max(below).parent}'
    raise CheckpointError(msg)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: not a readable JSON file ({error})') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: expected keys and values')
    return content


def _turned(shape: list[int]) -> tuple[int, ...]:
    """Return [channels, height, width] as (height, width, channels)."""
    return (*shape[1:], shape[0])
