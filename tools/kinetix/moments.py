# SPDX-License-Identifier: Apache-2.0
"""Running mean and variance, to bring an expert's inputs and rewards to unit spread."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Moments(NamedTuple):
    """Mean and variance of what was seen, by which inputs and rewards are scaled."""

    mean: jax.Array
    variance: jax.Array
    count: jax.Array


def unknown(*shape: int) -> Moments:
    """Return the moments of nothing seen yet."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.array(1e-4))


def learned(moments: Moments, values: jax.Array) -> Moments:
    """Return the moments with more values [N, ...] taken in."""
    mean, variance, count = values.mean(0), values.var(0), float(len(values))
    total = moments.count + count
    share, gap = count / total, mean - moments.mean
    spread = (1 - share) * moments.variance + share * variance + share * (1 - share) * gap**2
    return Moments(moments.mean + share * gap, spread, total)


def scaled(moments: Moments, observation: jax.Array) -> jax.Array:
    """Return observations [..., O] to unit spread; what hardly varies is not blown up."""
    deviation = jnp.maximum(jnp.sqrt(moments.variance), 0.02)
    return jnp.clip((observation - moments.mean) / deviation, -10.0, 10.0)
