# SPDX-License-Identifier: Apache-2.0
"""Train an expert for a level: PPO (Schulman et al. 2017) with RPO's perturbed means.

An update is one compiled function of `Training`, so that training can stop and go on anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tools.kinetix.env import Level, noisy
from tools.kinetix.levels import ACTION_DIM, MAX_STEPS, MOTORS
from tools.kinetix.moments import Moments, learned, scaled, unknown
from tools.kinetix.network import apply, network
from tools.kinetix.store import load_tree, save_tree


@dataclass(frozen=True)
class PpoSettings:
    """
    Constants of the training; the benchmark's, but for a batch cut to fit a CPU.

    Attributes:
        environments: In parallel.
        steps: Steps of each environment between two updates.
        minibatches: Per epoch.
        epochs: Per update.
        discount: gamma.
        trace: lambda of the generalised advantage.
        clip: Largest change of the probability ratio.
        perturbation: RPO's alpha: how far the mean is shifted while learning.
        width: Width of the two hidden layers.
        learning_rate: Learning rate of Adam.
        entropy: Weight of the entropy bonus.
        planned: Share of the environments that begin along the planned episode, if there is one.
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
    planned: float = 0.5


RECIPE = PpoSettings()
GPU_RECIPE = PpoSettings(environments=4096, steps=32, minibatches=32)
DEBUG_RECIPE = PpoSettings(environments=8, steps=16, minibatches=2, epochs=1, width=16)


def usual_recipe() -> PpoSettings:
    """Return the recipe for the processor that JAX has."""
    return RECIPE if jax.default_backend() == 'cpu' else GPU_RECIPE


class Episodes(NamedTuple):
    """
    The episodes under way.

    Attributes:
        states: [environments, ...].
        observations: [environments, O].
        returns: [environments], discounted.
        planned: [MAX_STEPS, ...], the states along a planned episode, in which the first
            environments begin; without a plan the initial one.
    """

    states: Any
    observations: jax.Array
    returns: jax.Array
    planned: Any


class Training(NamedTuple):
    """Everything that the training carries from update to update; stored without `episodes`."""

    params: Any
    optimizer: Any
    key: jax.Array
    seen: Moments
    earned: Moments
    episodes: Any  # `Episodes`; None as stored.


class Batch(NamedTuple):
    """What was seen: leaves [steps, environments, ...]; `scaled` is the policy's input."""

    observation: jax.Array
    scaled: jax.Array
    drawn: jax.Array
    log_probability: jax.Array
    value: jax.Array
    reward: jax.Array
    returns: jax.Array
    done: jax.Array
    solved: jax.Array


def squash(drawn: jax.Array) -> jax.Array:
    """Return actions from unbounded draws [..., 6]: motors in ±1, thrusters in 0..1."""
    motors, thrusters = drawn[..., :MOTORS], drawn[..., MOTORS:]
    return jnp.concatenate([jnp.tanh(motors), jax.nn.sigmoid(thrusters)], axis=-1)


def expert_params(key: jax.Array, observation_dim: int, width: int) -> dict:
    """Return the parameters of a new expert: mean, spread and value."""
    actor, critic = jax.random.split(key)
    return {
        'actor': network(actor, observation_dim, width, ACTION_DIM, 0.01),
        'log_std': jnp.zeros(ACTION_DIM),
        'critic': network(critic, observation_dim, width, 1, 1.0),
    }


def log_probability(params: dict, mean: jax.Array, drawn: jax.Array) -> jax.Array:
    """Return the log density of draws [..., 6], up to the squashing, which cancels in ratios."""
    error = (drawn - mean) * jnp.exp(-params['log_std'])
    return -(0.5 * error**2 + params['log_std'] + 0.5 * jnp.log(2 * jnp.pi)).sum(-1)


def optimizer(recipe: PpoSettings) -> optax.GradientTransformation:
    """Return Adam with the gradient's norm cut."""
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adam(recipe.learning_rate, eps=1e-5))


def begin(level: Level, recipe: PpoSettings, seed: int) -> Training:
    """Return the training before its first update."""
    key, init = jax.random.split(jax.random.key(seed))
    params = expert_params(init, level.observation_dim, recipe.width)
    memory = optimizer(recipe).init(params)
    seen = unknown(level.observation_dim)
    return Training(params, memory, key, seen, unknown(), begun(level, recipe))


def begun(level: Level, recipe: PpoSettings) -> Episodes:
    """Return new episodes."""
    returns = jnp.zeros(recipe.environments)
    return Episodes(*level.start(recipe.environments), returns, level.initially(MAX_STEPS))


