# SPDX-License-Identifier: Apache-2.0
"""
Inversion: from actions back to the noise that the flow would have made them from.

All run the policy's flow backwards from flow time 1. Two time grids exist for the solvers, drawn
for 4 steps::

    step          4 -> 3      3 -> 2      2 -> 1      1 -> 0
    departure     1           3/4         1/2         1/4
    arrival       3/4         1/2         1/4         0

The departure grid follows the flow itself; the arrival grid evaluates where the forward steps did,
which undoes the steps taken rather than the flow, and at few steps lands nearer.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from async_chunking.samplers.base import Guide, integrate

Grid = Literal['arrival', 'departure']


def euler(velocity: Guide, actions: Tensor, num_steps: int, grid: Grid = 'arrival') -> Tensor:
    """
    Return the noise by explicit Euler steps backwards; n calls, order 1.

    Args:
        velocity: Velocity of the flow.
        actions: [B, H, D] at flow time 1.
        num_steps: n.
        grid: Where each step evaluates; see above.
    """
    x = actions
    for step in range(num_steps, 0, -1):
        x = torch.sub(x, velocity(x, _time(step, num_steps, grid)), alpha=1 / num_steps)
    return x


def dpm2(velocity: Guide, actions: Tensor, num_steps: int, grid: Grid = 'arrival') -> Tensor:
    """
    Return the noise by midpoint steps backwards; 2n calls.

    Order 2 on the departure grid. The arrival grid is shifted by one step as a whole, so its order
    is 1; its last midpoint lies at -1/2n, before flow time 0, as in the paper's Kinetix code.

    Args:
        velocity: Velocity of the flow.
        actions: [B, H, D] at flow time 1.
        num_steps: n.
        grid: Where each step starts; see above.
    """
    x, half = actions, 0.5 / num_steps
    for step in range(num_steps, 0, -1):
        time = _time(step, num_steps, grid)
        middle = torch.sub(x, velocity(x, time), alpha=half)
        x = torch.sub(x, velocity(middle, time - half), alpha=2 * half)
    return x


def rfm(velocity: Guide, actions: Tensor) -> Tensor:
    """Return the noise by one step over the whole flow, from flow time 1; 1 call."""
    return actions - velocity(actions, 1.0)


def optim(
    velocity: Guide, actions: Tensor, num_steps: int, iterations: int, learning_rate: float
) -> Tensor:
    """
    Return the noise, from zero, by gradient descent on the squared error of the chunk it makes.

    The error is summed over rows and dimensions of each element, so that elements of a batch do
    not slow each other: the paper's Kinetix code takes its mean over the batch, which makes each
    step shorter by the number of elements. `iterations * n` calls, with a backward pass through
    each.

    Args:
        velocity: Velocity of the flow.
        actions: [B, H, D] to be made.
        num_steps: n of the forward solver.
        iterations: Descent steps.
        learning_rate: Step size of each.
    """
    noise = torch.zeros_like(actions)
    for _ in range(iterations):
        with torch.enable_grad():
            noise.requires_grad_()
            made = integrate(velocity, noise, num_steps)
        error = made.detach() - actions
        (gradient,) = torch.autograd.grad(made, noise, error)
        noise = torch.sub(noise.detach(), gradient, alpha=2 * learning_rate)
    return noise


def _time(step: int, num_steps: int, grid: Grid) -> float:
    """Return the flow time at which the step from `step` to `step - 1` is evaluated."""
    return (step if grid == 'departure' else step - 1) / num_steps
