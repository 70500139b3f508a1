# SPDX-License-Identifier: Apache-2.0
"""
What a checkpoint says about itself: the JSON file beside its weights. Never imports torch.

A checkpoint is two files, `flow.safetensors` and `flow.json`. The JSON names the recipe, the
architecture, the normalisation, the data and the versions, and holds the SHA-256 of the weights,
so that a torn or exchanged file is noticed before it moves a robot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from async_chunking.errors import AsyncChunkingError
from async_chunking.settings import Settings, validated
from async_chunking.storage import POINTER_HINT, is_pointer, read_file, read_json, sha256

FORMAT = 1
_LEAST = 1e-30  # Of a scale: it and what is divided by it are numbers in single precision too.
_WEIGHTS = 1 << 36  # [bytes].


class CheckpointError(AsyncChunkingError):
    """A checkpoint is missing, torn, of another make, or does not fit what is asked of it."""


class FeatureScale(Settings):
    """
    One feature's affine normalisation: network value = (value - offset) / scale, per dimension.

    Attributes:
        offset: Mean, or middle of the range [rad, m].
        scale: Standard deviation, or half the range; never zero, in single precision either
            [rad, m].
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @model_validator(mode='after')
    def _invertible(self) -> FeatureScale:
        small = all(_LEAST < value < 1.0 / _LEAST for value in self.scale)
        small &= all(abs(value) < 1.0 / _LEAST for value in self.offset)
        if len(self.offset) != len(self.scale) or not small:
            msg = (
                f'offset and scale must be of equal length, every scale above {_LEAST:g} and '
                f'every number below {1.0 / _LEAST:g}'
            )
            raise ValueError(msg)
        return self


class Normalization(Settings):
    """
    How robot units become the network's.

    Attributes:
        kind: What the numbers are.
        actions: 'absolute', or 'relative' to the observed joint positions.
        features: Name -> scale; of every observation the network reads, and of 'action'.
    """

    kind: Literal['mean_std', 'min_max']
    actions: Literal['absolute', 'relative']
    features: dict[str, FeatureScale]


class DataSource(Settings):
    """What it was trained on; the fingerprint is the SHA-256 of the demonstrations' numbers."""

    fingerprint: str = ''
    episodes: int = Field(default=0, ge=0)
    frames: int = Field(default=0, ge=0)


class Sidecar(Settings):
    """
    All that is known of a checkpoint without loading it.

    Attributes:
        format: Format of this file.
        recipe: How it was trained, a name of `training.command.RECIPES`, or weak.
        task: Name of the task, or of the data.
        robot: Name of the embodiment.
        joint_names: [D] in command order; empty if unknown.
        policy_rate_hz: Rows of a chunk per second.
        num_steps: Solver steps that it is meant to be sampled with.
        architecture: The network's 'name' and what is needed to build it.
        normalization: Robot units to the network's.
        delay_range: Smallest and largest delay it was trained for [steps]; None if it knows none.
        data: What it was trained on.
        training: Configuration of the recipe, loss history, duration.
        versions: Versions of this package and of its libraries.
        weights_sha256: Digest of the weights' file.
    """

    format: Literal[1] = FORMAT
    recipe: str
    task: str = ''
    robot: str = ''
    joint_names: tuple[str, ...] = ()
    policy_rate_hz: float = Field(default=50.0, gt=0.0)
    num_steps: int = Field(default=5, ge=1)
    architecture: dict[str, Any]
    normalization: Normalization
    delay_range: tuple[int, int] | None = None
    data: DataSource = DataSource()
    training: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = ''

    @field_validator('architecture')
    @classmethod
    def _sized(cls, architecture: dict[str, Any]) -> dict[str, Any]:
        sizes = [architecture.get(key) for key in ('horizon', 'action_dim')]
        whole = all(type(size) is int and size > 0 for size in sizes)
        if not whole or not _pairs(architecture.get('observation')):
            msg = (
                'it must have horizon and action_dim, whole numbers above 0, and observation, a '
                'list of names with sizes'
            )
            raise ValueError(msg)
        return architecture

    @model_validator(mode='after')
    def _agreeing(self) -> Sidecar:
        names, columns = self.joint_names, self.architecture['action_dim']
        if names and (len(names), len(set(names))) != (columns, columns):
            msg = f'joint_names has {len(set(names))} different names, action_dim is {columns}'
            raise ValueError(msg)
        low, high = self.delay_range or (0, 0)
        if not 0 <= low <= high:
            msg = f'delay_range is {low} to {high}; it must be the smallest and the largest delay'
            raise ValueError(msg)
        return self

    def dump(self) -> bytes:
        """Return the JSON file."""
        return (self.model_dump_json(indent=1) + '\n').encode()


def _pairs(values: Any) -> bool:
    """Return whether these are names with sizes."""
    return isinstance(values, (list, tuple)) and all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and isinstance(pair[0], str)
        and type(pair[1]) is int
        and pair[1] > 0
        for pair in values
    )


def weights_path(path: Path | str) -> Path:
    """Return the weights' file of a checkpoint given as `DIR/flow`, `.safetensors` or `.json`."""
    path = Path(path)
    known = path.suffix in {'.safetensors', '.json'}
    return (
        path.with_suffix('.safetensors') if known else path.with_name(f'{path.name}.safetensors')
    )


def read_sidecar(path: Path | str) -> Sidecar:
    """
    Read a checkpoint's JSON.

    Raises:
        CheckpointError: It is missing, or no JSON.
        SettingsError: A key has a wrong value; names file, key, value and what is allowed.
    """
    file = weights_path(path).with_suffix('.json')
    try:
        values = read_json(file)
    except OSError as error:
        near = ', '.join(sorted(p.stem for p in file.parent.glob('*.json'))) or 'none'
        msg = f'no checkpoint at {file} ({error.strerror}). Checkpoints there: {near}'
        raise CheckpointError(msg) from error
    except ValueError as error:
        what = (
            f'is {POINTER_HINT}'
            if is_pointer(read_file(file))
            else f'is torn or no JSON ({error})'
        )
        msg = f'{file} {what}. Restore it with its weights from one source'
        raise CheckpointError(msg) from error
    return validated(Sidecar, values, file)


def read_weights(path: Path | str, sidecar: Sidecar) -> bytes:
    """
    Read a checkpoint's weights and compare them with the sidecar's digest.

    Raises:
        CheckpointError: The file is missing, or torn, or belongs to another sidecar.
    """
    file = weights_path(path)
    try:
        content = read_file(file, _WEIGHTS)
    except OSError as error:
        msg = f'{file}: {error.strerror}; it belongs to {file.with_suffix(".json").name}'
        raise CheckpointError(msg) from error
    if is_pointer(content):
        raise CheckpointError(f'{file} is {POINTER_HINT}')
    if (digest := sha256(content)) != sidecar.weights_sha256:
        msg = (
            f'{file}: weights_sha256 is {digest[:12]}... but {file.with_suffix(".json").name} says'
            f' {sidecar.weights_sha256[:12]}...: the file is torn, or one of the two was '
            f'exchanged. Restore both from one source'
        )
        raise CheckpointError(msg)
    return content
