# SPDX-License-Identifier: Apache-2.0
"""A Kinetix level as two pure functions, reset and step, to be vectorised and compiled by JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from kinetix.environment.spaces import ContinuousActions, SymbolicObservations
from kinetix.util.saving import expand_env_state, import_env_state_from_json

from tools.kinetix.contacts import LevelEnv, without_idle_pairs
from tools.kinetix.levels import ACTION_NOISE, MAX_STEPS, read_level
from tools.kinetix.shaping import shaping_of

# The environment's own reward for coming closer to the goal is too faint to learn from in a
# million steps; 10 times that solves levels (goal and failure stay at +1 and -1).
DENSE_REWARD_SCALE = 1.0


class Transition(NamedTuple):
    """
    What a step gives, of one environment.

    Attributes:
        state: State of the environment.
        observation: [O].
        reward: Goal +1, failure -1, plus progress.
        done: The episode ended with this step.
        solved: It ended at the goal.
    """

    state: Any
    observation: jax.Array
    reward: jax.Array
    done: jax.Array
    solved: jax.Array


class Level:
    """
    One level; every reset gives the same state, and noise on the actions makes episodes differ.

    Attributes:
        name: Name of the level.
        initial: State at the start of an episode.
        observation_dim: O.
        shaping: What the level adds to the reward while training, as a potential of the state.
    """

    def __init__(self, path: Path, crop: bool = True) -> None:
        """Load the level in `path`; `crop` leaves out unused slots."""
        self.name = path.stem
        state, static, params = import_env_state_from_json(read_level(path, crop))
        # Who may collide follows from the joints; contacts start empty.
        state = expand_env_state(state, static)
        engine = None
        if crop:
            state, engine = without_idle_pairs(state, static)
        # Weak types would make JAX compile a second time after the first step.
        self.initial = jax.tree.map(_strong, state)
        self.params = params.replace(dense_reward_scale=DENSE_REWARD_SCALE)
        self.env = LevelEnv(
            ContinuousActions(self.params, static),
            SymbolicObservations(self.params, static),
            static,
            physics_engine=engine,
            auto_reset=False,
        )
        self.static = static
        self.shaping = shaping_of(self.name)
        self.observation_dim = int(self.observe(self.initial).shape[0])

    def observe(self, state: Any) -> jax.Array:
        """Return the observation [O] of a state."""
        return self.env.get_obs(state)

    def step(self, state: Any, action: jax.Array) -> Transition:
        """Apply an action [6] for two physics frames; motors are cut to ±1, thrusters to 0..1."""
        forces = self.env.action_type.process_action(action, state, self.static)
        observation, state, reward, done, info = self.env.engine_step(state, forces, self.params)
        return Transition(state, observation, reward, done, info['GoalR'])

    def restarting_step(self, state: Any, action: jax.Array, start: Any) -> Transition:
        """Step, and begin a new episode at `start` where this one ended."""
        after = self.step(state, action)
        progress = self.shaping(after.state) - self.shaping(state)
        reward = after.reward + jnp.where(after.done, 0.0, progress)
        state = jax.tree.map(lambda new, old: jnp.where(after.done, new, old), start, after.state)
        return after._replace(state=state, observation=self.observe(state), reward=reward)

    def along(self, actions: jax.Array) -> Any:
        """
        Return the states in which each of the actions [T, 6] begins, without noise.

        There are `MAX_STEPS` of them, each as often as the others where there are fewer actions.
        """

        def move(state: Any, action: jax.Array) -> tuple[Any, Any]:
            return self.step(state, action).state, state

        # As long whatever the plan, so that it is compiled once.
        padded = jnp.zeros((MAX_STEPS, actions.shape[1])).at[: len(actions)].set(actions)
        states = jax.jit(jax.lax.scan, static_argnums=0)(move, self.initial, padded)[1]
        spread = jnp.arange(MAX_STEPS) * len(actions) // MAX_STEPS
        return jax.tree.map(lambda leaf: leaf[spread], states)

    def start(self, count: int) -> tuple[Any, jax.Array]:
        """Return the states and observations [count, O] of `count` new episodes."""
        states = self.initially(count)
        return states, jax.vmap(self.observe)(states)

    def initially(self, count: int) -> Any:
        """Return `count` times the state at the start."""
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), self.initial
        )


def noisy(action: jax.Array, key: jax.Array) -> jax.Array:
    """Return an action with the benchmark's Gaussian noise added."""
    return action + ACTION_NOISE * jax.random.normal(key, action.shape)


def _strong(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    return jax.lax.convert_element_type(leaf, leaf.dtype)
