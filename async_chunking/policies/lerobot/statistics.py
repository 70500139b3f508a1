# SPDX-License-Identifier: Apache-2.0
"""
Whether a LeRobot checkpoint has the statistics that its numbers are normalised with.

LeRobot passes a feature without statistics through as it is: a policy that answers in standard
deviations then moves a robot by radians. So the files are looked at before anything is loaded.
Reads JSON and the headers of safetensors files; never imports torch or lerobot.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.storage import read_json

# Mode of normalisation -> the statistics that it computes with.
NEEDED = {
    'MEAN_STD': ('mean', 'std'), 'MIN_MAX': ('min', 'max'), 'QUANTILES': ('q01', 'q99'),
    'QUANTILE10': ('q10', 'q90'), 'IDENTITY': (),
}  # fmt: skip
# Processor -> the kind of step that normalises in it, and the features that it is for.
_STEPS = {
    'policy_preprocessor': ('normalizer_processor', 'input_features'),
    'policy_postprocessor': ('unnormalizer_processor', 'output_features'),
}
_LARGEST_HEADER = 100_000_000  # Of a safetensors file [bytes].


def check_statistics(folder: Path, config: Mapping[str, Any]) -> None:
    """
    Refuse a checkpoint in which a feature that it normalises has no statistics.

    Args:
        folder: Folder of the checkpoint.
        config: Content of its config.json.

    Raises:
        CheckpointError: Names the file, the feature and what is missing.
    """
    for name, (kind, features) in _STEPS.items():
        file = folder / f'{name}.json'
        if not file.is_file():
            msg = (
                f'{file} is missing, so nothing says how numbers are normalised: releases before '
                '0.4 saved it with the weights; convert the checkpoint with a newer LeRobot'
            )
            raise CheckpointError(msg)
        steps = [step for step in steps_of(file) if step.get('registry_name') == kind]
        if not steps:
            msg = f'{file} has no step {kind}, so {features} would not be normalised'
            raise CheckpointError(msg)
        for step in steps:
            _check_step(folder, file, step, config.get(features) or {})


def _check_step(
    folder: Path, file: Path, step: Mapping[str, Any], features: Mapping[str, Any]
) -> None:
    options = step.get('config') or {}
    modes = options.get('norm_map') or {}
    chosen = options.get('normalize_observation_keys')
    state = folder / str(step.get('state_file') or '')
    known = set(tensor_names(state)) if step.get('state_file') else set()
    for feature, description in features.items():
        mode = modes.get(description.get('type'), 'IDENTITY')
        if mode not in NEEDED:
            msg = f'{file}: {feature} is normalised by {mode!r}. Known: {", ".join(NEEDED)}'
            raise CheckpointError(msg)
        if chosen is not None and feature not in chosen:
            continue
        if missing := [s for s in NEEDED[mode] if f'{feature}.{s}' not in known]:
            have = ', '.join(sorted({name.rpartition('.')[0] for name in known})) or 'none'
            msg = (
                f'{file}: {feature} has no {" and no ".join(missing)}, which {mode} needs; it '
                f'would not be normalised. There are statistics of: {have}'
            )
            raise CheckpointError(msg)


def steps_of(file: Path) -> list[Mapping[str, Any]]:
    """
    Return the steps of a processor.

    Raises:
        CheckpointError: The file is missing, or describes none.
    """
    try:
        return list(read_json(file)['steps'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f'{file}: not the description of a processor ({error!r})') from error


def tensor_names(file: Path) -> Iterator[str]:
    """
    Yield the names of the tensors in a safetensors file.

    Raises:
        CheckpointError: It is missing, or no such file.
    """
    try:
        with file.open('rb') as stream:
            (size,) = struct.unpack('<Q', stream.read(8))
            if size > _LARGEST_HEADER:
                msg = f'its header has {size} bytes'
                raise ValueError(msg)
            names = json.loads(stream.read(size))
    except (OSError, ValueError, struct.error) as error:
        raise CheckpointError(f'{file}: not a safetensors file ({error})') from error
    yield from (name for name in names if name != '__metadata__')
