# SPDX-License-Identifier: Apache-2.0
"""An expert's networks, as plain trees of arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def network(key: jax.Array, inputs: int, width: int, outputs: int, gain: float) -> list:
    """Return the parameters of a network with two hidden layers."""
    sizes, gains = (inputs, width, width, outputs), (2.0**0.5, 2.0**0.5, gain)
    keys = jax.random.split(key, 3)
    return [
        {
            'w': jax.nn.initializers.orthogonal(scale)(k, (fan_in, fan_out)),
            'b': jnp.zeros(fan_out),
        }
        for k, fan_in, fan_out, scale in zip(keys, sizes[:-1], sizes[1:], gains, strict=True)
    ]


def apply(layers: list, x: jax.Array) -> jax.Array:
    """Return the network's output for inputs [..., I]."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer['w'] + layer['b'])
    return x @ layers[-1]['w'] + layers[-1]['b']
