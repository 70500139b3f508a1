# SPDX-License-Identifier: Apache-2.0
"""
LeRobot's policies as ours: its networks, and its processors on both sides of them.

How a policy of LeRobot encodes an observation differs from one to the next, and from release to
release. What the flow policies share is that they encode once and then call `denoise_step` with
all that they kept. So encoding is their own code, run as far as that call.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from async_chunking.policies.base import (
    ChunkPolicy,
    Encoding,
    FlowPolicy,
    Observation,
    repeat_each,
)
from async_chunking.policies.checkpoint.sidecar import CheckpointError
from async_chunking.policies.lerobot.checkpoint import FLOWS, TRAINED_DELAY, LeRobotCheckpoint
from async_chunking.policies.lerobot.processors import Processors
from async_chunking.policies.lerobot.row_times import RowTimes
from async_chunking.policies.lerobot.steps import check_steps
from async_chunking.policies.reversed import Reversed
from async_chunking.storage import write_json


class LeRobotFlow(FlowPolicy):
    """
    π0, π0.5 or SmolVLA in their own time, 1 at noise and 0 at actions.

    Args:
        policy: LeRobot's.
        processors: LeRobot's processors of the policy.
        source: Whose shapes it has.
    """

    def __init__(self, policy: Any, processors: Processors, source: LeRobotCheckpoint) -> None:
        self._policy = policy
        self._processors = processors
        self._width = policy.config.max_action_dim
        self._times = RowTimes(policy.model)
        self.horizon = source.horizon
        self.action_dim = source.action_dim
        self.num_steps = source.num_steps
        self.offers = source.offers

    def encode(self, observation: Observation) -> Encoding:
        """Return the arguments of the denoising step that the steps of a request share."""
        batch = self._processors.observation(observation)
        return _before_first_step(self._policy, batch)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity from actions to noise [B, H, D'] of one denoising step."""
        with self._times.given(flow_time) as timestep:
            return self._policy.model.denoise_step(x_t=actions, timestep=timestep, **encoding)

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] with zeros in the columns that the network has to spare."""
        if actions.shape[1]:
            actions = self._processors.actions(actions, observation)
        return functional.pad(actions, (0, self._width - actions.shape[-1]))

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Return actions [B, R, D] in robot units, relative to the observation encoded last."""
        del observation  # LeRobot's preprocessor remembers it.
        return self._processors.positions(actions)

    def networks(self) -> tuple[nn.Module, ...]:
        """Return LeRobot's policy."""
        return (self._policy,)

    def repeat(self, encoding: Encoding, samples: int) -> Encoding:
        """Return the encoding for `samples` draws; a cache of transformers is copied."""
        return pytree.tree_map(lambda leaf: _repeated(leaf, samples), encoding, is_leaf=_is_cache)


class LeRobotChunk(ChunkPolicy):
    """
    ACT or diffusion: a chunk and no velocity.

    A diffusion policy reads observations of several moments, [B, n, ...]; where it gets that of
    one, as when it is warmed up, this stands for all of them.
    """

    def __init__(self, policy: Any, processors: Processors, source: LeRobotCheckpoint) -> None:
        self._policy = policy
        self._processors = processors
        self.horizon = source.horizon
        self.action_dim = source.action_dim
        self.offers = source.offers

    @torch.no_grad()
    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Return a chunk [B, H, D] in robot units."""
        batch = self._processors.observation(observation)
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with torch.random.fork_rng():  # LeRobot draws from the global generators.
            torch.manual_seed(seed)
            return self._processors.positions(self._chunk(batch))

    def networks(self) -> tuple[nn.Module, ...]:
        """Return LeRobot's policy."""
        return (self._policy,)

    def _chunk(self, batch: dict[str, Any]) -> Tensor:
        if self._policy.name != 'diffusion':
            return self._policy.predict_action_chunk(batch)
        steps = self._policy.config.n_obs_steps
        seen = {n: _history(v, steps, n) for n, v in batch.items() if isinstance(v, Tensor)}
        cameras = [seen.pop(name) for name in self._policy.config.image_features]
        if cameras:
            seen['observation.images'] = torch.stack(cameras, dim=2)
        return self._policy.diffusion.generate_actions(seen)


def load(
    source: LeRobotCheckpoint, device: torch.device | str = 'cpu'
) -> FlowPolicy | ChunkPolicy:
    """
    Load a checkpoint in evaluation mode.

    Raises:
        CheckpointError: There is no lerobot here, or the checkpoint is not complete.
    """
    check_steps(source.path)  # Before LeRobot builds what the files name.
    try:
        import lerobot.policies.factory  # noqa: F401
    except ImportError as error:
        msg = f'{sys.executable} cannot import lerobot ({error}); make setup-lerobot, and add '
        raise CheckpointError(msg + 'policy_python:=.venv-lerobot/bin/python') from error
    try:
        policy, before, after = _load(source, str(device))
    except Exception as error:  # Whatever foreign code raises.
        raise CheckpointError(f'{source.path}: LeRobot cannot load it: {_chain(error)}') from error
    _check_loaded(policy, source)
    policy.to(device).eval().requires_grad_(False)
    processors = Processors(before, after, source.expects, source.action_dim)
    if source.type in FLOWS:
        return Reversed(LeRobotFlow(policy, processors, source))
    return LeRobotChunk(policy, processors, source)


