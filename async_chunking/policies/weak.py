# SPDX-License-Identifier: Apache-2.0
"""A policy with a weaker checkpoint of itself, for methods that contrast the two."""

from __future__ import annotations

from torch import Tensor

from async_chunking.policies.base import Encoding, FlowPolicy, Observation


class WithWeak(FlowPolicy):
    """
    Is the strong policy in all respects, and carries the weak one along.

    An encoding is the pair of both policies' encodings, since each has an encoder of its own.

    Attributes:
        strong: The policy itself.
        weak: Less trained, with chunks of the same shape and normalisation.
    """

    def __init__(self, strong: FlowPolicy, weak: FlowPolicy) -> None:
        self.strong = strong
        self.weak = weak
        self.horizon = strong.horizon
        self.action_dim = strong.action_dim
        self.num_steps = strong.num_steps
        self.offers = strong.offers | {'weak_policy'}

    def encode(self, observation: Observation) -> Encoding:
        """Return both encodings."""
        return self.strong.encode(observation), self.weak.encode(observation)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the strong policy's velocity."""
        return self.strong.velocity(actions, flow_time, encoding[0])

    def normalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Pass through to the strong policy."""
        return self.strong.normalize(actions, observation)

    def denormalize(self, actions: Tensor, observation: Observation) -> Tensor:
        """Pass through to the strong policy."""
        return self.strong.denormalize(actions, observation)

    def repeat(self, encoding: Encoding, samples: int) -> Encoding:
        """Repeat each encoding as its policy does."""
        strong, weak = encoding
        return self.strong.repeat(strong, samples), self.weak.repeat(weak, samples)
