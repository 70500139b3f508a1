# SPDX-License-Identifier: Apache-2.0
"""
Where and how a policy runs: device, half precision, compiled.

Outside everything stays in single precision on the CPU; a sampler works on the device, in single
precision, since its steps add up and cost little.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from async_chunking.errors import AsyncChunkingError
from async_chunking.policies.base import (
    ChunkPolicy,
    Encoding,
    FlowPolicy,
    Observation,
    WrappedPolicy,
)

PRECISIONS = ('float32', 'bfloat16', 'float16')


class PlacementError(AsyncChunkingError):
    """A policy cannot run where or how it was asked to."""


@dataclass(frozen=True)
class Placement:
    """
    Where and how.

    Attributes:
        device: As torch names it.
        precision: Precision of large weights and of products of matrices. Norms, biases and sums
            stay in single precision.
        compiled: Whether the velocity goes through `torch.compile`, which takes minutes at first
            and again for each new batch size, and with gradients.
    """

    device: str = 'cpu'
    precision: Literal[PRECISIONS] = 'float32'
    compiled: bool = False

    def check(self) -> None:
        """
        Refuse a device that is not there.

        Raises:
            PlacementError: Names it.
        """
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition('\n')[0]
            msg = f"device '{self.device}' cannot be used: {reason}; set device:=cpu"
            raise PlacementError(msg) from error


Policy = TypeVar('Policy', FlowPolicy, ChunkPolicy)


def place(policy: Policy, placement: Placement) -> Policy:
    """
    Return a policy that runs as it should; its weights are on the device already.

    Raises:
        PlacementError: It has no velocity to compile.
    """
    if placement == Placement():
        return policy
    if isinstance(policy, FlowPolicy):
        return Placed(policy, placement)
    if placement.compiled:
        msg = f'compile:=true needs a policy with a velocity; {type(policy).__name__} has none'
        raise PlacementError(msg)
    return PlacedChunk(policy, placement)


class Placed(WrappedPolicy):
    """A flow policy that runs as it should; see `place`."""

    def __init__(self, policy: FlowPolicy, placement: Placement) -> None:
        super().__init__(policy)
        self._placement = placement
        _halve(policy.networks(), placement)
        self._velocity = torch.compile(policy.velocity) if placement.compiled else policy.velocity

    def encode(self, observation: Observation) -> Encoding:
        """Encode on the device."""
        with _precision(self._placement):
            return super().encode(_moved(observation, self._placement))

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the velocity [B, H, D] in single precision."""
        with _precision(self._placement):
            return self._velocity(actions, flow_time, encoding).float()

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Move actions [B, R, D] to the device."""
        actions = actions.to(self._placement.device)
        return super().normalize(actions, _moved(observation, self._placement))

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Move actions [B, R, D] back."""
        return super().denormalize(actions, _moved(observation, self._placement)).cpu()


class PlacedChunk(ChunkPolicy):
    """A chunk policy that runs as it should; see `place`."""

    def __init__(self, policy: ChunkPolicy, placement: Placement) -> None:
        self._policy = policy
        self._placement = placement
        self.horizon = policy.horizon
        self.action_dim = policy.action_dim
        self.offers = policy.offers
        _halve(policy.networks(), placement)

    def chunk(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Return a chunk [B, H, D] on the CPU, in single precision."""
        with _precision(self._placement):
            chunk = self._policy.chunk(_moved(observation, self._placement), generator)
        return chunk.float().cpu()

    def networks(self) -> tuple[nn.Module, ...]:
        """Pass through."""
        return self._policy.networks()


def _precision(placement: Placement) -> contextlib.AbstractContextManager[Any]:
    """Let torch choose what is safe in half precision."""
    if placement.precision == 'float32':
        return contextlib.nullcontext()
    kind = torch.device(placement.device).type
    return torch.autocast(kind, getattr(torch, placement.precision))


def _halve(networks: tuple[nn.Module, ...], placement: Placement) -> None:
    """Store matrices in half precision: reading them is what a velocity takes its time for."""
    if placement.precision == 'float32':
        return
    for network in networks:
        for weights in network.parameters():
            if weights.ndim > 1 and weights.dtype == torch.float32:
                weights.data = weights.data.to(getattr(torch, placement.precision))


def _moved(observation: Observation, placement: Placement) -> Observation:
    device = placement.device
    return {n: v.to(device) if isinstance(v, Tensor) else v for n, v in observation.items()}