def _chain(error: BaseException | None) -> str:
    """Return what went wrong and why, down to the first cause."""
    reasons = []
    while error is not None and len(reasons) < 5:
        reasons.append(str(error) or type(error).__name__)
        error = error.__cause__ or error.__context__
    return '; because: '.join(dict.fromkeys(reasons))


def _load(source: LeRobotCheckpoint, device: str) -> tuple[Any, Any, Any]:
    """Return LeRobot's policy, preprocessor and postprocessor."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = _config(PreTrainedConfig, source)
    config.device = device
    config.pretrained_path = source.path
    for key, value in _OURS.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if source.type == 'diffusion':
        config.n_action_steps = source.horizon
    policy = get_policy_class(source.type).from_pretrained(source.path, config=config)
    processors = make_pre_post_processors(
        config,
        pretrained_path=str(source.path),
        preprocessor_overrides={'device_processor': {'device': device}},
    )
    return policy, *processors


def _config(known: Any, source: LeRobotCheckpoint) -> Any:
    """Return LeRobot's configuration, without what only training needs and this release lacks."""
    from lerobot.policies.factory import make_policy_config

    if TRAINED_DELAY not in source.config or hasattr(
        make_policy_config(str(source.type)), TRAINED_DELAY
    ):
        return known.from_pretrained(source.path)
    kept = {key: value for key, value in source.config.items() if key != TRAINED_DELAY}
    with tempfile.TemporaryDirectory() as folder:
        write_json(kept, Path(folder) / 'config.json')
        return known.from_pretrained(folder)


# What the policy node does itself, or what must not be fetched while a robot waits.
_OURS = {
    'rtc_config': None,
    'compile_model': False,
    'load_vlm_weights': False,
    'pretrained_backbone_weights': None,
}


def _check_loaded(policy: Any, source: LeRobotCheckpoint) -> None:
    """Refuse weights that were left at random, which LeRobot only prints."""
    from safetensors import safe_open

    with safe_open(source.path / 'model.safetensors', 'pt') as file:
        sizes = {
            name: torch.empty(file.get_slice(name).get_shape(), device='meta')
            for name in file.keys()  # noqa: SIM118
        }
    # Official checkpoints name some weights otherwise, or leave out one of two that are the same.
    if hasattr(policy, '_fix_pytorch_state_dict_keys'):
        sizes = policy._fix_pytorch_state_dict_keys(sizes, policy.config)
    saved = {name.removeprefix('model.'): tuple(each.shape) for name, each in sizes.items()}
    state = policy.state_dict(keep_vars=True)
    loaded = {
        values.data_ptr()
        for name, values in state.items()
        if saved.get(name.removeprefix('model.')) == tuple(values.shape)
    }
    for name, values in state.items():
        if values.data_ptr() not in loaded:  # Weights that share memory are saved once.
            weight = saved.get(name.removeprefix('model.'))
            wanted = f'{name} {list(values.shape)}'
            msg = f'{source.path / "model.safetensors"} lacks {wanted}'
            raise CheckpointError(f'{msg}, it has {list(weight)}' if weight is not None else msg)


class _ReachedError(Exception):
    """Carries the arguments of the first denoising step out of LeRobot's code."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments


def _before_first_step(policy: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the denoising step but for the actions and the time."""

    def stop(**arguments: Any) -> Tensor:
        raise _ReachedError(arguments)

    policy.model.denoise_step = stop  # Hides the method until it is deleted again.
    try:
        policy.predict_action_chunk(batch)
    except _ReachedError as reached:
        return {n: v for n, v in reached.arguments.items() if n not in ('x_t', 'timestep')}
    finally:
        del policy.model.denoise_step
    msg = f'{type(policy).__name__} never called denoise_step; this release of lerobot is unknown'
    raise CheckpointError(msg)


def _is_cache(leaf: Any) -> bool:
    return hasattr(leaf, 'batch_repeat_interleave')


def _repeated(leaf: Any, samples: int) -> Any:
    if isinstance(leaf, Tensor):
        return repeat_each(leaf, samples)
    if _is_cache(leaf):
        leaf = copy.deepcopy(leaf)
        leaf.batch_repeat_interleave(samples)
    return leaf


def _history(values: Tensor, steps: int, name: str) -> Tensor:
    """Return [B, n, ...]; the present observation stands for a past that is not given."""
    plain = 4 if 'image' in name else 2
    if values.ndim > plain:
        return values
    return values[:, None].expand(-1, steps, *values.shape[1:])
