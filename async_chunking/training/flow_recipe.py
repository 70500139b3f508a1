# SPDX-License-Identifier: Apache-2.0
"""What the recipes of policies share: examples, noise, a base to start from, saving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from async_chunking.dataset.reading import Demonstrations, check_order
from async_chunking.policies.base import Encoding
from async_chunking.policies.checkpoint.sidecar import read_sidecar
from async_chunking.policies.checkpoint.weights import load_policy, save_policy
from async_chunking.policies.networks.network import NetworkPolicy
from async_chunking.policies.networks.normalizer import STATE
from async_chunking.samplers.base import field, integrate
from async_chunking.training.recipe import Draws, Recipe, TrainingError, TrainingInputs
from async_chunking.training.windows import Windows


class FlowRecipe(Recipe):
    """
    A recipe around a `NetworkPolicy`.

    Attributes:
        policy: Whose network is trained; normalises and encodes.
    """

    policy: NetworkPolicy

    def start_from_base(self) -> None:
        """
        Take policy and network from the base checkpoint.

        Raises:
            TrainingError: There is none, or it is for other data.
        """
        self.policy = load_base(self.inputs, self.device)
        self.network = self.policy.network.requires_grad_(True)

    def draw_flow(self, windows: Windows, count: int, generator: torch.Generator) -> Draws:
        """Draw frames [B], noise [B, H, D] and flow times [B]."""
        shape = (count, self.policy.horizon, self.width)
        return {
            'frame': windows.pick(count, generator),
            'noise': torch.randn(shape, generator=generator),
            'flow_time': torch.rand(count, generator=generator),
        }

    def example(self, windows: Windows, frame: Tensor) -> tuple[Tensor, Encoding]:
        """Return the demonstrated chunk [b, H, D], normalised, and the features of its frame."""
        frame = frame.cpu()
        observation = self.moved(windows.observation(frame))
        actions = windows.chunk(frame, self.policy.horizon).to(self.device)
        return self.policy.normalize(actions, observation), self.encoded(observation)

    def moved(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Return an observation on the recipe's device; words stay where they are."""
        return {
            name: values.to(self.device) if isinstance(values, Tensor) else values
            for name, values in observation.items()
        }

    def encoded(self, observation: dict[str, Any]) -> Encoding:
        """Return what the network is given of an observation."""
        return self.policy.features(observation)

    @property
    def width(self) -> int:
        """Columns of the network's actions; some networks have more than the robot."""
        return self.policy.action_dim

    def columns(self, values: Tensor) -> Tensor:
        """Return the robot's columns [..., D] of the network's [..., width]; only they count."""
        return values[..., : self.policy.action_dim]

    def counted(self, windows: Windows, frame: Tensor) -> Tensor:
        """
        Return which rows of the chunks from frames [b] on count in the loss [b, H]: all.

        After an episode's end its last action stays, which holds a position-controlled robot.
        """
        del windows  # Unused.
        return torch.ones(len(frame), self.policy.horizon, dtype=torch.bool, device=frame.device)

    def counted_before_end(self, windows: Windows, frame: Tensor, mask_end: bool) -> Tensor:
        """Return which rows of the chunks from frames [b] on are before the end, or all [b, H]."""
        if not mask_end:
            return FlowRecipe.counted(self, windows, frame)
        return windows.before_end(frame.cpu(), self.policy.horizon).to(frame.device)

    @property
    def learned(self) -> NetworkPolicy:
        """The policy that is saved, with the weights that were trained."""
        return self.policy

    @property
    def delay_range(self) -> tuple[int, int] | None:
        """Delays that the policy is trained for [steps]."""
        return None

    def save(self, path: Path, weights: Mapping[str, Tensor], training: dict[str, Any]) -> None:
        """Write the policy with these weights."""
        learned = self.learned
        network = learned.architecture.build()
        network.load_state_dict({k: v.cpu() for k, v in weights.items()})
        statistics, num_steps = learned.normalizer.statistics, learned.num_steps
        policy = type(learned)(learned.architecture, network, statistics, num_steps)
        facts = {**self.inputs.facts, 'delay_range': self.delay_range, 'training': training}
        recipe = path.name if path.name == 'weak' else self.name
        save_policy(path, policy, recipe, **facts)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same to resume; the base too."""
        return {**super().identity, 'base': base_identity(self.inputs)}


def base_identity(inputs: TrainingInputs) -> str | None:
    """Return the digest of the base's weights, None without a base."""
    return read_sidecar(inputs.base).weights_sha256 if inputs.base is not None else None


