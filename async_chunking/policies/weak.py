# SPDX-License-Identifier: Apache-2.0
"""A policy with a weaker checkpoint of itself, for methods that contrast the two."""

from __future__ import annotations

from torch import Tensor

from async_chunking.policies.base import Encoding, FlowPolicy, Observation, WrappedPolicy


class WithWeak(WrappedPolicy):
    """
    Be the strong policy in all respects, and carry the weak one along.

    An encoding is the pair of both policies' encodings, since each has an encoder of its own.

    Attributes:
        policy: The strong one.
        weak: Less trained, with chunks of the same shape and normalisation.
    """

    def __init__(self, strong: FlowPolicy, weak: FlowPolicy) -> None:
        super().__init__(strong)
        self.weak = weak
        self.offers = strong.offers | {'weak_policy'}

    def encode(self, observation: Observation) -> Encoding:
        """Return both encodings."""
        return self.policy.encode(observation), self.weak.encode(observation)

    def velocity(self, actions: Tensor, flow_time: Tensor, encoding: Encoding) -> Tensor:
        """Return the strong policy's velocity."""
        return self.policy.velocity(actions, flow_time, encoding[0])

    def repeat(self, encoding: Encoding, samples: int) -> Encoding:
        """Repeat each encoding as its policy does."""
        strong, weak = encoding
        return self.policy.repeat(strong, samples), self.weak.repeat(weak, samples)
