# SPDX-License-Identifier: Apache-2.0
"""The physics of a level without the pairs of shapes that can never touch.

The engine looks at every pair of shapes in every frame, also at pairs that a joint keeps from
colliding and at pairs that do not move: 20 of the 59 of car_launch, 48 of the 84 of mjc_walker,
which takes 1.7 times as long with them. The pairs that stay are solved in as many rounds as
before. Their order in these can change, so the motion is the same up to that.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax2d.engine import PhysicsEngine, make_impulse_resolver_fn, make_impulse_warm_starting_fn
from kinetix.environment.env import KinetixEnv


class LevelEnv(KinetixEnv):
    """An environment of one level; JAX must not take it for one of another with as many shapes."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def without_idle_pairs(state: Any, static: Any) -> tuple[Any, PhysicsEngine]:
    """
    Return a state and the engine for it, without the pairs that can never touch.

    Pairs stay whose roles decide an episode, and at least one pair of each kind.

    Args:
        state: At the start of the level.
        static: Sizes of the scene.
    """
    engine = PhysicsEngine(static)
    size, count = static.solver_batch_size, static.num_polygons
    roles = jnp.concatenate([state.polygon_shape_roles, state.circle_shape_roles])
    shapes = (
        jnp.concatenate([getattr(state.polygon, key), getattr(state.circle, key)])
        for key in ('inverse_mass', 'active')
    )
    masses, active = map(np.asarray, shapes)
    kinds = (('poly_poly', 'rr', (0, 0)), ('circle_poly', 'cr', (count, 0)),
             ('circle_circle', 'cc', (count, count)))  # fmt: skip
    for name, short, offsets in kinds:
        pairs = np.asarray(getattr(engine, f'{name}_pairs'))
        a, b = (pairs + offsets).T
        meet = np.asarray(state.collision_matrix)[a, b] & (masses[a] + masses[b] > 0)
        meet |= np.isin(np.asarray(roles)[a] * np.asarray(roles)[b], (2, 3))
        meet &= active[a] & active[b]
        meet[0] |= not meet.any()
        kept = np.flatnonzero(meet)
        rounds = -(-len(pairs) // size)
        batch = -(-len(kept) // rounds)
        chosen = jnp.asarray(pairs[kept])
        polygons = (name.startswith('poly'), name.endswith('poly'))
        setattr(engine, f'{name}_pairs', chosen)
        resolver = make_impulse_resolver_fn(
            static, *polygons, len(kept), rounds, batch, rounds * batch, chosen
        )
        setattr(engine, f'{short}_fn', resolver)
        warm = make_impulse_warm_starting_fn(static, *polygons, len(kept), chosen)
        setattr(engine, f'ws_{short}_fn', warm)
        field = f'acc_{short}_manifolds'
        manifolds = jax.tree.map(lambda leaf, kept=kept: leaf[kept], getattr(state, field))
        state = state.replace(**{field: manifolds})
    return state, engine
