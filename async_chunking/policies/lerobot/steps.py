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
_KEYS = frozenset({'registry_name', 'config', 'state_file'})


def check_steps(folder: Path) -> None:
    """
    Refuse a checkpoint with a processor of which any step is not known to be harmless.

    Args:
        folder: Folder of the checkpoint; every processor file in it is read.

    Raises:
        CheckpointError: Names the file, the step and the steps that are allowed.
    """
    for file in sorted(folder.glob('*processor*.json')):
        for number, step in enumerate(steps_of(file)):
            _check_step(file, f'{file}: step {number}', step)


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
