# SPDX-License-Identifier: Apache-2.0
"""
Whether a LeRobot checkpoint has the statistics that its numbers are normalised with.

LeRobot passes a feature without statistics through as it is, and computes with whatever the
statistics are: a policy that answers in standard deviations then moves a robot by radians. So the
files are looked at before anything is loaded. Never imports torch or lerobot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.tensors import read_tensors
from async_chunking.storage import read_json

ACTION = 'action'
# Mode of normalisation -> the statistics that it computes with.
NEEDED = {
    'MEAN_STD': ('mean', 'std'), 'MIN_MAX': ('min', 'max'), 'QUANTILES': ('q01', 'q99'),
    'QUANTILE10': ('q10', 'q90'), 'IDENTITY': (),
}  # fmt: skip
_NORMALISED = ('STATE', 'ACTION', 'VISUAL')  # Types that LeRobot's configurations have a mode for.
# Processor -> the kind of step that normalises in it, and the features that it is for.
_STEPS = {
    'policy_preprocessor': ('normalizer_processor', 'input_features'),
    'policy_postprocessor': ('unnormalizer_processor', 'output_features'),
}


def check_statistics(folder: Path, config: Mapping[str, Any], plans: bool) -> None:
    """
    Refuse a checkpoint in which a feature that is normalised has no statistics, or wrong ones.

    Args:
        folder: Folder of the checkpoint.
        config: Content of its config.json.
        plans: Plans go to the network as well, through the preprocessor: flow policies have that.

    Raises:
        CheckpointError: Names the file, the feature and what is missing or wrong.
    """
    told = config.get('normalization_mapping') or {}
    both = []
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
        wanted = config[features]
        if features == 'input_features' and plans:
            wanted = {**wanted, ACTION: config['output_features'][ACTION]}
        both.append(_Step.read(file, steps[0]))
        for feature, about in wanted.items():
            both[-1].check(feature, about, told)
    before, after = both
    if plans and before.scale(ACTION) != after.scale(ACTION):
        msg = (
            f'{before.file} and {after.file.name} differ in the statistics of {ACTION}: a plan '
            'would come back as another one; restore both from one source'
        )
        raise CheckpointError(msg)


@dataclass(frozen=True)
class _Step:
    """
    A step that normalises.

    Attributes:
        file: Description of its processor.
        modes: Type of feature -> mode.
        features: Name -> what the step knows of it.
        chosen: Names of those that are normalised; None for all.
        known: `feature.statistic` -> numbers.
        eps: What is added to that which is divided by.
    """

    file: Path
    modes: Mapping[str, str]
    features: Mapping[str, Any]
    chosen: list[str] | None
    known: Mapping[str, np.ndarray]
    eps: float

    @classmethod
    def read(cls, file: Path, step: Mapping[str, Any]) -> _Step:
        """Return a step of a processor file, with the numbers of its own file."""
        options = step.get('config') or {}
        if options.get('stats'):
            msg = f'{file}: config.stats stands before the numbers in state_file; remove it'
            raise CheckpointError(msg)
        eps = options.get('eps', 1e-8)
        if type(eps) not in (int, float) or not 0.0 <= eps < 1.0:
            raise CheckpointError(f'{file}: config.eps is {eps!r}, not a number just above 0')
        state = step.get('state_file')
        return cls(
            file,
            options.get('norm_map') or {},
            options.get('features') or {},
            options.get('normalize_observation_keys'),
            read_tensors(file.parent / str(state)) if state else {},
            float(eps),
        )

    def kind(self, feature: str, about: Mapping[str, Any]) -> str:
        """Return the type that the step takes a feature for."""
        return 'ACTION' if feature == ACTION else self.features.get(feature, about).get('type')

    def mode(self, feature: str, about: Mapping[str, Any]) -> str:
        """Return how a feature is normalised."""
        return self.modes.get(self.kind(feature, about), 'IDENTITY')

    def check(self, feature: str, about: Mapping[str, Any], told: Mapping[str, str]) -> None:
        """Refuse a feature that is not normalised as it is meant to be."""
        mode, kind = self.mode(feature, about), self.kind(feature, about)
        if kind in _NORMALISED and kind not in self.modes and about['type'] not in told:
            have = ', '.join(self.modes) or 'nothing'
            msg = f'{self.file}: norm_map has no {kind}, so {feature} would not be normalised; it '
            raise CheckpointError(f'{msg}has {have}, and config.json no normalization_mapping')
        if mode not in NEEDED:
            msg = f'{self.file}: {feature} is normalised by {mode!r}. Known: {", ".join(NEEDED)}'
            raise CheckpointError(msg)
        if (other := told.get(about['type'], mode)) != mode:
            msg = (
                f'{self.file}: {feature} is normalised by {mode}, but config.json says {other}; '
                'one of the two is of another checkpoint'
            )
            raise CheckpointError(msg)
        if feature != ACTION and self.chosen is not None and feature not in self.chosen:
            return
        if mode != 'IDENTITY' and feature != ACTION and feature not in self.features:
            have = ', '.join(self.features) or 'none'
            msg = f'{self.file}: {feature} is not among the features of the step: {have}; it '
            raise CheckpointError(msg + 'would not be normalised')
        self._check_numbers(feature, mode, about)

    def _check_numbers(self, feature: str, mode: str, about: Mapping[str, Any]) -> None:
        if missing := [s for s in NEEDED[mode] if f'{feature}.{s}' not in self.known]:
            have = ', '.join(sorted({name.rpartition('.')[0] for name in self.known})) or 'none'
            msg = (
                f'{self.file}: {feature} has no {" and no ".join(missing)}, which {mode} needs; '
                f'it would not be normalised. There are statistics of: {have}'
            )
            raise CheckpointError(msg)
        for name in NEEDED[mode]:
            values = self.known[f'{feature}.{name}']
            if reason := _wrong(values, tuple(about['shape']), about['type'] == 'VISUAL'):
                raise CheckpointError(f'{self.file}: {name} of {feature} {reason}')
        if mode == 'MEAN_STD':
            low, high = 0.0, self.known[f'{feature}.std']
        elif NEEDED[mode]:
            low, high = (self.known[f'{feature}.{name}'] for name in NEEDED[mode])
        else:
            return
        if (np.asarray(high - low) < 0.0).any():
            least, most = ('0', 'std') if mode == 'MEAN_STD' else NEEDED[mode]
            msg = f'{self.file}: {most} of {feature} is below {least}, {high.ravel().tolist()}'
            raise CheckpointError(f'{msg:.300}; its signs would be turned round')
        if (np.asarray(high - low, np.float32) + np.float32(self.eps) == 0.0).any():
            msg = f'{self.file}: {feature} never changed in one dimension and config.eps is '
            raise CheckpointError(f'{msg}{self.eps:g}, so it is divided by 0; LeRobot has 1e-08')

    def scale(self, feature: str) -> tuple[Any, ...]:
        """Return mode and numbers of a feature, to compare."""
        mode = self.mode(feature, {})
        numbers = (self.known[f'{feature}.{name}'] for name in NEEDED[mode])
        return mode, *(values.astype(np.float32).ravel().tolist() for values in numbers)


def _wrong(values: np.ndarray, shape: tuple[int, ...], picture: bool) -> str:
    """Return what is wrong with one statistic of a feature of some shape, empty if nothing is."""
    # One number for all would be spread over them.
    fits = (
        ((shape[0],), (shape[0], 1, 1), (1, shape[0], 1, 1)) if picture else (shape, (1, *shape))
    )
    if values.shape not in fits:
        return f'has shape {list(values.shape)}, the feature has {list(shape)}'
    if not np.isfinite(values.astype(np.float32)).all():
        return f'has numbers that are not finite: {values.ravel().tolist()!s:.200}'
    return ''


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