def load_base(inputs: TrainingInputs, device: torch.device) -> NetworkPolicy:
    """
    Load the checkpoint that a recipe starts from.

    Raises:
        TrainingError: None was named, or it is for other joints or observations than the data.
    """
    if inputs.base is None:
        msg = 'this recipe starts from a trained policy: name its checkpoint with --base DIR/flow'
        raise TrainingError(msg)
    policy, data = load_policy(inputs.base, device), inputs.data
    if policy.action_dim != data.action_dim:
        msg = f'{inputs.base} has {policy.action_dim} joints, {data.source} {data.action_dim}'
        raise TrainingError(msg)
    if policy.normalizer.relative:
        check_positions(data, f'{inputs.base} has actions relative to the state')
    for name, size in policy.architecture.observation:
        column = data.observations.get(name)
        if column is None or column.shape[1] != size:
            there = {n: v.shape[1] for n, v in data.observations.items()}
            msg = f'{inputs.base} reads {name} [{size}], {data.source} has {there}'
            raise TrainingError(msg)
    return policy


def check_positions(data: Demonstrations, reason: str) -> None:
    """
    Refuse data whose actions cannot be positions of what is measured.

    Raises:
        TrainingError: State and action differ in size; gives the reason why they must not.
        DataError: They have the same joints in another order.
    """
    check_order(data, 'action', data.joint_names)
    state = data.observations[STATE].shape[1]
    if state != data.action_dim:
        msg = f'{data.source}: {STATE} has {state} numbers, action {data.action_dim}; {reason}'
        raise TrainingError(msg)


def check_delay(name: str, delay: int, horizon: int) -> None:
    """
    Refuse a largest delay that leaves nothing to learn.

    Raises:
        TrainingError: It is not 0 to `horizon` - 1.
    """
    if not 0 <= delay < horizon:
        msg = f'{name} = {delay}: it must be 0 to {horizon - 1}, the horizon less one'
        raise TrainingError(msg)


def draw_near(
    policy: NetworkPolicy, encoding: Encoding, noise: Tensor, wanted: Tensor, start: float
) -> Tensor:
    """
    Return chunks [B, H, D] of the policy that do it more or less as wanted, normalised.

    Args:
        policy: Draws.
        encoding: Encoding of what was seen.
        noise: [B, H, D].
        wanted: [B, H, D], normalised.
        start: Flow time at which the policy begins, that far on the straight way from the noise
            to what is wanted; 0 draws any chunk.
    """
    velocity = field(policy, encoding)

    def rest(x: Tensor, share: float) -> Tensor:
        """Return the velocity over what is left of the flow time, which is cut to 1."""
        return (1.0 - start) * velocity(x, start + (1.0 - start) * share)

    return integrate(rest, torch.lerp(noise, wanted, start), policy.num_steps)


def interpolate(noise: Tensor, actions: Tensor, flow_time: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the point on the way from noise to actions, and the velocity there.

    Args:
        noise: [B, H, D].
        actions: [B, H, D].
        flow_time: [B], or [B, H] for one per row.
    """
    t = flow_time.reshape(len(flow_time), -1, 1)
    return (1.0 - t) * noise + t * actions, actions - noise


def postfix(delay: Tensor, horizon: int) -> Tensor:
    """Return the mask [B, H] of the rows from each delay [B] on."""
    return torch.arange(horizon, device=delay.device) >= delay[:, None]