def stored(
    path: Path, level: Level, recipe: PpoSettings, acting: bool = False
) -> tuple[Training, dict]:
    """
    Return the training that `path` holds, with new episodes, and its description.

    The network is as wide as the file's; what else `recipe` says is followed. What is only to be
    `acting` comes without its optimizer, as shipped experts are.
    """
    about = json.loads(path.with_suffix('.json').read_text())
    like = begin(level, replace(recipe, width=about['recipe']['width']), 0)
    wanted = like._replace(episodes=None, optimizer=None if acting else like.optimizer)
    training, about = load_tree(path, wanted)
    return training._replace(episodes=like.episodes), about


def store(path: Path, training: Training, about: dict) -> None:
    """Write a training without the episodes under way."""
    save_tree(path, training._replace(episodes=None), about)


@partial(jax.jit, static_argnames=('level', 'recipe'))
def update(training: Training, level: Level, recipe: PpoSettings) -> tuple[Training, Batch]:
    """Collect a batch with the present expert and improve the expert on it."""
    training, batch = collect(training, level, recipe)
    inputs = scaled(training.seen, training.episodes.observations)
    last = apply(training.params['critic'], inputs)[..., 0]
    earned = learned(training.earned, batch.returns.reshape(-1))
    reward = batch.reward / jnp.sqrt(earned.variance + 1e-8)
    advantage = advantages(batch._replace(reward=reward), last, recipe)
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
    flat = batch.observation.reshape(-1, level.observation_dim)
    seen = learned(training.seen, flat)
    training = training._replace(seen=seen, earned=earned)
    return training._replace(params=params, optimizer=memory, key=key), batch


def collect(training: Training, level: Level, recipe: PpoSettings) -> tuple[Training, Batch]:
    """Run the expert for `recipe.steps` steps."""
    params, seen = training.params, training.seen

    def step(carry: tuple, _: None) -> tuple:
        states, observations, returns, key = carry
        key, drawing, noise, starting = jax.random.split(key, 4)
        inputs = scaled(seen, observations)
        mean = apply(params['actor'], inputs)
        drawn = mean + jnp.exp(params['log_std']) * jax.random.normal(drawing, mean.shape)
        starts = starting_states(level, planned, starting, recipe)
        after = jax.vmap(level.restarting_step)(states, noisy(squash(drawn), noise), starts)
        returns = after.reward + recipe.discount * returns
        batch = Batch(
            observation=observations,
            scaled=inputs,
            drawn=drawn,
            log_probability=log_probability(params, mean, drawn),
            value=apply(params['critic'], inputs)[..., 0],
            reward=after.reward,
            returns=returns,
            done=after.done,
            solved=after.solved,
        )
        return (after.state, after.observation, returns * (1.0 - after.done), key), batch

    *under_way, planned = training.episodes
    carry = (*under_way, training.key)
    (*under_way, key), batch = jax.lax.scan(step, carry, None, recipe.steps)
    return training._replace(episodes=Episodes(*under_way, planned=planned), key=key), batch


def starting_states(level: Level, planned: Any, key: jax.Array, recipe: PpoSettings) -> Any:
    """Return where each environment's next episode begins: the first ones' along the plan."""
    along = int(recipe.planned * recipe.environments)
    index = jax.random.randint(key, (along,), 0, MAX_STEPS)
    ordinary = level.initially(recipe.environments - along)
    return jax.tree.map(lambda p, o: jnp.concatenate([p[index], o]), planned, ordinary)


def advantages(batch: Batch, last: jax.Array, recipe: PpoSettings) -> jax.Array:
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
    recipe: PpoSettings,
) -> jax.Array:
    """Return PPO's loss; RPO: the mean is shifted by a uniform amount."""
    mean = apply(params['actor'], batch.scaled)
    limit = recipe.perturbation
    mean = mean + jax.random.uniform(key, mean.shape, minval=-limit, maxval=limit)
    ratio = jnp.exp(log_probability(params, mean, batch.drawn) - batch.log_probability)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    cut = jnp.clip(ratio, 1.0 - recipe.clip, 1.0 + recipe.clip)
    actor = -jnp.minimum(ratio * advantage, cut * advantage).mean()
    value = apply(params['critic'], batch.scaled)[..., 0]
    kept = batch.value + jnp.clip(value - batch.value, -recipe.clip, recipe.clip)
    critic = 0.5 * jnp.maximum((value - target) ** 2, (kept - target) ** 2).mean()
    return actor + 0.5 * critic - recipe.entropy * params['log_std'].sum()
