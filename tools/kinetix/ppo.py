# SPDX-License-Identifier: Apache-2.0
"""Train an expert for a level: PPO (Schulman et al. 2017) with RPO's perturbed means.

An update is one compiled function of `Training`, so that training can stop and go on anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tools.kinetix.env import Level, noisy
from tools.kinetix.levels import ACTION_DIM, MOTORS


@dataclass(frozen=True)
class Recipe:
    """
    Constants of the training; the benchmark's, but for a batch cut to fit a CPU.

    Attributes:
        environments: In parallel.
        steps: Of each environment between two updates.
        minibatches: Per epoch.
        epochs: Per update.
        discount: gamma.
        trace: lambda of the generalised advantage.
        clip: Of the probability ratio.
        perturbation: RPO's alpha: how far the mean is shifted while learning.
        width: Of the two hidden layers.
        learning_rate: Of Adam.
        entropy: Weight of the entropy bonus.
    """

    environments: int = 256
    steps: int = 64
    minibatches: int = 8
    epochs: int = 4
    discount: float = 0.995
    trace: float = 0.9
    clip: float = 0.2
    perturbation: float = 0.3
    width: int = 256
    learning_rate: float = 3e-4
    entropy: float = 0.0


RECIPE = Recipe()
DEBUG_RECIPE = Recipe(environments=8, steps=16, minibatches=2, epochs=1, width=16)


class Training(NamedTuple):
    """Everything that the training carries from update to update."""

    params: Any
    optimizer: Any
    states: Any
    observations: jax.Array
    key: jax.Array


class Batch(NamedTuple):
    """What was seen: leaves [steps, environments, ...]."""

    observation: jax.Array
    drawn: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array
    solved: jax.Array


def squash(drawn: jax.Array) -> jax.Array:
    """Return actions from unbounded draws [..., 6]: motors in ±1, thrusters in 0..1."""
    motors, thrusters = drawn[..., :MOTORS], drawn[..., MOTORS:]
    return jnp.concatenate([jnp.tanh(motors), jax.nn.sigmoid(thrusters)], axis=-1)


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


def expert_params(key: jax.Array, observation_dim: int, width: int) -> dict:
    """Return the parameters of a new expert: mean, spread and value."""
    actor, critic = jax.random.split(key)
    return {
        'actor': network(actor, observation_dim, width, ACTION_DIM, 0.01),
        'log_std': jnp.zeros(ACTION_DIM),
        'critic': network(critic, observation_dim, width, 1, 1.0),
    }


def draw(params: dict, observation: jax.Array, key: jax.Array) -> jax.Array:
    """Return a draw [..., 6] of the expert before `squash`."""
    mean = apply(params['actor'], observation)
    return mean + jnp.exp(params['log_std']) * jax.random.normal(key, mean.shape)


def log_probability(params: dict, mean: jax.Array, drawn: jax.Array) -> jax.Array:
    """Return the log density of draws [..., 6], up to the squashing, which cancels in ratios."""
    error = (drawn - mean) * jnp.exp(-params['log_std'])
    return -(0.5 * error**2 + params['log_std'] + 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """Return Adam with the gradient's norm cut."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(recipe.learning_rate, eps=1e-5))


def begin(level: Level, recipe: Recipe, seed: int) -> Training:
    """Return the training before its first update."""
    key, init = jax.random.split(jax.random.key(seed))
    params = expert_params(init, level.observation_dim, recipe.width)
    states, observations = level.start(recipe.environments)
    return Training(params, optimizer(recipe).init(params), states, observations, key)


@partial(jax.jit, static_argnames=('level', 'recipe'))
def update(training: Training, level: Level, recipe: Recipe) -> tuple[Training, Batch]:
    """Collect a batch with the present expert and improve the expert on it."""
    training, batch = collect(training, level, recipe)
    last = apply(training.params['critic'], training.observations)[..., 0]
    advantage = advantages(batch, last, recipe)
    samples = (batch, advantage, advantage + batch.value)
    samples = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), samples)
    learner = optimizer(recipe)

    def step(carry: tuple, piece: tuple) -> tuple:
        params, memory, key = carry
        key, shift = jax.random.split(key)
        gradient = jax.grad(loss)(params, *piece, shift, recipe)
        change, memory = learner.update(gradient, memory, params)
        return (optax.apply_updates(params, change), memory, key), None

    def epoch(carry: tuple, _: None) -> tuple:
        params, memory, key = carry
        key, shuffle = jax.random.split(key)
        order = jax.random.permutation(shuffle, recipe.environments * recipe.steps)
        order = order.reshape(recipe.minibatches, -1)
        pieces = jax.tree.map(lambda leaf: leaf[order], samples)
        return jax.lax.scan(step, (params, memory, key), pieces)

    carry = (training.params, training.optimizer, training.key)
    (params, memory, key), _ = jax.lax.scan(epoch, carry, None, recipe.epochs)
    return training._replace(params=params, optimizer=memory, key=key), batch


def collect(training: Training, level: Level, recipe: Recipe) -> tuple[Training, Batch]:
    """Run the expert for `recipe.steps` steps."""
    params = training.params

    def step(carry: tuple, _: None) -> tuple:
        states, observations, key = carry
        key, drawing, noise = jax.random.split(key, 3)
        drawn = draw(params, observations, drawing)
        after = jax.vmap(level.restarting_step)(states, noisy(squash(drawn), noise))
        batch = Batch(
            observation=observations,
            drawn=drawn,
            log_probability=log_probability(params, apply(params['actor'], observations), drawn),
            value=apply(params['critic'], observations)[..., 0],
            reward=after.reward,
            done=after.done,
            solved=after.solved,
        )
        return (after.state, after.observation, key), batch

    carry = (training.states, training.observations, training.key)
    (states, observations, key), batch = jax.lax.scan(step, carry, None, recipe.steps)
    return training._replace(states=states, observations=observations, key=key), batch


def advantages(batch: Batch, last: jax.Array, recipe: Recipe) -> jax.Array:
    """Return the generalised advantages [steps, environments]; `last` values what follows."""

    def step(carry: tuple, row: tuple) -> tuple:
        advantage, following = carry
        reward, value, done = row
        goes_on = 1.0 - done
        surprise = reward + recipe.discount * following * goes_on - value
        advantage = surprise + recipe.discount * recipe.trace * goes_on * advantage
        return (advantage, value), advantage

    rows = (batch.reward, batch.value, batch.done)
    return jax.lax.scan(step, (jnp.zeros_like(last), last), rows, reverse=True)[1]


def loss(
    params: dict,
    batch: Batch,
    advantage: jax.Array,
    target: jax.Array,
    key: jax.Array,
    recipe: Recipe,
) -> jax.Array:
    """Return PPO's loss; RPO: the mean is shifted by a uniform amount."""
    mean = apply(params['actor'], batch.observation)
    limit = recipe.perturbation
    mean = mean + jax.random.uniform(key, mean.shape, minval=-limit, maxval=limit)
    ratio = jnp.exp(log_probability(params, mean, batch.drawn) - batch.log_probability)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    cut = jnp.clip(ratio, 1.0 - recipe.clip, 1.0 + recipe.clip)
    actor = -jnp.minimum(ratio * advantage, cut * advantage).mean()
    value = apply(params['critic'], batch.observation)[..., 0]
    kept = batch.value + jnp.clip(value - batch.value, -recipe.clip, recipe.clip)
    critic = 0.5 * jnp.maximum((value - target) ** 2, (kept - target) ** 2).mean()
    return actor + 0.5 * critic - recipe.entropy * params['log_std'].sum()
