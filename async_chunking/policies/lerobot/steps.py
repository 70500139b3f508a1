# SPDX-License-Identifier: Apache-2.0
"""
The steps that a LeRobot checkpoint's processors may be made of.

LeRobot builds whatever a processor file names: `class` imports any module and calls what is in it,
and some registered steps run code that the file points to. So a checkpoint from elsewhere could
run programs. Only steps that compute with numbers and words are let through, before LeRobot reads
the files. Never imports torch or lerobot.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.statistics import steps_of

ALLOWED = frozenset({
    'absolute_actions_processor', 'device_processor', 'normalizer_processor',
    'pi05_prepare_state_tokenizer_processor_step', 'pi0_new_line_processor',
    'relative_actions_processor', 'rename_observations_processor', 'smolvla_new_line_processor',
    'to_batch_processor', 'tokenizer_processor', 'unnormalizer_processor',
})  # fmt: skip
# Processor -> the steps that have no place in it: they would undo or repeat what the other does.
_ELSEWHERE = {
    'policy_preprocessor.json': {'unnormalizer_processor', 'absolute_actions_processor'},
    'policy_postprocessor.json': ALLOWED
    - {'unnormalizer_processor', 'absolute_actions_processor', 'device_processor'},
}
# Steps of which the first must come before the second.
_ORDER = (
    ('rename_observations_processor', 'normalizer_processor'),
    ('relative_actions_processor', 'normalizer_processor'),
    ('normalizer_processor', 'pi05_prepare_state_tokenizer_processor_step'),
    ('unnormalizer_processor', 'absolute_actions_processor'),
)
_AGAIN = frozenset({'device_processor', 'rename_observations_processor', 'to_batch_processor'})
_KEYS = frozenset({'registry_name', 'config', 'state_file'})


def check_steps(folder: Path) -> None:
    """
    Refuse a checkpoint with a processor of which any step is not known, or not in its place.

    Args:
        folder: Folder of the checkpoint; every processor file in it is read.

    Raises:
        CheckpointError: Names the file, the step and the steps that are allowed, or their order.
    """
    for file in sorted(folder.glob('*processor*.json')):
        steps = steps_of(file)
        for number, step in enumerate(steps):
            _check_step(file, f'{file}: step {number}', step)
        _check_places(file, [str(step['registry_name']) for step in steps])


def _check_places(file: Path, names: list[str]) -> None:
    """Refuse steps that change numbers twice, in the wrong processor or in another order."""
    elsewhere = _ELSEWHERE.get(file.name, frozenset())
    for number, name in enumerate(names):
        if name in elsewhere:
            allowed = ', '.join(sorted(ALLOWED - elsewhere))
            msg = f'{file}: step {number} is {name!r}, which has no place there'
            raise CheckpointError(f'{msg}. Allowed: {allowed}')
        if name not in _AGAIN and names.count(name) > 1:
            msg = f'{file} has {names.count(name)} steps {name}: it would be done again'
            raise CheckpointError(msg)
    for first, second in _ORDER:
        if second in names and first in names[names.index(second) :]:
            msg = f'{file}: {first} comes after {second}; it must come before'
            raise CheckpointError(msg)


def _check_step(file: Path, title: str, step: Mapping[str, Any]) -> None:
    if not isinstance(step, dict) or 'class' in step:
        msg = f'{title} names a class to import, which could run any program; it is not opened'
        raise CheckpointError(msg)
    name = step.get('registry_name')
    if name not in ALLOWED:
        msg = f'{title} is {name!r}, which is not run here. Allowed: {", ".join(sorted(ALLOWED))}'
        raise CheckpointError(msg)
    if others := sorted(set(step) - _KEYS):
        msg = f'{title} has the key {others[0]!r}. Allowed: {", ".join(sorted(_KEYS))}'
        raise CheckpointError(msg)
    state = str(step.get('state_file') or '')
    if state and Path(state).name != state:
        msg = f'{title}: state_file is {state!r}; it must lie in {file.parent}, beside the file'
        raise CheckpointError(msg)
