# SPDX-License-Identifier: Apache-2.0
"""What a level adds to the reward while its expert learns: the growth of a potential.

The environment's own reward is for coming closer to the goal on the straight line. Where that line
leads astray, a potential of the state says what else is progress. It is used in training alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Potential = Callable[[Any], jax.Array]


def shaping_of(level: str) -> Potential:
    """Return the potential of a level; zero where the straight line will do."""
    return POTENTIALS.get(level, _none)


def _none(state: Any) -> jax.Array:
    return jnp.zeros(())


def upright(state: Any) -> jax.Array:
    """Return the potential of cartpole_thrust: an upright pole, and time spent with it."""
    return 0.005 * state.timestep - 1.0 * jnp.square(state.polygon.rotation[POLE])


def over_the_wall(state: Any) -> jax.Array:
    """Return the potential of chain_lander: the ball's height while it is before the wall."""
    x, y = state.circle.position[0]
    before = jnp.clip((WALL_X - x) / 1.0, 0.0, 1.0)
    return -before * jnp.clip(WALL_TOP - y, 0.0, None)


POLE = 5
WALL_X, WALL_TOP = 3.3, 1.75
POTENTIALS: dict[str, Potential] = {'cartpole_thrust': upright, 'chain_lander': over_the_wall}
