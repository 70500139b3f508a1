# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in LeRobot's files, whole or with something missing; written without lerobot."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODES = {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'MEAN_STD'}
PROCESSORS = {
    'policy_preprocessor': 'normalizer_processor',
    'policy_postprocessor': 'unnormalizer_processor',
}


def safetensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors as float32; a number stands for so many ones."""
    header, values = {}, b''
    for name, given in tensors.items():
        tensor = np.asarray(np.ones(given) if isinstance(given, int) else given, '<f4')
        begin, values = len(values), values + tensor.tobytes()
        header[name] = {
            'dtype': 'F32', 'shape': tensor.shape, 'data_offsets': [begin, len(values)],
        }  # fmt: skip
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + values)


def write(
    folder: Path,
    config: Any,
    state: Mapping[str, Any] | None = None,
    action: Mapping[str, Any] | None = None,
    modes: Mapping[str, str] = MODES,
    steps: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    processors: bool = True,
    weights: bool = True,
    shards: bool = False,
    adapter: bool = False,
) -> Path:
    """
    Write a checkpoint.

    Args:
        folder: New, or empty.
        config: Content of config.json.
        state: Statistics in the preprocessor, name -> numbers or how many ones; None for all.
        action: Those in the postprocessor.
        modes: Kind of feature -> mode of normalisation.
        steps: Kinds of steps of both processors; None for those that normalise.
        options: What else the steps are told, such as `features`.
        processors: Whether there are any.
        weights: Whether there are any.
        shards: The weights are in several files.
        adapter: It is an adapter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(config))
    if not isinstance(config, dict):
        return folder
    if weights and not shards:
        safetensors(folder / 'model.safetensors', {'weight': 4})
    if shards:
        index = {'weight_map': {'weight': 'model-00001-of-00002.safetensors'}}
        (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
        safetensors(folder / 'model-00001-of-00002.safetensors', {'weight': 4})
    if adapter:
        (folder / 'adapter_config.json').write_text('{}')
    read, answered = (config.get(f'{side}_features') or {} for side in ('input', 'output'))
    told = {
        'policy_preprocessor': _all({**read, **answered}) if state is None else state,
        'policy_postprocessor': _all(answered) if action is None else action,
    }
    for name, kind in PROCESSORS.items() if processors else ():
        known = {**MODES, **modes}
        listed = []
        for index, step in enumerate(steps if steps is not None else [kind]):
            entry: dict[str, Any] = {'registry_name': step}
            entry['config'] = {'norm_map': known, 'features': {**read, **answered}, 'eps': 1e-8}
            entry['config'].update(options or {})
            if told[name]:
                entry['state_file'] = f'{name}_step_{index}_{step}.safetensors'
                safetensors(folder / entry['state_file'], told[name])
            listed.append(entry)
        (folder / f'{name}.json').write_text(json.dumps({'name': name, 'steps': listed}))
    return folder


def _all(features: Mapping[str, Any]) -> dict[str, int]:
    return {
        f'{name}.{statistic}': feature.get('shape', [1])[0]
        for name, feature in features.items()
        for statistic in ('mean', 'std', 'min', 'max')
    }
