# SPDX-License-Identifier: Apache-2.0
"""RTC: steer every solver step towards the old plan, strongly where it will be executed."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from async_chunking.chunk import Boundary
from async_chunking.policies.base import FlowPolicy
from async_chunking.samplers.base import Context, Draw, Guide, Sampler, integrate
from async_chunking.samplers.prefix import Schedule, prefix_weights


@dataclass(frozen=True)
class Rtc(Sampler):
    """
    Real-time chunking: guidance by the gradient of the predicted chunk (arXiv 2506.07339).

    Each step predicts the chunk, `x1 = x + (1 - t) v`, and adds to the velocity the gradient of
    its weighted mismatch with the old plan, `J^T W (previous - x1)` with `J = dx1/dx`.

    Calls: n, each with one backward pass. Needs: gradients. Guarantees: nothing exactly; the
    mismatch is small where the weight is 1. Only rows that `previous` has are compared. Where
    s > H - d, the executed rows alone are guided, and all of them, where the reference code guides
    the first H - s of them. Delay 0 is guided by the soft mask still.

    With `jacobian=False` (variant `rtc_identity`) v counts as constant, so J is the identity and
    no gradient is needed. LeRobot's RTC does this; its defaults for the other two constants are
    `max_guidance_weight=10` and `schedule='linear'`.

    Attributes:
        max_guidance_weight: beta, the bound on the guidance; 5 in the paper.
        schedule: Schedule of the soft mask; see `prefix_weights`.
        jacobian: Differentiate through the policy.
        jacobian_until: Flow time from which on J counts as the identity after all. With 0.4
            (variant `rtc_lean` of this package) two of five steps have a backward pass: the first
            ones decide the way that the chunk takes; later `J = 1 + (1 - t) dv/dx` is near 1.
    """

    max_guidance_weight: float = 5.0
    schedule: Schedule = 'exp'
    jacobian: bool = True
    jacobian_until: float = 1.0

    def draw(self, context: Context) -> Draw:
        """Integrate the guided velocity from the noise; see `Sampler.draw`."""
        velocity = self.guided(context.policy, context.velocity, context.boundary)
        return Draw(integrate(velocity, context.noise, self.steps(context.policy)))

    def guided(
        self, policy: FlowPolicy, velocity: Guide, boundary: Boundary, held: int = 0
    ) -> Guide:
        """
        Return the velocity with guidance towards `boundary.previous`.

        Args:
            policy: Whose velocity it is.
            velocity: To be guided.
            boundary: Rows of `previous` up to the overlap are the target.
            held: The first rows, as many, are there already and need no guidance.
        """
        end = boundary.overlap(policy.horizon)
        if end == 0:
            return velocity
        previous = boundary.previous
        weights = prefix_weights(
            policy.horizon,
            boundary.committed,
            end,
            self.schedule,
            previous.dtype,
            previous.device,
        ).unsqueeze(1)
        if held:
            weights = functional.pad(weights[held:], (0, 0, held, 0))
        if end < boundary.rows:
            previous = previous[:, :end]
        # Rows that are not planned have weight 0.
        target = weights * functional.pad(previous, (0, 0, 0, policy.horizon - end))
        bound = self.max_guidance_weight
        until = self.jacobian_until if self.jacobian else 0.0

        def guided(x: Tensor, flow_time: float) -> Tensor:
            guidance = _vjp if flow_time < until else _identity
            scale = guidance_scale(flow_time, bound)
            return guidance(velocity, x, flow_time, target, weights, scale)

        return guided


@functools.lru_cache(maxsize=256)
def guidance_scale(flow_time: float, max_guidance_weight: float) -> float:
    """
    Return `min(beta, (1 - t) / (t r^2))`, with `r^2 = (1 - t)^2 / (t^2 + (1 - t)^2)`.

    Args:
        flow_time: t in [0, 1); at 0 the bound holds.
        max_guidance_weight: beta.
    """
    t, rest = flow_time, 1 - flow_time
    scale = math.inf if t == 0 else rest / t * (t * t + rest * rest) / (rest * rest)
    return min(max_guidance_weight, scale)


def _vjp(
    velocity: Guide, x: Tensor, flow_time: float, target: Tensor, weights: Tensor, scale: float
) -> Tensor:
    """Return v + scale J^T W (previous - x1) [B, H, D]; elements of a batch are independent."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        v = velocity(leaf, flow_time)
    error = _error(x, v, flow_time, target, weights)
    (pull,) = torch.autograd.grad(v, leaf, error)  # Through v alone: J = 1 + (1 - t) dv/dx.
    return torch.add(v, torch.add(error, pull, alpha=1 - flow_time), alpha=scale)


def _identity(
    velocity: Guide, x: Tensor, flow_time: float, target: Tensor, weights: Tensor, scale: float
) -> Tensor:
    """Return v + scale W (previous - x1) [B, H, D]."""
    v = velocity(x, flow_time)
    return torch.add(v, _error(x, v, flow_time, target, weights), alpha=scale)


def _error(x: Tensor, v: Tensor, flow_time: float, target: Tensor, weights: Tensor) -> Tensor:
    """Return W (previous - x1) [B, H, D], of `target = W previous` and `x1 = x + (1 - t) v`."""
    return torch.addcmul(target, weights, torch.add(x, v, alpha=1 - flow_time), value=-1)
