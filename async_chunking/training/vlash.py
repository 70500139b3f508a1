# SPDX-License-Identifier: Apache-2.0
"""
Recipe `vlash`: future-state awareness (arXiv 2512.01031).

The base policy learns to plan from the state in which the robot will be, with what is seen now:
for an offset k, state and actions are those of k steps later, the rest of the observation stays.
The state of k > 0 is the action before, for that is what is known of it while the robot runs.

In the paper a picture is seen, which shows the robot where it is now. Numbers that are relative to
the robot lose their meaning once its state is another's, so the measured state stays beside the
later one, as `observation.seen_state`; `keep_state=false` leaves it out.

With `shared` all offsets of a frame form branches over one observation; see the transformer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from async_chunking.policies.base import Encoding, repeat_each
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.normalizer import STATE
from async_chunking.policies.networks.transformer import TransformerArchitecture
from async_chunking.policies.source import SEEN_STATE
from async_chunking.training.flow_recipe import (
    FlowRecipe,
    check_delay,
    check_positions,
    interpolate,
)
from async_chunking.training.recipe import Draws, TrainConfig, TrainingError
from async_chunking.training.windows import Windows


class VlashConfig(TrainConfig):
    """
    Configuration of the recipe.

    Attributes:
        max_delay: Largest offset to learn [steps], inclusive.
        keep_state: The policy reads the measured state too; its network gets inputs for it.
        mask_end: Rows past an episode's end do not count, as in the paper's code. Without it they
            learn to hold the last action, which a robot that is late there needs.
        shared: Train all offsets of a frame at once; the base must be a transformer. The batch
            then has `batch_size` frames, each with `max_delay` + 1 chunks.
    """

    steps: int = Field(default=6000, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0.0)
    max_delay: int = Field(default=8, ge=0)
    keep_state: bool = True
    mask_end: bool = False
    shared: bool = False


class VlashRecipe(FlowRecipe):
    """Fine-tune a flow policy from future states."""

    name = 'vlash'
    config: VlashConfig

    def prepare(self) -> None:
        """Load the base."""
        self.start_from_base()
        check_positions(self.inputs.data, 'vlash takes future actions for states')
        check_delay('max_delay', self.config.max_delay, self.policy.horizon)
        if self.config.keep_state:
            self.policy = widened(self.policy, SEEN_STATE, like=STATE)
            self.network = self.policy.network
        architecture = getattr(self.policy, 'architecture', self.policy)
        if self.config.shared and not isinstance(architecture, TransformerArchitecture):
            kind = type(architecture).__name__
            msg = f'shared needs a transformer; {self.inputs.base} is a {kind}'
            raise TrainingError(msg)

    def draw(
        self, windows: Windows, count: int, progress: float, generator: torch.Generator
    ) -> Draws:
        """Draw frames, and for each branch an offset, noise and a flow time."""
        del progress  # Unused.
        offsets = self.config.max_delay + 1
        branches = offsets if self.config.shared else 1
        shape = (count, branches, self.policy.horizon, self.width)
        every = torch.arange(offsets).expand(count, -1)
        some = torch.randint(offsets, (count, 1), generator=generator)
        return {
            'frame': windows.pick(count, generator),
            'offset': every if self.config.shared else some,
            'noise': torch.randn(shape, generator=generator),
            'flow_time': torch.rand(shape[:2], generator=generator),
        }

    def losses(self, network: nn.Module, windows: Windows, draws: Draws) -> Tensor:
        """Return the mean squared error of the velocity, per frame [b]."""
        actions, encoding = self.later_example(windows, draws['frame'], draws['offset'])
        branches = draws['flow_time'].shape
        x, target = interpolate(
            draws['noise'].flatten(0, 1), actions.flatten(0, 1), draws['flow_time'].flatten()
        )
        if self.config.shared:
            velocity = network(x.unflatten(0, branches), draws['flow_time'], encoding)
        else:
            flat = encoding.flatten(0, 1) if isinstance(encoding, Tensor) else encoding
            velocity = network(x, draws['flow_time'].flatten(), flat)
        error = self.columns(velocity.reshape(target.shape) - target)
        start = windows.later(draws['frame'].cpu()[:, None], draws['offset'].cpu()).flatten()
        mask = self.counted(windows, start.to(error.device))
        rows = error.square().mean(-1) * mask
        return (rows.sum(1) / mask.sum(1).clamp(min=1)).unflatten(0, branches).mean(1)

    def later_example(
        self, windows: Windows, frame: Tensor, offset: Tensor
    ) -> tuple[Tensor, Encoding]:
        """
        Return chunks [b, K, H, D], normalised, and their encodings, for offsets [b, K].

        Encodings are [b, K, O]; those that are no tensor have a batch of b K.
        """
        frame, offset = frame.cpu(), offset.cpu()
        frames = frame[:, None].expand_as(offset)
        start = windows.later(frames, offset)
        seen = windows.observation(frame)
        before = windows.later(frames, (offset - 1).clamp(min=0))
        known = windows.chunk(before.flatten(), 1).reshape(*offset.shape, -1)
        state = torch.where(offset[..., None] > 0, known, seen[STATE][:, None])
        flat = self.moved({n: _each(v, offset.shape[1]) for n, v in seen.items()})
        flat[SEEN_STATE] = flat[STATE]
        flat[STATE] = state.flatten(0, 1).to(self.device)
        actions = windows.chunk(start.flatten(), self.policy.horizon).to(self.device)
        actions = windows.near(actions, flat[STATE])
        normalized, encoding = self.policy.normalize(actions, flat), self.encoded(flat)
        if isinstance(encoding, Tensor):
            encoding = encoding.unflatten(0, offset.shape)
        return normalized.unflatten(0, offset.shape), encoding

    def counted(self, windows: Windows, frame: Tensor) -> Tensor:
        """Return which rows count [b, H]: those before the end of their episodes."""
        return self.counted_before_end(windows, frame, self.config.mask_end)

    @property
    def delay_range(self) -> tuple[int, int]:
        """Delays that the policy is trained for [steps]."""
        return (0, self.config.max_delay)


def widened(policy: NetworkPolicy, name: str, like: str) -> NetworkPolicy:
    """
    Return the policy with one more observed feature, which it does not heed yet.

    Args:
        policy: Stays as it is.
        name: Name of the feature.
        like: Feature whose size and scale it has.
    """
    old = policy.architecture
    size = dict(old.observation)[like]
    architecture = replace(old, observation=(*old.observation, (name, size)))
    network = architecture.build()
    weights = {}
    for key, fresh in network.state_dict().items():
        known = policy.network.state_dict()[key]
        weights[key] = torch.zeros_like(fresh)
        weights[key][tuple(map(slice, known.shape))] = known
    network.load_state_dict(weights)
    statistics = policy.normalizer.statistics
    features = {**statistics.features, name: statistics.features[like]}
    device = next(policy.network.parameters()).device
    return NetworkPolicy(
        architecture,
        network.to(device),
        statistics.model_copy(update={'features': features}),
        policy.num_steps,
    )


def _each(values: Any, times: int) -> Any:
    """Return each element of a batch several times, adjacent to each other; words too."""
    if isinstance(values, Tensor):
        return repeat_each(values, times)
    return [value for value in values for _ in range(times)]
